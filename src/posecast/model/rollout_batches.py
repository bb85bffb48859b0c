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

from posecast.data.clips import Images
from posecast.model.cuda_graphs import GraphedFunction
from posecast.model.draws import step_noise
from posecast.model.layout import by_time_step, expand_rows, repeat_rows
from posecast.model.predictor import Predictor
from posecast.model.priors import Features, Memory
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


def _begin(
    predictor: Predictor,
    inputs: Sequence[RolloutInput],
    generators: Sequence[torch.Generator] | None,
    anchor: Features,
) -> tuple[Images, Memory]:
    """Return first frames and the memory of z after them, one row per future."""
    networks, num_futures = predictor.networks, len(generators) // len(inputs) if generators else 1
    first, pose = first_frames(predictor, inputs)
    features = networks.encode_frame(first) if networks.feedback or networks.memory_shape[0] else ()
    # The first frame does not determine z, so every future draws its own z_1.
    noise = None
    if generators and networks.memory_shape[0]:
        noise = step_noise(generators, predictor.latent_shape).to(first.device)
    features, anchor, (first, pose) = (expand_rows(x, num_futures) for x in (features, anchor, (first, pose)))
    memory, _ = predictor.begin(features, pose, anchor, noise)
    return first, memory


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
    with arithmetic():
        anchor = encode_anchors(predictor, inputs)
        frame, memory = _begin(predictor, inputs, generators, anchor)

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
    """Yield frames 2..T, many time steps per batch, decoded from z that are drawn before. Workers share the batches."""
    networks, num_sequences = predictor.networks, len(inputs)
    device = next(predictor.parameters()).device
    num_futures = len(generators) // num_sequences if generators else 1
    num_rows = num_sequences * num_futures
    with arithmetic():
        anchor = encode_anchors(predictor, inputs)
        _, memory = _begin(predictor, inputs, generators, anchor)
    length = max(len(sequence.poses) for sequence in inputs)
    size = max(1, ROWS_AT_ONCE // num_rows)  # time steps per batch; fixed, so that the number of workers has no effect
    together = size * (predictor.workers.count if device.type == "cpu" else 1)

    @torch.inference_mode()
    def decode(batch: tuple[np.ndarray, Tensor]) -> Tensor:
        instants, z = batch
        windows = windows_at(inputs, instants, predictor.pose_window).to(device)
        with arithmetic():
            condition = repeat_rows(networks.encode_condition(windows, anchor), num_futures)
            return networks.decode((), condition, z)

    for start in range(1, length, together):
        end = min(start + together, length)
        batches = []
        for first in range(start, end, size):
            instants = np.arange(first, min(first + size, end))
            z, memory = _draw_in_turn(predictor, memory, generators, len(instants))
            batches.append((instants, z))
        for frames in predictor.workers.map(decode, batches):
            yield from frames.split(num_rows)


def _draw_in_turn(
    predictor: Predictor, memory: Memory, generators: Sequence[torch.Generator] | None, num_steps: int
) -> tuple[Tensor, Memory]:
    """Return z of some time steps from a prior that reads no features, time-major, and the memory after them."""
    drawn = []
    for _ in range(num_steps):
        p, memory = predictor.networks.prior((), (), memory)
        z = p.sample(step_noise(generators, predictor.latent_shape).to(memory.device)) if generators else p.mean
        memory = predictor.networks.remember(memory, z)
        drawn.append(z)
    return torch.cat(drawn), memory
