"""Scores: PSNR and SSIM per frame of honest rollouts, best-of-N, baselines, drift.

In: a predictor and recordings with truth. Out: `Scores`, the content of scores.json.
The truth is only ever compared with; a rollout gets the first frame and the poses, nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from posecast.data.clips import as_pictures, as_pixels, pose_windows
from posecast.data.recordings import Recording
from posecast.errors import InputError
from posecast.metrics import PSNR_DEFINITION, SSIM_DEFINITION, Pixels, baselines, psnr_db, ssim
from posecast.model.elbo import Gaussian, kl_nats
from posecast.model.predictor import Predictor
from posecast.rollout import predict, rollout

RECONSTRUCTION_NOTE = "uses the posterior, which sees the target: not a prediction"
ACTIVE_UNITS_DEFINITION = "variance of the posterior's mean over frames above 0.01"
ACTIVE_VARIANCE = 0.01
DRIFT_FRAMES = 100


@dataclass(frozen=True)
class FrameScores:
    """PSNR in dB and SSIM of every frame."""

    psnr_db: Float[np.ndarray, " T"]
    ssim: Float[np.ndarray, " T"]


@dataclass(frozen=True)
class SequenceScores:
    """One sequence: frames 2..T scored for the prior's mean, the average of N futures, and the best of them."""

    name: str
    mean: FrameScores
    sample: FrameScores
    best: FrameScores
    best_future: int


@dataclass(frozen=True)
class Drift:
    """The last frames of a rollout against the same frames rolled out anew from the truth before them."""

    last_psnr_db: float
    restarted_psnr_db: float

    @property
    def difference_db(self) -> float:
        """What the feedback of own predictions has cost by the end."""
        return self.restarted_psnr_db - self.last_psnr_db


@dataclass(frozen=True)
class Reconstruction:
    """Frames painted with the posterior's mean, which sees them: how much z carries, not how good predictions are."""

    psnr_db: float
    rate_nats: float
    """KL(posterior || prior) per frame."""
    active_units: int
    num_units: int


@dataclass(frozen=True)
class Scores:
    """All that scores.json holds; PSNR in dB."""

    split: str
    selected_on: str
    seed: int
    futures: int
    sequences: Sequence[SequenceScores]
    reconstruction: Reconstruction
    drift: Drift | None
    baselines: dict[str, float | None]

    def summary(self, kind: str, metric: str) -> float:
        """Mean over frames, then over sequences; `kind` is mean, sample or best, `metric` psnr_db or ssim."""
        return float(np.mean([getattr(getattr(one, kind), metric).mean() for one in self.sequences]))

    def as_json(self) -> dict[str, Any]:
        """The contract of scores.json; `latent`, `drift` and `seed` stand beside it."""
        kinds = ("mean", "sample", "best")
        per_metric = {metric: {kind: self.summary(kind, metric) for kind in kinds} for metric in ("psnr_db", "ssim")}
        return {
            "split": self.split,
            "selected_on": self.selected_on,
            "seed": self.seed,
            "psnr": PSNR_DEFINITION,
            "ssim": SSIM_DEFINITION,
            "sequences": [
                {
                    "name": one.name,
                    "frames": len(one.mean.psnr_db),
                    "best_future": one.best_future,
                    **{
                        metric: {kind: getattr(getattr(one, kind), metric).tolist() for kind in kinds}
                        for metric in ("psnr_db", "ssim")
                    },
                }
                for one in self.sequences
            ],
            "summary": {**per_metric, "futures": self.futures},
            "reconstruction": {"psnr_db": self.reconstruction.psnr_db, "note": RECONSTRUCTION_NOTE},
            "latent": {
                "rate_nats": self.reconstruction.rate_nats,
                "active_units": self.reconstruction.active_units,
                "units": self.reconstruction.num_units,
                "active": ACTIVE_UNITS_DEFINITION,
            },
            "drift": None
            if self.drift is None
            else {
                "frames": DRIFT_FRAMES,
                "last_psnr_db": self.drift.last_psnr_db,
                "restarted_psnr_db": self.drift.restarted_psnr_db,
                "difference_db": self.drift.difference_db,
            },
            "baselines": self.baselines,
        }


