"""Anchor, poses and a seed to a stream of frames, of any length, in flat memory.

In: a predictor, a real first frame with its pose map, pose maps. Out: a generator of predicted frames.
Sees nothing of any target. Next: `evaluate.py`, which judges the frames.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from posecast.data.clips import as_pictures, as_pixels, pose_windows
from posecast.errors import InputError
from posecast.model.cuda_graphs import GraphedFunction
from posecast.model.predictor import Predictor, by_instant, seeded, time_major
from posecast.model.priors import Features
from posecast.model.threads import operator_threads

Latent = Literal["sample", "mean"]
Item = TypeVar("Item")
Arithmetic = Callable[[], torch.autocast]
"""Makes a context for each use: one object keeps what it found, and threads would overwrite that of each other."""
MEET_EVERY = 16
"""Instants that a worker rolls out before it waits for the others."""
ROWS_AT_ONCE = 32
"""Pictures decoded in one batch where instants do not depend on each other."""
POSES_AHEAD = 64
"""Pose maps encoded at once: a batch fills the cores, and memory stays flat."""


def future_generators(seed: int, sequence: int, futures: Sequence[int]) -> list[torch.Generator]:
    """The noise of each future depends on (seed, sequence, future) and on nothing else."""
    return [seeded(seed, sequence, future) for future in futures]


@dataclass(frozen=True)
class RolloutInput:
    """All that a rollout knows of one sequence."""

    first_frame: UInt8[np.ndarray, "_ _ 3"]
    poses: UInt8[np.ndarray, "T H W 3"]
    """`poses[0]` is the first frame's own."""
    anchor: tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W 3"]] | None = None
    """A real frame and its pose map; the first frame unless given."""


def rollout(
    predictor: Predictor,
    first_frame: UInt8[np.ndarray, "H W 3"],
    poses: UInt8[np.ndarray, "T H W 3"],
    *,
    generators: Sequence[torch.Generator] | None = None,
    anchor: tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W 3"]] | None = None,
) -> Iterator[Float[Tensor, "N 3 H W"]]:
    """Imagine frames 2..T: one batch of N futures an instant, floats that are never rounded to pixels in between.

    One generator a future; without generators z is the prior's mean and N is 1.
    """
    return rollout_together(predictor, [RolloutInput(first_frame, poses, anchor)], generators=generators)


def rollout_together(
    predictor: Predictor, given: Sequence[RolloutInput], *, generators: Sequence[torch.Generator] | None = None
) -> Iterator[Float[Tensor, "S*N 3 H W"]]:
    """Imagine frames 2..T of S sequences in one batch: N futures of the first, then of the second, ...

    One generator a row. T is the longest sequence's; a shorter one stays at its last pose, and its further frames
    mean nothing. Rows do not depend on each other, but for the rounding of sums in batches of another size.
    On a CPU the predictor's workers share rows out, or instants where none depends on the one before.
    """
    device = next(predictor.parameters()).device
    predictor, arithmetic = for_imagining(predictor, device)
    if predictor.instants_are_independent:
        return _instants_at_once(predictor, given, generators, arithmetic)
    futures = len(generators) // len(given) if generators else 1
    count = min(predictor.workers.count, futures if len(given) == 1 else len(given)) if device.type == "cpu" else 1
    if count == 1:
        length = max(len(one.poses) for one in given)
        return alone(_in_turn(predictor, given, generators, arithmetic, length), predictor)
    return _merged(predictor, _split(given, generators, futures, count), arithmetic)


def alone(stream: Iterator[Item], predictor: Predictor) -> Iterator[Item]:
    """What cannot be shared out among workers, with as many threads inside operators as there are workers."""
    count = max(predictor.workers.count, torch.get_num_threads())
    while True:
        with operator_threads(count):
            item = next(stream, None)
        if item is None:
            return
        yield item


def _split(
    given: Sequence[RolloutInput], generators: Sequence[torch.Generator] | None, futures: int, count: int
) -> list[tuple[Sequence[RolloutInput], Sequence[torch.Generator] | None]]:
    """Rows in `count` shares: sequences with all their futures, or the futures of a single one."""
    if len(given) == 1:
        assert generators is not None
        return [(given, [generators[row] for row in rows]) for rows in np.array_split(np.arange(futures), count)]
    shares = []
    for rows in np.array_split(np.arange(len(given)), count):
        own = generators[rows[0] * futures : (rows[-1] + 1) * futures] if generators else None
        shares.append(([given[row] for row in rows], own))
    return shares


