"""Rollouts: anchor, poses and a seed to a stream of frames of any length, in constant memory.

In: a predictor, a real first frame with its pose map, pose maps. Out: a generator of predicted frames, which never
depend on true ones. Next: `rollout_batches.py` decodes the frames, `evaluation/evaluate.py` scores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from posecast.data.clips import as_pixels
from posecast.errors import InputError
from posecast.model.draws import future_generators, seeded
from posecast.model.predictor import Predictor
from posecast.model.rollout_batches import Arithmetic, frames_at_once, frames_in_turn, prepare_arithmetic
from posecast.model.rollout_input import RolloutInput
from posecast.model.threads import operator_threads

Latent = Literal["sample", "mean"]
Item = TypeVar("Item")
Share = tuple[Sequence[RolloutInput], Sequence[torch.Generator] | None]
MEET_EVERY = 16
"""Time steps that a worker decodes before it waits for the others."""


def predict(
    predictor: Predictor,
    first_frame: UInt8[np.ndarray, "_ _ 3"],
    poses: UInt8[np.ndarray, "T H W 3"],
    *,
    latent: Latent = "sample",
    seed: int = 0,
    sequence: int = 0,
    futures: int = 1,
) -> Iterator[UInt8[np.ndarray, "N H W 3"]]:
    """Predict the frames of a sequence as pixels.

    Args:
        predictor: Trained predictor, see `load_run`.
        first_frame: Real frame in the size of the pose maps.
        poses: Pose maps of all T frames; the first is that of `first_frame`.
        latent: sample draws z from the prior; mean takes the prior's mean.
        seed: With `sequence` and the number of a future it determines the noise of that future.
        sequence: Number of the sequence.
        futures: Number of sampled rollouts, at least 1; with mean there is one.

    Yields:
        T batches of frames, one row per future; the first batch repeats `first_frame`.

    Raises:
        InputError: Frame and pose maps differ in size, or a predicted frame is not finite.
    """
    generators = future_generators(seed, sequence, range(futures)) if latent == "sample" else None
    return _pixels(predictor, [RolloutInput(first_frame, poses)], generators)


def predict_together(
    predictor: Predictor,
    inputs: Sequence[RolloutInput],
    *,
    latent: Latent = "sample",
    seed: int = 0,
    first_sequence: int = 0,
) -> Iterator[UInt8[np.ndarray, "S H W 3"]]:
    """Predict one future of each of S sequences as pixels, all in one batch.

    Args:
        predictor: Trained predictor, see `load_run`.
        inputs: The sequences, of any lengths.
        latent: sample draws z from the prior; mean takes the prior's mean.
        seed: With the number of a sequence it determines the noise of that sequence.
        first_sequence: Number of the first sequence; the others follow.

    Yields:
        As many batches as the longest sequence has poses. Frames of a sequence after its last pose are undefined.

    Raises:
        InputError: Frame and pose maps differ in size, or a predicted frame is not finite.
    """
    numbers = range(first_sequence, first_sequence + len(inputs))
    generators = [seeded(seed, number, 0) for number in numbers] if latent == "sample" else None
    return _pixels(predictor, inputs, generators)


def _pixels(
    predictor: Predictor, inputs: Sequence[RolloutInput], generators: Sequence[torch.Generator] | None
) -> Iterator[UInt8[np.ndarray, "N H W 3"]]:
    """Yield the first frames, then the rollout, as pixels."""
    for sequence in inputs:
        if sequence.first_frame.shape != sequence.poses.shape[1:]:
            raise InputError(
                f"The first frame is {sequence.first_frame.shape[0]}x{sequence.first_frame.shape[1]} but the pose maps "
                f"are {sequence.poses.shape[1]}x{sequence.poses.shape[2]}; both must have the size the model was "
                "trained at."
            )
    num_futures = len(generators) // len(inputs) if generators else 1
    yield np.repeat(np.stack([sequence.first_frame for sequence in inputs]), num_futures, axis=0)
    for number, frames in enumerate(rollout_together(predictor, inputs, generators=generators), start=2):
        if not torch.isfinite(frames).all():
            raise InputError(f"Frame {number} of the rollout is not finite; this model cannot be used.")
        yield as_pixels(frames)


def rollout(
    predictor: Predictor,
    first_frame: UInt8[np.ndarray, "H W 3"],
    poses: UInt8[np.ndarray, "T H W 3"],
    *,
    generators: Sequence[torch.Generator] | None = None,
    anchor: tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W 3"]] | None = None,
) -> Iterator[Float[Tensor, "N 3 H W"]]:
    """Imagine frames 2..T of a sequence as floats, which are not rounded to pixels in between.

    Args:
        predictor: Trained predictor, see `load_run`.
        first_frame: Real frame.
        poses: Pose maps of all T frames; the first is that of `first_frame`.
        generators: Source of noise of each of N futures; None for a single future with the prior's mean.
        anchor: A real frame of the same recording and its pose map; None for `first_frame`.

    Yields:
        T - 1 batches of frames, one row per future. Values are in [0, 1], unless networks do not bound their output.
    """
    return rollout_together(predictor, [RolloutInput(first_frame, poses, anchor)], generators=generators)


def rollout_together(
    predictor: Predictor, inputs: Sequence[RolloutInput], *, generators: Sequence[torch.Generator] | None = None
) -> Iterator[Float[Tensor, "S*N 3 H W"]]:
    """Imagine frames 2..T of S sequences in one batch.

    Rows do not depend on each other, except that sums in batches of different sizes round differently. On a CPU the
    predictor's workers share rows, or time steps where they do not depend on each other.

    Args:
        predictor: Trained predictor.
        inputs: The sequences. T is the length of the longest; a shorter sequence keeps its last pose, and its further
            frames are undefined.
        generators: Source of noise of each row: N futures of the first sequence, then of the second, and so on. None
            for one future of each with the prior's mean.

    Yields:
        T - 1 batches of frames, rows in the order of the generators.
    """
    if predictor.engine is not None:
        return predictor.engine.frames(inputs, generators, max(len(sequence.poses) for sequence in inputs))
    device = next(predictor.parameters()).device
    predictor, arithmetic = prepare_arithmetic(predictor)
    if predictor.decodes_at_once:
        return frames_at_once(predictor, inputs, generators, arithmetic)
    num_futures = len(generators) // len(inputs) if generators else 1
    num_rows = num_futures if len(inputs) == 1 else len(inputs)
    count = min(predictor.workers.count, num_rows) if device.type == "cpu" else 1
    if count == 1:
        length = max(len(sequence.poses) for sequence in inputs)
        return alone(frames_in_turn(predictor, inputs, generators, arithmetic, length), predictor)
    return _frames_of_shares(predictor, _share_rows(inputs, generators, num_futures, count), arithmetic)


def alone(stream: Iterator[Item], predictor: Predictor) -> Iterator[Item]:
    """Yield items that a single thread computes, with as many threads inside operators as there are workers.

    Args:
        stream: Items that workers cannot share, because each depends on the one before.
        predictor: Its workers give the number of threads.
    """
    count = max(predictor.workers.count, torch.get_num_threads())
    while True:
        with operator_threads(count):
            item = next(stream, None)
        if item is None:
            return
        yield item


def _share_rows(
    inputs: Sequence[RolloutInput], generators: Sequence[torch.Generator] | None, num_futures: int, count: int
) -> list[Share]:
    """Divide rows into `count` shares: sequences with all their futures, or the futures of a single sequence."""
    if len(inputs) == 1:
        assert generators is not None
        return [(inputs, [generators[row] for row in rows]) for rows in np.array_split(np.arange(num_futures), count)]
    shares: list[Share] = []
    for rows in np.array_split(np.arange(len(inputs)), count):
        of_rows = generators[rows[0] * num_futures : (rows[-1] + 1) * num_futures] if generators else None
        shares.append(([inputs[row] for row in rows], of_rows))
    return shares


def _frames_of_shares(predictor: Predictor, shares: Sequence[Share], arithmetic: Arithmetic) -> Iterator[Tensor]:
    """Yield the joined frames of shares, each decoded by one worker, some time steps at a time."""
    length = max(len(sequence.poses) for inputs, _ in shares for sequence in inputs)
    streams = [frames_in_turn(predictor, inputs, generators, arithmetic, length) for inputs, generators in shares]
    for start in range(1, length, MEET_EVERY):
        count = min(MEET_EVERY, length - start)
        for frames in zip(*predictor.workers.map(lambda stream: list(islice(stream, count)), streams), strict=True):  # noqa: B023
            yield torch.cat(frames)