def evaluate(
    predictor: Predictor,
    recordings: Sequence[Recording],
    *,
    training: Sequence[Recording] | None = None,
    futures: int = 10,
    seed: int = 0,
    split: str = "val",
    selected_on: str = "val",
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score rollouts of every recording; the baselines that need training recordings are None without them."""
    total = sum(2 * len(recording) for recording in recordings)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    sequences = [
        score_sequence(predictor, recording, number, futures, seed, tick) for number, recording in enumerate(recordings)
    ]
    drifts = [found for recording in recordings if (found := drift(predictor, recording))]
    return Scores(
        split=split,
        selected_on=selected_on,
        seed=seed,
        futures=futures,
        sequences=sequences,
        reconstruction=reconstruct(predictor, recordings),
        drift=Drift(
            float(np.mean([one.last_psnr_db for one in drifts])),
            float(np.mean([one.restarted_psnr_db for one in drifts])),
        )
        if drifts
        else None,
        baselines=baselines(recordings, training),
    )


def score_sequence(
    predictor: Predictor, recording: Recording, number: int, futures: int, seed: int, tick: Callable[[], None]
) -> SequenceScores:
    """The prior's mean, then N futures side by side; frames are scored as they come and not kept."""
    truth = recording.frames
    first, poses = truth[0], recording.poses
    mean = scored(predict(predictor, first, poses, latent="mean"), truth, tick)
    sampled = scored(
        predict(predictor, first, poses, latent="sample", seed=seed, sequence=number, futures=futures),
        truth,
        tick,
    )
    best = int(sampled.psnr_db.mean(0).argmax())
    return SequenceScores(
        recording.name,
        mean=FrameScores(mean.psnr_db[:, 0], mean.ssim[:, 0]),
        sample=FrameScores(sampled.psnr_db.mean(1), sampled.ssim.mean(1)),
        best=FrameScores(sampled.psnr_db[:, best], sampled.ssim[:, best]),
        best_future=best,
    )


@dataclass(frozen=True)
class FutureScores:
    """Frames 2..T of several futures: `[T-1, N]`."""

    psnr_db: np.ndarray
    ssim: np.ndarray


def scored(frames: Iterator[Pixels], truth: Pixels, tick: Callable[[], None]) -> FutureScores:
    """Score a stream of frames of N futures against the truth; the first, given frame is left out."""
    rows_psnr, rows_ssim = [], []
    for number, frame in enumerate(frames):
        tick()
        if number > 0:
            target = np.broadcast_to(truth[number], frame.shape)
            rows_psnr.append(psnr_db(frame, target))
            rows_ssim.append(ssim(frame, target))
    return FutureScores(np.stack(rows_psnr), np.stack(rows_ssim))


def mean_rollout(predictor: Predictor, recording: Recording) -> Pixels:
    """Frames 2..T by the prior's mean."""
    frames = predict(predictor, recording.frames[0], recording.poses, latent="mean")
    next(frames)
    return np.concatenate(list(frames))


def drift(predictor: Predictor, recording: Recording) -> Drift | None:
    """How much worse the end of a rollout is than the same frames restarted from the truth, same anchor.

    The last 100 frames, rolled out from the true frame before them; None for recordings under 202 frames.
    """
    restart = len(recording) - DRIFT_FRAMES - 1
    if restart <= DRIFT_FRAMES:
        return None
    anchor = (recording.frames[0], recording.poses[0])
    truth = recording.frames[restart + 1 :]
    restarted = rollout(predictor, recording.frames[restart], recording.poses[restart:], anchor=anchor)

    again = np.concatenate([as_pixels(frame) for frame in restarted])
    last = mean_rollout(predictor, recording)[-DRIFT_FRAMES:]
    return Drift(float(psnr_db(last, truth).mean()), float(psnr_db(again, truth).mean()))


@torch.inference_mode()
def reconstruct(predictor: Predictor, recordings: Sequence[Recording]) -> Reconstruction:
    """What happens when z is the posterior's mean, own predictions fed back: the posterior sees the target.

    A unit of z is active if the variance of its posterior mean over frames is above 0.01 (Burda et al. 2016, 4.4).
    """
    psnrs, rates = [], []
    num_frames, total, squares = 0, torch.zeros(()), torch.zeros(())
    for recording in recordings:
        own_psnrs = []
        for q, p, predicted, true in observed(predictor, recording):
            own_psnrs.append(psnr_db(as_pixels(predicted), true)[0])
            rates.append(kl_nats(q, p).item())
            mean = q.mean[0].double().cpu()
            num_frames, total, squares = num_frames + 1, total + mean, squares + mean.square()
        psnrs.append(np.mean(own_psnrs))
    variance = squares / num_frames - (total / num_frames).square()
    active = int((variance > ACTIVE_VARIANCE).sum())
    return Reconstruction(float(np.mean(psnrs)), float(np.mean(rates)), active, variance.numel())


def observed(predictor: Predictor, recording: Recording) -> Iterator[tuple[Gaussian, Gaussian, Tensor, Pixels]]:
    """Posterior, prior, prediction and true frame of every instant from the second on."""
    device = next(predictor.parameters()).device
    networks = predictor.networks
    frames = as_pictures(recording.frames).to(device)
    poses = pose_windows(recording.poses, np.arange(len(recording)), predictor.pose_window).to(device)
    anchor = networks.encode_anchor(frames[:1], as_pictures(recording.poses[:1]).to(device))
    frame = frames[:1]
    for t in range(1, len(recording)):
        previous = networks.encode_frame(frame)
        pose = networks.encode_pose(poses[t : t + 1])
        q = networks.posterior(networks.encode_frame(frames[t : t + 1]), previous, pose, anchor)
        networks.pictures = (frame, frames[:1])
        frame = networks.paint(previous, pose, anchor, q.mean)
        yield q, networks.prior(previous, pose, anchor), frame, recording.frames[t : t + 1]


def check_scorable(recordings: Sequence[Recording], split: str, size: tuple[int, int]) -> None:
    """Raise InputError unless there is truth of the model's size to score against."""
    if not recordings:
        raise InputError(f"The split {split!r} has no recordings with frames; scores need the true frames.")
    if any(one.size != size for one in recordings):
        raise InputError(f"The recordings of {split!r} do not have the model's size {size[0]}x{size[1]}.")