def _merged(
    predictor: Predictor,
    shares: Sequence[tuple[Sequence[RolloutInput], Sequence[torch.Generator] | None]],
    arithmetic: Arithmetic,
) -> Iterator[Tensor]:
    """Shares of rows rolled out by a worker each, some instants at a time so that they seldom meet."""
    length = max(len(one.poses) for given, _ in shares for one in given)
    streams = [_in_turn(predictor, given, generators, arithmetic, length) for given, generators in shares]
    for start in range(1, length, MEET_EVERY):
        count = min(MEET_EVERY, length - start)
        for frames in zip(*predictor.workers.map(lambda stream: list(islice(stream, count)), streams), strict=True):  # noqa: B023
            yield torch.cat(frames)


@torch.inference_mode()
def _in_turn(
    predictor: Predictor,
    given: Sequence[RolloutInput],
    generators: Sequence[torch.Generator] | None,
    arithmetic: Arithmetic,
    length: int,
) -> Iterator[Tensor]:
    """Frame by frame, each from the one before; a sequence that has ended goes on with its last pose."""
    networks, sequences = predictor.networks, len(given)
    device = next(predictor.parameters()).device
    futures = len(generators) // sequences if generators else 1
    first, own_pose = first_of(predictor, given)
    with arithmetic():
        anchor = anchors_of(predictor, given)
        # The first frame does not tell all of z: every future begins with a z of its own.
        noise = None
        if generators and networks.memory_shape[0]:
            noise = draw(generators, predictor.latent_shape).to(device)
        seen, own_anchor = (repeat(one, futures) for one in (networks.encode_frame(first), anchor))
        frame, own_pose = repeat((first, own_pose), futures)
        memory, _ = predictor.begin(seen, own_pose, own_anchor, noise)

    def decoded(*given: Tensor) -> tuple[Tensor, Tensor]:
        frame, memory, *condition = given
        noise = condition.pop() if generators else None
        with arithmetic():
            return predictor.imagine_step(predictor.encode_previous(frame), tuple(condition), memory, noise)

    step = GraphedFunction(decoded, device)
    ahead = max(1, POSES_AHEAD // sequences)
    for start in range(1, length, ahead):
        instants = np.arange(start, min(start + ahead, length))
        windows = windows_at(given, instants, predictor.pose_window).to(device)
        with arithmetic():
            conditions = by_instant(networks.encode_condition(windows, anchor), sequences)
        for condition in conditions:
            noise = [draw(generators, predictor.latent_shape)] if generators else []
            frame, memory = step(frame, memory, *repeat(condition, futures), *noise)
            frame = frame.clone()  # the next step writes there
            yield frame  # outside of `arithmetic`: whoever takes the frame computes in their own precision


@torch.inference_mode()
def _instants_at_once(
    predictor: Predictor,
    given: Sequence[RolloutInput],
    generators: Sequence[torch.Generator] | None,
    arithmetic: Arithmetic,
) -> Iterator[Tensor]:
    """Many instants in one batch, where none depends on the one before; pieces of them shared out among workers."""
    networks, sequences = predictor.networks, len(given)
    device = next(predictor.parameters()).device
    futures = len(generators) // sequences if generators else 1
    rows = sequences * futures
    with arithmetic():
        anchor = anchors_of(predictor, given)
    length = max(len(one.poses) for one in given)
    piece = max(1, ROWS_AT_ONCE // rows)  # of fixed size, so that frames do not depend on the number of workers
    together = piece * (predictor.workers.count if device.type == "cpu" else 1)

    @torch.inference_mode()
    def decoded(work: tuple[np.ndarray, Tensor | None]) -> Tensor:
        instants, noise = work
        windows = windows_at(given, instants, predictor.pose_window).to(device)
        with arithmetic():
            condition = networks.encode_condition(windows, anchor)
            if futures > 1:
                copies = (scale.repeat_interleave(futures, 0) for scale in condition)
                condition = tuple(copy.contiguous(memory_format=torch.channels_last) for copy in copies)
            memory = torch.zeros(len(instants) * rows, *networks.memory_shape, device=device)
            return predictor.imagine_step((), condition, memory, None if noise is None else noise.to(device))[0]

    for start in range(1, length, together):
        pieces = [
            np.arange(first, min(first + piece, start + together, length))
            for first in range(start, min(start + together, length), piece)
        ]
        noises = [
            torch.cat([draw(generators, predictor.latent_shape) for _ in instants]) if generators else None
            for instants in pieces
        ]
        for frames in predictor.workers.map(decoded, list(zip(pieces, noises, strict=True))):
            yield from frames.split(rows)


def first_of(predictor: Predictor, given: Sequence[RolloutInput]) -> tuple[Tensor, Tensor]:
    """The given first frames, `[S, 3, H, W]`, and their windows of pose maps, `[S, P, H, W]`."""
    device = next(predictor.parameters()).device
    first = as_pictures(np.stack([one.first_frame for one in given])).to(device)
    return first, windows_at(given, np.zeros(1, int), predictor.pose_window).to(device)


def anchors_of(predictor: Predictor, given: Sequence[RolloutInput]) -> Features:
    """The features of every sequence's anchor, encoded once."""
    device = next(predictor.parameters()).device
    pairs = [one.anchor or (one.first_frame, one.poses[0]) for one in given]
    frames, poses = (as_pictures(np.stack([np.asarray(p) for p in parts])) for parts in zip(*pairs, strict=True))
    return predictor.networks.encode_anchor(frames.to(device), poses.to(device))


def for_imagining(predictor: Predictor, device: torch.device) -> tuple[Predictor, Arithmetic]:
    """The predictor to roll out with, and the arithmetic to do it in: bfloat16 where the run was trained in it.

    Kernels are rounded once here instead of at every step by autocast: the same numbers, sooner.
    """
    arithmetic = partial(torch.autocast, device.type, torch.bfloat16, enabled=predictor.in_bfloat16)
    if not predictor.in_bfloat16:
        return predictor, arithmetic
    rounded = copy.deepcopy(predictor)
    for module in rounded.modules():
        if isinstance(module, nn.Conv2d):
            module.bfloat16()
    return rounded, arithmetic


def windows_at(given: Sequence[RolloutInput], instants: np.ndarray, pose_window: int) -> Float[Tensor, "N P H W"]:
    """The pose windows of every sequence at the first instant, then at the second, ..."""
    if len(given) == 1:
        return pose_windows(given[0].poses, instants, pose_window)
    return time_major(torch.stack([pose_windows(one.poses, instants, pose_window) for one in given]))


def repeat(features: tuple[Tensor, ...], times: int) -> tuple[Tensor, ...]:
    """Every row once for each future; a single row, and one future, without a copy."""
    if times == 1 or not features:  # the course's networks have no anchor
        return features
    if len(features[0]) == 1:
        return tuple(scale.expand(times, -1, -1, -1) for scale in features)
    copies = (scale.repeat_interleave(times, 0) for scale in features)
    return tuple(copy.contiguous(memory_format=torch.channels_last) for copy in copies)


def draw(generators: Sequence[torch.Generator], shape: tuple[int, ...]) -> Tensor:
    """Noise for one instant, `[N, Z, h, w]`, one generator a row."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


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
    """The frames of a rollout as pixels, the given first frame included: T items, `[N, H, W, 3]` each.

    Raises InputError if sizes do not fit, and if a frame is not finite.
    """
    sampled = latent == "sample"
    generators = future_generators(seed, sequence, range(futures)) if sampled else None
    return _as_seen(predictor, [RolloutInput(first_frame, poses)], generators)


def predict_together(
    predictor: Predictor,
    given: Sequence[RolloutInput],
    *,
    latent: Latent = "sample",
    seed: int = 0,
    first_sequence: int = 0,
) -> Iterator[UInt8[np.ndarray, "S H W 3"]]:
    """One future of each of S sequences, in one batch, as pixels: as many items as the longest has poses.

    Raises InputError as `predict` does. What comes of a sequence after its last pose means nothing.
    """
    numbers = range(first_sequence, first_sequence + len(given))
    generators = [seeded(seed, number, 0) for number in numbers] if latent == "sample" else None
    return _as_seen(predictor, given, generators)


def _as_seen(
    predictor: Predictor, given: Sequence[RolloutInput], generators: Sequence[torch.Generator] | None
) -> Iterator[UInt8[np.ndarray, "N H W 3"]]:
    """The rollout as pixels, the first frames before it."""
    for one in given:
        if one.first_frame.shape != one.poses.shape[1:]:
            raise InputError(
                f"The first frame is {one.first_frame.shape[0]}x{one.first_frame.shape[1]} but the pose maps are "
                f"{one.poses.shape[1]}x{one.poses.shape[2]}; both must have the size the model was trained at."
            )
    futures = len(generators) // len(given) if generators else 1
    yield np.repeat(np.stack([one.first_frame for one in given]), futures, axis=0)
    for number, frame in enumerate(rollout_together(predictor, given, generators=generators), start=2):
        if not torch.isfinite(frame).all():
            raise InputError(f"Frame {number} of the rollout is not finite; this model cannot be used.")
        yield as_pixels(frame)
