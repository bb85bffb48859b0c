"""Evaluation of a predictor: rollouts scored by PSNR and SSIM, best of N, baselines, drift, calibration, use of z.

In: a predictor and recordings with true frames. Out: `Scores`, the content of scores.json.
A rollout receives only the first frame and the poses; the true frames are only compared with. Next: `scores.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posecast.data.clips import as_pixels
from posecast.data.recordings import Recording
from posecast.errors import InputError
from posecast.evaluation.baselines import baselines, missing_note
from posecast.evaluation.bounds import PARTICLES, Bounds, bound_passes, estimate_bounds
from posecast.evaluation.calibration import mean_coverage
from posecast.evaluation.explained_error import ExplainedError
from posecast.evaluation.factor_evidence import FactorEvidence, factor_evidence
from posecast.evaluation.factor_probe import FactorProbe
from posecast.evaluation.future_scores import FutureStatistics, energies_by_kind, score_futures
from posecast.evaluation.metrics import Pixels, psnr_db, ssim
from posecast.evaluation.posterior import Advance, Observed, observe, reconstruct
from posecast.evaluation.scores import DRIFT_FRAMES, Drift, FrameScores, Scores, SequenceScores
from posecast.model.predictor import Predictor
from posecast.model.rollout import predict, rollout

SSIM_BATCH = 64


@dataclass(frozen=True)
class EvaluationOptions:
    """Extent of an evaluation, and the split that scores.json names."""

    split: str = "val"
    """Split of the recordings."""
    selected_on: str = "val"
    """Split on which the weights were selected."""
    futures: int = 10
    """Number of sampled futures of each recording."""
    seed: int = 0
    """Seed of the noise of the futures, of the posterior, of ranks and of the bounds."""
    bound: bool = False
    """Also estimate bounds on log p, which takes as long as 32 more futures of the first recording; 48 with
    `training_variance`."""
    training_variance: float | None = None
    """Variance of the likelihood fitted to training footage, for the bounds; None if the run has none."""


@dataclass(frozen=True)
class FactorTargets:
    """Recorded hidden factors of the scored recordings, and the probe that reads them off frames."""

    probe: FactorProbe
    recorded: Sequence[dict[str, np.ndarray]]
    """Factors `[T]` of each recording, by name."""


@dataclass(frozen=True)
class Evaluation:
    """Scores, and frames of the first recording that were computed for them."""

    scores: Scores
    mean: Pixels
    """Frames 2..T predicted with the prior mean."""
    observed: Observed
    futures: dict[int, np.ndarray]
    """Frames of some futures, `[N, H, W, 3]`, by time step, counted from 0."""


def evaluate(
    predictor: Predictor,
    recordings: Sequence[Recording],
    *,
    training: Sequence[Recording] | None = None,
    hidden: FactorTargets | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Scores:
    """Roll out recordings with the prior mean and as N sampled futures, and score the frames.

    Args:
        predictor: Predictor in evaluation mode, as `load_run` returns it.
        recordings: At least one recording of the predictor's size.
        training: Training recordings for the baselines; those that need them are None without.
        hidden: Hidden factors of the recordings, if the data set has recorded them.
        progress: Called with the number of frames done and their total.
        **options: Fields of `EvaluationOptions`, such as `futures` and `seed`.

    Returns:
        Scores with PSNR in dB and information in nats per frame; `as_json` gives the content of scores.json.

    Raises:
        InputError: A predicted frame is not finite.

    >>> scores = evaluate(load_run("RUN"), load_recordings("DATA", "val"), futures=3)  # doctest: +SKIP
    >>> scores.summary("mean", "psnr_db")  # doctest: +SKIP
    """
    evaluation = evaluate_fully(
        predictor, recordings, EvaluationOptions(**options), training=training, hidden=hidden, progress=progress
    )
    return evaluation.scores


def evaluate_fully(
    predictor: Predictor,
    recordings: Sequence[Recording],
    options: EvaluationOptions,
    *,
    training: Sequence[Recording] | None = None,
    hidden: FactorTargets | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score rollouts as `evaluate` does, and also return frames of the first recording.

    The posterior's mean and a draw from it, the rollout with the prior mean and every future are decoded once for each
    recording.
    """
    advance = _frame_counter(progress, _total_frames(recordings, options))
    observed = [
        observe(predictor, recording, advance, key=(options.seed, index)) for index, recording in enumerate(recordings)
    ]
    reconstruction = reconstruct(observed, recordings)
    probe = hidden.probe if hidden else None
    statistics = [
        FutureStatistics(recording, reconstruction.mse, probe, key=(options.seed, index), keep_frames=index == 0)
        for index, recording in enumerate(recordings)
    ]
    means = [mean_rollout(predictor, recording, advance) for recording in recordings]
    sequences = [
        _score_sequence(predictor, statistics[index], means[index], index, options, advance)
        for index in range(len(recordings))
    ]
    drawn_mse = [float(observation.drawn_mse.mean(dtype=np.float64)) for observation in observed]
    baseline_psnr_db = baselines(recordings, training)
    scores = Scores(
        split=options.split,
        selected_on=options.selected_on,
        seed=options.seed,
        futures=options.futures,
        sequences=sequences,
        reconstruction=reconstruction,
        drift=_mean_drift(predictor, recordings, means),
        baselines=baseline_psnr_db,
        baselines_note=missing_note(baseline_psnr_db, training),
        spread=mean_coverage([future.calibration.spread() for future in statistics]),
        predictive=mean_coverage([future.calibration.predictive() for future in statistics]),
        explained=ExplainedError([future.moments() for future in statistics], drawn_mse),
        bounds=_bounds(predictor, recordings[0], reconstruction.mse, options, advance) if options.bound else None,
        factors=_read_factors(hidden, recordings, observed, statistics) if hidden else (),
    )
    return Evaluation(scores, means[0], observed[0], statistics[0].kept)


