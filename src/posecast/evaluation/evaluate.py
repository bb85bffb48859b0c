"""Scores: PSNR and SSIM per frame of honest rollouts, best-of-N, baselines, drift.

In: a predictor and recordings with truth. Out: `Scores`, the content of scores.json.
The truth is only ever compared with; a rollout gets the first frame and the poses, nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posecast.data.clips import as_pixels
from posecast.data.recordings import Recording
from posecast.errors import InputError
from posecast.evaluation.baselines import baselines
from posecast.evaluation.calibration import Calibration
from posecast.evaluation.factor_probe import FactorEvidence, FactorProbe, factor_evidence
from posecast.evaluation.metrics import Pixels, psnr_db, ssim
from posecast.evaluation.posterior import (
    PARTICLES,
    Observed,
    bounds,
    observe,
    reconstruct,
)
from posecast.evaluation.scores import DRIFT_FRAMES, Drift, FrameScores, Scores, SequenceScores
from posecast.model.predictor import Predictor
from posecast.model.rollout import predict, rollout

SHOWN_FUTURES, SHOWN_INSTANTS = 4, 8
"""Futures, and instants of them, that are kept for the eye."""


@dataclass(frozen=True)
class FactorTargets:
    """What a data set has recorded of its hidden factors, for the recordings scored, and who can read them off."""

    reader: FactorProbe
    recorded: Sequence[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Evaluation:
    """Scores, and what was seen of the first recording on the way to them."""

    scores: Scores
    mean: Pixels
    """Frames 2..T by the prior's mean."""
    observed: Observed
    futures: dict[int, np.ndarray]
    """Some futures, `[N, H, W, 3]`, at some instants, which count from 0."""


def evaluate(predictor: Predictor, recordings: Sequence[Recording], **asked: Any) -> Scores:
    """Score rollouts of every recording, with the options of `evaluate_fully`."""
    return evaluate_fully(predictor, recordings, **asked).scores


