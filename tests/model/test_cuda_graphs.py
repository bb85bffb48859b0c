"""What is recorded gives what is computed, for every shape, in any order; without a GPU functions are called."""

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.clips import ClipCutter
from posecast.model.cuda_graphs import FIRST_CALLS, GraphedFunction
from posecast.model.rollout import rollout
from posecast.training.step import TrainStep

from ..conftest import moving_square

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs are a GPU's")
DEVICES = ["cpu", pytest.param("cuda", marks=on_gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_a_function_with_a_memory_goes_on_as_if_it_were_called(device: str) -> None:
    """Two shapes take turns, and what the function changes in place is changed once a call."""
    total = torch.zeros((), device=device)

    def added(x: Tensor, factor: Tensor) -> Tensor:
        total.add_((x * factor).sum())
        return x * factor + 1

    replayed = GraphedFunction(added, torch.device(device))
    expected = 0.0
    for call in range(3 * FIRST_CALLS):
        x, factor = torch.full((2 + call % 2, 4), float(call)), torch.tensor(float(call))
        found = replayed(x, factor)
        expected += float((x * factor).sum())
        assert found.device.type == device
        assert torch.equal(found.cpu(), x * factor + 1)
        assert total.item() == expected
    assert len(replayed.recordings) == (2 if device == "cuda" else 0)


def losses_of(config: Config, *, records: bool) -> list[float]:
    """Of updates whose clips change their length. (Not the weights: where there is hardly a gradient, Adam's first
    steps are as long as elsewhere and point where the last bits of a GPU's sums do.)"""
    learner = TrainStep(Fabric(accelerator="cuda", devices=1, precision="32-true"), config)
    for replayed in (*learner._passes.values(), learner._steps):
        replayed.records = records
    losses = []
    for step in range(18):
        cutter = ClipCutter([moving_square(40)], (4, 6)[step // 2 % 2], config.networks.pose_window)
        [plan] = cutter.epoch(4, 4, 0, step)
        losses.append(learner.update(learner.batches.prepare(cutter, plan, step=step, epoch=step), rate=1e-3).loss)
    return losses


@on_gpu
@pytest.mark.parametrize("recipe", ["anchored", "stationary", "lab4"])
def test_recorded_updates_teach_the_same(recipe: str) -> None:
    small = {"size": "16x16", "clip_length": 4, "steps": 18, "kl_schedule": "cyclical", "kl_period": 6.0}
    config = build_config(recipe, flags={**small, "teacher_forcing": 0.5, "teacher_forcing_coin": "batch"})
    recorded, computed = (losses_of(config, records=records) for records in (True, False))
    assert recorded == pytest.approx(computed, rel=2e-3)


@on_gpu
@pytest.mark.parametrize("futures", [0, 1, 3])
def test_recorded_rollouts_paint_the_same(tiny: Config, futures: int) -> None:
    learner = TrainStep(Fabric(accelerator="cuda", devices=1, precision="32-true"), tiny)
    square = moving_square(20)
    painted = []
    for records in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "posecast.model.rollout.GraphedFunction", lambda f, d, r=records: GraphedFunction(f, d, records=r)
            )
            generators = [torch.Generator().manual_seed(seed) for seed in range(futures)] or None
            found = list(rollout(learner.smoothed, square.frames[0], square.poses, generators=generators))
        painted.append(torch.stack(found).cpu())
    assert painted[0].shape[:2] == (19, max(1, futures))
    assert not torch.equal(painted[0][3], painted[0][-1])
    assert torch.allclose(*painted, atol=1e-4)