def _frame_counter(progress: Callable[[int, int], None] | None, total: int) -> Advance:
    """Return a function that counts frames and reports the sum to `progress`."""
    done = 0

    def advance(frames: int) -> None:
        nonlocal done
        done += frames
        if progress:
            progress(min(done, total), total)

    return advance


def _total_frames(recordings: Sequence[Recording], options: EvaluationOptions) -> int:
    """Return the number of decoded frames: by posterior and prior mean, in futures, and by particles."""
    rollouts = sum((2 + options.futures) * len(recording) for recording in recordings)
    passes = bound_passes(options.training_variance) if options.bound else 0
    return rollouts + passes * PARTICLES * len(recordings[0])


def _bounds(
    predictor: Predictor, recording: Recording, variance: float, options: EvaluationOptions, advance: Advance
) -> Bounds:
    return estimate_bounds(
        predictor,
        recording,
        variance,
        training_variance=options.training_variance,
        seed=options.seed,
        advance=advance,
    )


def _score_sequence(
    predictor: Predictor,
    statistics: FutureStatistics,
    mean: Pixels,
    sequence: int,
    options: EvaluationOptions,
    advance: Advance,
) -> SequenceScores:
    """Roll out and score the futures of one recording, and score the rollout of the prior mean, `mean`."""
    recording = statistics.recording
    frames = predict(
        predictor,
        recording.frames[0],
        recording.poses,
        latent="sample",
        seed=options.seed,
        sequence=sequence,
        futures=options.futures,
    )
    futures = score_futures(frames, statistics, advance, predictor.workers)
    truth = recording.frames[1:]
    parts = [slice(start, start + SSIM_BATCH) for start in range(0, len(mean), SSIM_BATCH)]
    mean_ssim = predictor.workers.map(lambda part: ssim(mean[part], truth[part]), parts)
    by_future = futures.psnr_db.mean(0)
    best = int(by_future.argmax())
    return SequenceScores(
        recording.name,
        mean=FrameScores(psnr_db(mean, truth), np.concatenate(mean_ssim)),
        sample=FrameScores(futures.psnr_db.mean(1), futures.ssim.mean(1)),
        best=FrameScores(futures.psnr_db[:, best], futures.ssim[:, best]),
        best_future=best,
        futures_psnr_db=by_future,
        energies=energies_by_kind(recording, mean, futures, best),
    )


def _read_factors(
    hidden: FactorTargets,
    recordings: Sequence[Recording],
    observed: Sequence[Observed],
    statistics: Sequence[FutureStatistics],
) -> list[FactorEvidence]:
    """Read the factors off true frames, off frames decoded with z from the posterior, and off futures."""
    probe = hidden.probe
    true = [probe.read(recording.frames[1:], recording.poses[1:]) for recording in recordings]
    pairs = zip(observed, recordings, strict=True)
    posterior = [probe.read(observation.decoded, recording.poses[1:]) for observation, recording in pairs]
    futures = [future.factor_paths() for future in statistics]
    return factor_evidence(probe, hidden.recorded, true, posterior, futures)


def mean_rollout(predictor: Predictor, recording: Recording, advance: Advance | None = None) -> Pixels:
    """Predict frames 2..T of a recording with z at the prior mean.

    Args:
        predictor: Predictor in evaluation mode.
        recording: Recording whose first frame and poses are used.
        advance: Called after each frame.
    """
    frames = []
    for frame in predict(predictor, recording.frames[0], recording.poses, latent="mean"):
        frames.append(frame)
        if advance:
            advance(1)
    return np.concatenate(frames[1:])


def _mean_drift(predictor: Predictor, recordings: Sequence[Recording], means: Sequence[np.ndarray]) -> Drift | None:
    """Return the mean drift of the recordings that are long enough, or None."""
    pairs = zip(recordings, means, strict=True)
    drifts = [drift for recording, mean in pairs if (drift := measure_drift(predictor, recording, mean))]
    if not drifts:
        return None
    return Drift(
        float(np.mean([drift.last_psnr_db for drift in drifts])),
        float(np.mean([drift.restarted_psnr_db for drift in drifts])),
    )


def measure_drift(predictor: Predictor, recording: Recording, mean: Pixels) -> Drift | None:
    """Compare the last 100 frames of a rollout with the same frames restarted from the true frame before them.

    Both use the first frame as anchor, so that they differ only by errors in earlier frames.

    Args:
        predictor: Predictor in evaluation mode.
        recording: The true recording.
        mean: Its rollout with the prior mean, frames 2..T.

    Returns:
        None for recordings of fewer than 202 frames.
    """
    restart = len(recording) - DRIFT_FRAMES - 1
    if restart <= DRIFT_FRAMES:
        return None
    anchor = (recording.frames[0], recording.poses[0])
    truth = recording.frames[restart + 1 :]
    frames = rollout(predictor, recording.frames[restart], recording.poses[restart:], anchor=anchor)
    restarted = np.concatenate([as_pixels(frame) for frame in frames])
    return Drift(float(psnr_db(mean[-DRIFT_FRAMES:], truth).mean()), float(psnr_db(restarted, truth).mean()))


def check_scorable(recordings: Sequence[Recording], split: str, size: tuple[int, int]) -> None:
    """Raise InputError unless there are recordings, of the model's size (height, width), to score against."""
    if not recordings:
        raise InputError(f"The split {split!r} has no recordings with frames; scores need the true frames.")
    if any(recording.size != size for recording in recordings):
        raise InputError(f"The recordings of {split!r} do not have the model's size {size[0]}x{size[1]}.")