def evaluate_fully(
    predictor: Predictor,
    recordings: Sequence[Recording],
    *,
    training: Sequence[Recording] | None = None,
    hidden: FactorTargets | None = None,
    futures: int = 10,
    seed: int = 0,
    split: str = "val",
    selected_on: str = "val",
    bound: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Roll out every recording, by the prior's mean and N futures, and score what comes.

    The baselines that need training recordings are None without them. `hidden` has the recordings' factors, where
    they are known. `bound` asks for bounds on log p, which take as long as rolling out 32 more futures. `progress` is
    told how many frames of all rollouts are done.
    """
    tick = Ticker(progress, total_frames(recordings, futures, bound=bound))
    observed = [observe(predictor, recording, tick) for recording in recordings]
    reconstruction = reconstruct(observed, recordings)
    reader = hidden.reader if hidden else None
    judges = [FutureJudge(recording, reconstruction.mse, reader) for recording in recordings]
    judges[0].shows = True
    means = [mean_rollout(predictor, recording, tick) for recording in recordings]
    sequences = [
        score_sequence(predictor, judge, mean, number, futures, seed, tick)
        for number, (judge, mean) in enumerate(zip(judges, means, strict=True))
    ]
    drifts = [found for one, mean in zip(recordings, means, strict=True) if (found := drift(predictor, one, mean))]
    scores = Scores(
        split=split,
        selected_on=selected_on,
        seed=seed,
        futures=futures,
        sequences=sequences,
        reconstruction=reconstruction,
        drift=Drift(
            float(np.mean([one.last_psnr_db for one in drifts])),
            float(np.mean([one.restarted_psnr_db for one in drifts])),
        )
        if drifts
        else None,
        baselines=baselines(recordings, training),
        spread=np.mean([judge.spread.coverages() for judge in judges], axis=0).tolist(),
        predictive=np.mean([judge.predictive.coverages() for judge in judges], axis=0).tolist(),
        bounds=bounds(predictor, recordings[0], reconstruction.mse, seed=seed, tick=tick) if bound else None,
        factors=factors_read(hidden, recordings, observed, judges) if hidden else (),
    )
    return Evaluation(scores, means[0], observed[0], judges[0].shown)


class Ticker:
    """Counts frames as they are rolled out, and tells a progress bar."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, frames: int) -> None:
        self.done += frames
        if self.progress:
            self.progress(min(self.done, self.total), self.total)


def total_frames(recordings: Sequence[Recording], futures: int, *, bound: bool) -> int:
    """Frames that an evaluation decodes: once observed, the mean, the futures, and the bounds' particles."""
    each = 2 + futures
    return sum(each * len(one) for one in recordings) + (2 * PARTICLES * len(recordings[0]) if bound else 0)


def score_sequence(
    predictor: Predictor, judge: FutureJudge, mean: Pixels, number: int, futures: int, seed: int, tick: Ticker
) -> SequenceScores:
    """N futures side by side, scored as they come and not kept, beside the prior's mean."""
    truth, poses = judge.recording.frames, judge.recording.poses
    stream = predict(predictor, truth[0], poses, latent="sample", seed=seed, sequence=number, futures=futures)
    sampled = scored(stream, truth, tick, judge)
    by_future = sampled.psnr_db.mean(0)
    mean_ssim = np.concatenate([ssim(*pair) for pair in in_pieces(mean, truth[1:])])
    best = int(by_future.argmax())
    return SequenceScores(
        judge.recording.name,
        mean=FrameScores(psnr_db(mean, truth[1:]), mean_ssim),
        sample=FrameScores(sampled.psnr_db.mean(1), sampled.ssim.mean(1)),
        best=FrameScores(sampled.psnr_db[:, best], sampled.ssim[:, best]),
        best_future=best,
        futures_psnr_db=by_future,
    )


def in_pieces(mean: Pixels, truth: Pixels, size: int = 64) -> Iterator[tuple[Pixels, Pixels]]:
    """Predicted and true frames, some at a time."""
    for start in range(0, len(mean), size):
        yield mean[start : start + size], truth[start : start + size]


@dataclass(frozen=True)
class FutureScores:
    """Frames 2..T of several futures: `[T-1, N]`."""

    psnr_db: np.ndarray
    ssim: np.ndarray


class FutureJudge:
    """Watches the futures of one recording go by: how they spread about the truth, and the factors in them."""

    def __init__(self, recording: Recording, variance: float, reader: FactorProbe | None) -> None:
        self.recording, self.reader = recording, reader
        self.spread, self.predictive = Calibration(0.0), Calibration(variance)
        self.read: list[np.ndarray] = []
        self.shows = False
        self.shown: dict[int, Pixels] = {}
        """Some futures at some instants, for the eye; kept where it `shows`."""
        self._instants = set(np.linspace(1, len(recording) - 1, SHOWN_INSTANTS).round().astype(int).tolist())

    def see(self, number: int, frames: Pixels) -> None:
        """Frame `number` (from 0) of all futures, `[N, H, W, 3]`."""
        if self.shows and number in self._instants:
            self.shown[number] = frames[:SHOWN_FUTURES].copy()
        self.spread.add(frames, self.recording.frames[number])
        self.predictive.add(frames, self.recording.frames[number])
        if self.reader:
            poses = np.repeat(self.recording.poses[number][None], len(frames), axis=0)
            self.read.append(self.reader.read(frames, poses))

    def paths(self) -> np.ndarray:
        """The factors read off the futures: `[N, T-1, F]`."""
        return np.stack(self.read, axis=1)


def scored(frames: Iterator[Pixels], truth: Pixels, tick: Ticker, judge: FutureJudge | None = None) -> FutureScores:
    """Score a stream of frames of N futures against the truth; the first, given frame is left out."""
    rows_psnr, rows_ssim = [], []
    for number, frame in enumerate(frames):
        tick(len(frame))
        if number > 0:
            target = np.broadcast_to(truth[number], frame.shape)
            rows_psnr.append(psnr_db(frame, target))
            rows_ssim.append(ssim(frame, target))
            if judge:
                judge.see(number, frame)
    return FutureScores(np.stack(rows_psnr), np.stack(rows_ssim))


def factors_read(
    hidden: FactorTargets, recordings: Sequence[Recording], observed: Sequence[Observed], judges: Sequence[FutureJudge]
) -> list[FactorEvidence]:
    """Factors read off true frames, frames decoded with z from the posterior, and futures."""
    true = [hidden.reader.read(one.frames[1:], one.poses[1:]) for one in recordings]
    pairs = zip(observed, recordings, strict=True)
    posterior = [hidden.reader.read(one.decoded, recording.poses[1:]) for one, recording in pairs]
    return factor_evidence(hidden.reader, hidden.recorded, true, posterior, [judge.paths() for judge in judges])


def mean_rollout(predictor: Predictor, recording: Recording, tick: Callable[[int], None] | None = None) -> Pixels:
    """Frames 2..T by the prior's mean."""
    frames = []
    for frame in predict(predictor, recording.frames[0], recording.poses, latent="mean"):
        frames.append(frame)
        if tick:
            tick(1)
    return np.concatenate(frames[1:])


def drift(predictor: Predictor, recording: Recording, mean: Pixels) -> Drift | None:
    """How much worse the end of a rollout is than the same frames restarted from the truth, same anchor.

    The last 100 frames, rolled out from the true frame before them; `mean` is the whole rollout by the prior's mean.
    None for recordings under 202 frames.
    """
    restart = len(recording) - DRIFT_FRAMES - 1
    if restart <= DRIFT_FRAMES:
        return None
    anchor = (recording.frames[0], recording.poses[0])
    truth = recording.frames[restart + 1 :]
    restarted = rollout(predictor, recording.frames[restart], recording.poses[restart:], anchor=anchor)
    again = np.concatenate([as_pixels(frame) for frame in restarted])
    last = mean[-DRIFT_FRAMES:]
    return Drift(float(psnr_db(last, truth).mean()), float(psnr_db(again, truth).mean()))


def check_scorable(recordings: Sequence[Recording], split: str, size: tuple[int, int]) -> None:
    """Raise InputError unless there is truth of the model's size to score against."""
    if not recordings:
        raise InputError(f"The split {split!r} has no recordings with frames; scores need the true frames.")
    if any(one.size != size for one in recordings):
        raise InputError(f"The recordings of {split!r} do not have the model's size {size[0]}x{size[1]}.")
