"""Scores of N sampled futures of a recording, computed while the frames are predicted.

In: a stream of frames of all futures, the true recording. Out: PSNR and SSIM of every frame, calibration, variance of
the futures, readings of hidden factors. Only a few frames are kept. Next: `evaluate.py`, which produces the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from posecast.data.recordings import Recording
from posecast.evaluation.calibration import DITHER, Calibration
from posecast.evaluation.energies import Energies, change_energy, gradient_energy, video_energies
from posecast.evaluation.explained_error import FutureMoments, future_moments
from posecast.evaluation.factor_probe import FactorProbe
from posecast.evaluation.metrics import Pixels, psnr_db, ssim
from posecast.evaluation.posterior import Advance
from posecast.model.draws import seeded
from posecast.model.threads import Workers

SCORED_TOGETHER = 16
"""Time steps whose metrics workers share."""
KEPT_FUTURES, KEPT_INSTANTS = 4, 8
"""Numbers of futures, and of time steps of each, whose frames are kept for images."""


@dataclass(frozen=True)
class FutureScores:
    """Scores of frames 2..T of N futures, `[T-1, N]`."""

    psnr_db: np.ndarray
    ssim: np.ndarray
    gradient: np.ndarray
    change: np.ndarray
    """Mean squared differences between neighbouring pixels, and from the frame before."""

    def energies(self, future: int | None = None) -> Energies:
        """Return the energies of one future, or the mean of those of all."""
        rows = slice(None) if future is None else future
        return Energies(float(self.gradient[:, rows].mean()), float(self.change[:, rows].mean()))


class FutureStatistics:
    """Calibration and moments of the futures of one recording, readings of hidden factors, and frames for images.

    Args:
        recording: The true recording.
        variance: Variance of the likelihood around each future, for the calibration.
        probe: Probe of the hidden factors, or None.
        key: Seed of the evaluation and number of the recording, which give the noise of ranks.
        keep_frames: Whether to keep some frames.
    """

    def __init__(
        self,
        recording: Recording,
        variance: float,
        probe: FactorProbe | None,
        *,
        key: tuple[int, int] = (0, 0),
        keep_frames: bool,
    ) -> None:
        self.recording, self.probe, self.key = recording, probe, key
        self.calibration = Calibration(variance)
        self.kept: dict[int, Pixels] = {}
        """Frames of the first futures, `[N, H, W, 3]`, by time step, counted from 0."""
        self._moments: list[FutureMoments] = []
        self._readings: list[np.ndarray] = []
        instants = np.linspace(1, len(recording) - 1, KEPT_INSTANTS).round().astype(int).tolist()
        self._kept_instants = set(instants) if keep_frames else set()

    def add(self, instant: int, frames: Pixels) -> None:
        """Add the frames of all futures, `[N, H, W, 3]`, at one time step, counted from 0."""
        if instant in self._kept_instants:
            self.kept[instant] = frames[:KEPT_FUTURES].copy()
        truth = self.recording.frames[instant]
        self.calibration.add(frames, truth, seeded(*self.key, instant, DITHER))
        self._moments.append(future_moments(frames, truth))
        if self.probe:
            poses = np.repeat(self.recording.poses[instant][None], len(frames), axis=0)
            self._readings.append(self.probe.read(frames, poses))

    def moments(self) -> FutureMoments:
        """Return the mean of the moments over time steps."""
        return FutureMoments(
            float(np.mean([moments.mean_mse for moments in self._moments])),
            float(np.mean([moments.variance for moments in self._moments])),
        )

    def factor_paths(self) -> np.ndarray:
        """Return the factors read off the futures, `[N, T-1, F]`."""
        return np.stack(self._readings, axis=1)


def score_futures(
    frames: Iterator[Pixels], statistics: FutureStatistics, advance: Advance, workers: Workers
) -> FutureScores:
    """Score a stream of frames of N futures against the truth, and add them to the statistics.

    Args:
        frames: `[N, H, W, 3]` for each time step; the first, which is given, is not scored.
        statistics: Statistics to update.
        advance: Called with the number of frames of each time step.
        workers: Threads that share the metrics of some time steps.
    """

    def scored(step: tuple[int, Pixels, Pixels]) -> tuple[np.ndarray, ...]:
        instant, futures, previous = step
        truth = np.broadcast_to(statistics.recording.frames[instant], futures.shape)
        energies = gradient_energy(futures), change_energy(futures, previous)
        return psnr_db(futures, truth), ssim(futures, truth), *energies

    previous = next(frames).copy()
    advance(len(previous))
    rows: list[tuple[np.ndarray, ...]] = []
    numbered = enumerate(frames, start=1)
    while group := list(islice(numbered, SCORED_TOGETHER)):
        steps = []
        for instant, futures in group:
            advance(len(futures))
            statistics.add(instant, futures)
            steps.append((instant, futures, previous))
            previous = futures
        rows += workers.map(scored, steps)
    return FutureScores(*(np.stack(columns) for columns in zip(*rows, strict=True)))


def energies_by_kind(recording: Recording, mean: Pixels, futures: FutureScores, best: int) -> dict[str, Energies]:
    """Return the energies of the truth, of the rollout `mean` (frames 2..T), of all futures and of the best one."""
    return {
        "truth": video_energies(recording.frames),
        "mean": video_energies(np.concatenate((recording.frames[:1], mean))),
        "sample": futures.energies(),
        "best": futures.energies(best),
    }
