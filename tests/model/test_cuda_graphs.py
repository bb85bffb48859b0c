"""Captured graphs against calls, for every shape, in any order; without a GPU functions are called."""

import functools

import pytest
import torch
from torch import Tensor

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.clips import ClipCutter
from posecast.model.cuda_graphs import FIRST_CALLS, GraphedFunction
from posecast.model.rollout import rollout
from posecast.training.distributed import single_process
from posecast.training.step import TrainStep

from ..conftest import moving_square

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=on_gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_a_function_with_state_computes_the_same(device: str) -> None:
    """Two shapes alternate; the function changes its state in place, once per call."""
    total = torch.zeros((), device=device)

    def added(x: Tensor, factor: Tensor) -> Tensor:
        total.add_((x * factor).sum())
        return x * factor + 1

    graphed = GraphedFunction(added, torch.device(device))
    expected = 0.0
    for call in range(3 * FIRST_CALLS):
        x, factor = torch.full((2 + call % 2, 4), float(call)), torch.tensor(float(call))
        result = graphed(x, factor)
        expected += float((x * factor).sum())
        assert result.device.type == device
        assert torch.equal(result.cpu(), x * factor + 1)
        assert total.item() == expected
    assert len(graphed.graphs) == (2 if device == "cuda" else 0)


def losses_of(config: Config, *, captures: bool) -> list[float]:
    """Return the losses of updates whose clips change their length.

    Weights are not compared: where gradients are nearly zero, the direction of Adam's first steps depends on the
    rounding of a GPU's sums.
    """
    learner = TrainStep(single_process("cuda", "32-true"), config)
    for graphed in (*learner._graphed_passes.values(), learner._graphed_step):
        graphed.enabled = captures
    losses = []
    for step in range(18):
        cutter = ClipCutter([moving_square(40)], (4, 6)[step // 2 % 2], config.networks.pose_window)
        [plan] = cutter.epoch(4, 4, 0, step)
        losses.append(learner.update(learner.batches.prepare(cutter, plan, step=step, epoch=step), rate=1e-3).loss)
    return losses


@on_gpu
@pytest.mark.parametrize("recipe", ["anchored", "people", "lab4"])
def test_captured_updates_have_the_same_losses(recipe: str) -> None:
    small = {"size": "16x16", "clip_length": 4, "steps": 18, "kl_schedule": "cyclical", "kl_period": 6.0}
    config = build_config(recipe, flags={**small, "teacher_forcing": 0.5, "teacher_forcing_coin": "batch"})
    captured, computed = (losses_of(config, captures=captures) for captures in (True, False))
    assert captured == pytest.approx(computed, rel=2e-3)


@on_gpu
@pytest.mark.parametrize("futures", [0, 1, 3])
def test_captured_rollouts_are_the_same(fed_back: Config, futures: int) -> None:
    learner = TrainStep(single_process("cuda", "32-true"), fed_back)
    square = moving_square(20)
    rollouts = []
    for captures in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            graphed = functools.partial(GraphedFunction, enabled=captures)
            patch.setattr("posecast.model.rollout_batches.GraphedFunction", graphed)
            generators = [torch.Generator().manual_seed(seed) for seed in range(futures)] or None
            frames = list(rollout(learner.smoothed, square.frames[0], square.poses, generators=generators))
        rollouts.append(torch.stack(frames).cpu())
    assert rollouts[0].shape[:2] == (19, max(1, futures))
    assert not torch.equal(rollouts[0][3], rollouts[0][-1])
    assert torch.allclose(*rollouts, atol=1e-4)
