"""Frames of a rollout, decoded in batches: frame by frame, or many time steps at once.

In: a predictor, rollout inputs, a generator of noise per row. Out: a generator of batches of frames, one per time step;
the rows are all futures of the first sequence, then of the second, and so on. Next: `rollout.py` is the interface.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from posecast.model.cuda_graphs import GraphedFunction
from posecast.model.draws import step_noise
from posecast.model.layout import by_time_step, expand_rows, repeat_rows
from posecast.model.predictor import Predictor
from posecast.model.rollout_input import RolloutInput, encode_anchors, first_frames, windows_at

Arithmetic = Callable[[], torch.autocast]
"""Creates a context for each use: a context stores state when it is entered, which threads must not share."""
ROWS_AT_ONCE = 32
"""Images decoded in one batch where time steps do not depend on each other."""
POSES_AHEAD = 64
"""Pose maps encoded in one batch: enough to occupy the cores, few enough for constant memory."""


def prepare_arithmetic(predictor: Predictor) -> tuple[Predictor, Arithmetic]:
    """Return the predictor to roll out with, and a context for its computations: bfloat16 where it is chosen.

    In bfloat16 the predictor is a copy with rounded kernels, which autocast would round alike at every step.
    """
    device = next(predictor.parameters()).device
    arithmetic = partial(torch.autocast, device.type, torch.bfloat16, enabled=predictor.in_bfloat16)
    if not predictor.in_bfloat16:
        return predictor, arithmetic
    rounded = copy.deepcopy(predictor)
    for module in rounded.modules():
        if isinstance(module, nn.Conv2d):
            module.bfloat16()
    return rounded, arithmetic


@torch.inference_mode()
def frames_in_turn(
    predictor: Predictor,
    inputs: Sequence[RolloutInput],
    generators: Sequence[torch.Generator] | None,
    arithmetic: Arithmetic,
    length: int,
) -> Iterator[Tensor]:
    """Yield frames 2..length, each decoded from the one before; a sequence that has ended keeps its last pose."""
    networks, num_sequences = predictor.networks, len(inputs)
    device = next(predictor.parameters()).device
    num_futures = len(generators) // num_sequences if generators else 1
    first, first_pose = first_frames(predictor, inputs)
    with arithmetic():
        anchor = encode_anchors(predictor, inputs)
        # The first frame does not determine z, so every future draws its own z_1.
        noise = None
        if generators and networks.memory_shape[0]:
            noise = step_noise(generators, predictor.latent_shape).to(device)
        features, anchor_rows = (expand_rows(x, num_futures) for x in (networks.encode_frame(first), anchor))
        frame, first_pose = expand_rows((first, first_pose), num_futures)
        memory, _ = predictor.begin(features, first_pose, anchor_rows, noise)

    def decode(frame: Tensor, memory: Tensor, *condition_and_noise: Tensor) -> tuple[Tensor, Tensor]:
        *condition, noise = condition_and_noise if generators else (*condition_and_noise, None)
        with arithmetic():
            return predictor.imagine_step(predictor.encode_previous(frame), tuple(condition), memory, noise)

    step = GraphedFunction(decode, device)
    ahead = max(1, POSES_AHEAD // num_sequences)
    for start in range(1, length, ahead):
        instants = np.arange(start, min(start + ahead, length))
        windows = windows_at(inputs, instants, predictor.pose_window).to(device)
        with arithmetic():
            conditions = by_time_step(networks.encode_condition(windows, anchor), num_sequences)
        for condition in conditions:
            noise = [step_noise(generators, predictor.latent_shape)] if generators else []
            frame, memory = step(frame, memory, *expand_rows(condition, num_futures), *noise)
            frame = frame.clone()  # the next step overwrites it
            yield frame  # outside the context, so that the caller computes in its own precision


@torch.inference_mode()
def frames_at_once(
    predictor: Predictor,
    inputs: Sequence[RolloutInput],
    generators: Sequence[torch.Generator] | None,
    arithmetic: Arithmetic,
) -> Iterator[Tensor]:
    """Yield frames 2..T, many time steps per batch; they must not depend on each other. Workers share the batches."""
    networks, num_sequences = predictor.networks, len(inputs)
    device = next(predictor.parameters()).device
    num_futures = len(generators) // num_sequences if generators else 1
    num_rows = num_sequences * num_futures
    with arithmetic():
        anchor = encode_anchors(predictor, inputs)
    length = max(len(sequence.poses) for sequence in inputs)
    size = max(1, ROWS_AT_ONCE // num_rows)  # time steps per batch; fixed, so that the number of workers has no effect
    together = size * (predictor.workers.count if device.type == "cpu" else 1)

    @torch.inference_mode()
    def decode(batch: tuple[np.ndarray, Tensor | None]) -> Tensor:
        instants, noise = batch
        windows = windows_at(inputs, instants, predictor.pose_window).to(device)
        with arithmetic():
            condition = repeat_rows(networks.encode_condition(windows, anchor), num_futures)
            memory = networks.empty_memory(len(instants) * num_rows, device)
            return predictor.imagine_step((), condition, memory, None if noise is None else noise.to(device))[0]

    for start in range(1, length, together):
        end = min(start + together, length)
        batches = [np.arange(first, min(first + size, end)) for first in range(start, end, size)]
        noises = [
            torch.cat([step_noise(generators, predictor.latent_shape) for _ in instants]) if generators else None
            for instants in batches
        ]
        for frames in predictor.workers.map(decode, list(zip(batches, noises, strict=True))):
            yield from frames.split(num_rows)
