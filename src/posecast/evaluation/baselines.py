"""Baselines: predictions without a model, which put a score into perspective.

In: scored recordings and training recordings. Out: mean PSNR of copying the first frame, of the mean training frame,
and of frames of the nearest training poses. A recording is never predicted from itself. Next: `evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int, UInt8

from posecast.data.recordings import Recording
from posecast.evaluation.metrics import Pixels, psnr_db

NUM_NEAREST = 8
"""Number of nearest training poses whose frames are averaged."""
POSES_PER_BLOCK = 128
"""Pose maps compared at once; bounds memory for recordings of any length."""
FROM_TRAINING = ("mean_frame", "nearest_pose", "mean_of_8_nearest_poses")
"""Baselines that need training recordings."""


def baselines(recordings: Sequence[Recording], training: Sequence[Recording] | None) -> dict[str, float | None]:
    """Return the mean PSNR in dB of predictions that need no model, by name.

    Args:
        recordings: Recordings to predict from their second frame on.
        training: Recordings to take frames from. For each scored recording, that recording itself and recordings of
            another size are left out. If none are left for one of them, the values of `FROM_TRAINING` are None.
    """
    copied = [psnr_db(np.broadcast_to(r.frames[0], r.frames[1:].shape), r.frames[1:]).mean() for r in recordings]
    scores: dict[str, float | None] = {"copy_first_frame": float(np.mean(copied)), **dict.fromkeys(FROM_TRAINING)}
    others = [other_recordings(recording, training or ()) for recording in recordings]
    if all(others):
        pairs = zip(recordings, others, strict=True)
        rows = [_from_training(recording, usable) for recording, usable in pairs]
        scores |= zip(FROM_TRAINING, np.mean(rows, axis=0).tolist(), strict=True)
    return scores


def missing_note(scores: Mapping[str, float | None], training: Sequence[Recording] | None) -> str | None:
    """Return the reason why baselines from training recordings are None, or None if they are not."""
    if None not in scores.values():
        return None
    return "there is no other training recording of the size scored" if training else "no recordings were given"


def other_recordings(recording: Recording, training: Sequence[Recording]) -> list[Recording]:
    """Return the training recordings of a recording's size, without the recording itself."""
    return [other for other in training if other.size == recording.size and not _is_same(recording, other)]


def _is_same(recording: Recording, other: Recording) -> bool:
    """Return whether two recordings have the same frames and pose maps, except that one may end earlier."""
    length = min(len(recording), len(other))
    pairs = ((recording.frames, other.frames), (recording.poses, other.poses))
    return all(np.array_equal(a[0], b[0]) and np.array_equal(a[:length], b[:length]) for a, b in pairs)


def _from_training(recording: Recording, training: Sequence[Recording]) -> list[float]:
    """Return the mean PSNR of each of `FROM_TRAINING` for one recording."""
    truth = recording.frames[1:]
    nearest = nearest_poses(recording.poses[1:], training, NUM_NEAREST)
    predictions: list[Callable[[], Pixels]] = [
        lambda: np.broadcast_to(mean_training_frame(training), truth.shape),
        lambda: mean_of_frames(nearest[:, :1], training),
        lambda: mean_of_frames(nearest, training),
    ]
    return [float(psnr_db(predict(), truth).mean()) for predict in predictions]


def mean_training_frame(training: Sequence[Recording]) -> UInt8[np.ndarray, "H W 3"]:
    """Return the mean of all frames, in which every frame has the same weight."""
    total = sum(recording.frames.sum(axis=0, dtype=np.int64) for recording in training)
    return np.rint(total / sum(len(recording) for recording in training)).astype(np.uint8)


def nearest_poses(poses: Pixels, training: Sequence[Recording], count: int) -> Int[np.ndarray, "N K"]:
    """Return, for each pose map, the training pose maps with the smallest mean squared differences, nearest first.

    Args:
        poses: Pose maps to look for.
        training: Recordings of the same size.
        count: Number of pose maps to return; all if there are fewer.

    Returns:
        Numbers of pose maps, counted over the recordings in order. The earlier of two equally near ones comes first.
    """
    numbers = np.zeros((len(poses), 0), np.int64)
    distances = np.zeros((len(poses), 0))
    first = 0
    for recording in training:
        for start in range(0, len(recording), POSES_PER_BLOCK):
            stored = _flattened(recording.poses[start : start + POSES_PER_BLOCK])
            # |a - b|^2 without |a|^2, which is the same for every b
            rows = range(0, len(poses), POSES_PER_BLOCK)
            wanted = (_flattened(poses[row : row + POSES_PER_BLOCK]) for row in rows)
            lengths = np.square(stored).sum(1)
            block = np.concatenate([lengths - 2.0 * (vectors @ stored.T) for vectors in wanted])
            candidates = np.broadcast_to(first + start + np.arange(len(stored)), block.shape)
            distances, numbers = np.hstack((distances, block)), np.hstack((numbers, candidates))
            order = np.argsort(distances, axis=1, kind="stable")[:, :count]
            distances, numbers = (np.take_along_axis(values, order, axis=1) for values in (distances, numbers))
        first += len(recording)
    return numbers


def mean_of_frames(numbers: Int[np.ndarray, "N K"], training: Sequence[Recording]) -> Pixels:
    """Return the mean of K training frames for each of N rows; frames are counted over the recordings in order."""
    starts = np.cumsum([0, *(len(recording) for recording in training)])
    count = numbers.shape[1]
    total = np.full((len(numbers), *training[0].frames.shape[1:]), count // 2, np.uint16)  # halves are rounded up
    for recording, (start, end) in zip(training, pairwise(starts.tolist()), strict=True):
        for column in numbers.T:
            rows = np.flatnonzero((column >= start) & (column < end))
            total[rows] += recording.frames[column[rows] - start]
    return (total // count).astype(np.uint8)


def _flattened(pixels: Pixels) -> np.ndarray:
    """Return pixels as float64 `[N, H W 3]`; sums of products of bytes are integers there, exact in any order."""
    return pixels.reshape(len(pixels), -1).astype(np.float64)
