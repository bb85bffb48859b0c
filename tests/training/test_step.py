"""One update: learnability, exactness, sharing out, skipping."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.clips import ClipCutter
from posecast.evaluation.evaluate import mean_rollout, psnr_db
from posecast.model.predictor import free_running
from posecast.model.threads import Workers
from posecast.training.budget import Plan
from posecast.training.loop import learning_rate_at
from posecast.training.step import StepMetrics, TrainStep, kept_of_average

from ..conftest import TINY, moving_square


@pytest.fixture
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1, precision="32-true")


def cutter_for(config: Config, num_frames: int = 24) -> ClipCutter:
    return ClipCutter([moving_square(num_frames)], config.training.clip_length, config.networks.pose_window)


def rate_of(learner: TrainStep, step: int, num_steps: int) -> float:
    return learning_rate_at(learner.config.training, Plan(((0, num_steps),)), step)


def updates(learner: TrainStep, cutter: ClipCutter, count: int, num_steps: int | None = None) -> list[StepMetrics]:
    done: list[StepMetrics] = []
    epoch = 0
    while len(done) < count:
        for plan in cutter.epoch(4 * 4, 4, learner.config.seed, epoch):
            batch = learner.batches.prepare(cutter, plan, step=len(done), epoch=epoch)
            done.append(learner.update(batch, rate=rate_of(learner, len(done), num_steps or count)))
        epoch += 1
    return done


def test_it_learns_a_clip_and_beats_copying(fabric: Fabric) -> None:
    """The signal of life: own predictions fed back, a small model, a square that walks where the pose says."""
    flags = {**TINY, "widths": [16, 32], "steps": 150, "learning_rate": 4e-3, "warmup_steps": 10, "ema_decay": 0.9}
    config = build_config(flags=flags)
    learner = TrainStep(fabric, config)
    recording = moving_square(24)
    updates(learner, ClipCutter([recording], 4, 1), 150)
    learned = psnr_db(mean_rollout(learner.smoothed, recording), recording.frames[1:]).mean()
    copied = psnr_db(np.broadcast_to(recording.frames[0], recording.frames[1:].shape), recording.frames[1:]).mean()
    assert learned > copied + 6.0


def test_the_same_seed_gives_the_same_losses(fabric: Fabric, either: Config) -> None:
    first = updates(TrainStep(fabric, either), cutter_for(either), 4)
    again = updates(TrainStep(fabric, either), cutter_for(either), 4)
    other = updates(TrainStep(fabric, dataclasses.replace(either, seed=1)), cutter_for(either), 4)
    assert [u.loss for u in first] == [u.loss for u in again]
    assert [u.loss for u in first] != [u.loss for u in other]


def test_a_state_holds_all_that_an_update_changes(fabric: Fabric, tiny: Config, tmp_path: Path) -> None:
    cutter = cutter_for(tiny)
    plans = list(cutter.epoch(24, 4, 0, 0))
    learner = TrainStep(fabric, tiny)
    for step in range(3):
        learner.update(learner.batches.prepare(cutter, plans[step], step=step, epoch=0), rate=1e-3)
    torch.save(learner.state(), tmp_path / "state.pt")
    resumed = TrainStep(fabric, dataclasses.replace(tiny, seed=tiny.seed))
    resumed.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    for one in (learner, resumed):
        for step in range(3, 6):
            one.update(one.batches.prepare(cutter, plans[step], step=step, epoch=0), rate=1e-3)
    pairs = zip(learner.smoothed.state_dict().values(), resumed.smoothed.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("harm", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(fabric: Fabric, tiny: Config, harm: float) -> None:
    cutter = cutter_for(tiny)
    learner = TrainStep(fabric, tiny)
    (plan, *_) = cutter.epoch(4, 4, 0, 0)
    learner.update(learner.batches.prepare(cutter, plan, step=0, epoch=0), rate=1e-3)
    before = {name: value.clone() for name, value in learner.averaged.state_dict().items()}
    weight = next(learner.predictor.parameters())
    hook = weight.register_hook(lambda gradient: gradient * harm)
    update = learner.update(learner.batches.prepare(cutter, plan, step=1, epoch=0), rate=1e-3)
    hook.remove()
    assert update.skipped
    assert all(torch.equal(value, before[name]) for name, value in learner.averaged.state_dict().items())
    assert not learner.update(learner.batches.prepare(cutter, plan, step=2, epoch=0), rate=1e-3).skipped


def test_the_average_starts_from_what_was_learned_and_not_from_chance(fabric: Fabric, tiny: Config) -> None:
    """After one update it is the weights; later it lags behind them, and not at all without an average."""
    assert kept_of_average(0.999, 10**6) == 0.999
    for decay in (0.999, 0.0):
        config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, ema_decay=decay))
        learner, cutter = TrainStep(fabric, config), cutter_for(config)
        chance = [one.detach().clone() for one in learner.predictor.parameters()]
        updates(learner, cutter, 1)
        pairs = list(zip(learner.smoothed.parameters(), learner.predictor.parameters(), strict=True))
        assert all(torch.equal(one, other) for one, other in pairs)
        assert not all(torch.equal(one, other) for (one, _), other in zip(pairs, chance, strict=True))
        updates(learner, cutter, 4)
        assert all(torch.equal(one, other) for one, other in pairs) == (decay == 0.0)


def test_a_state_of_another_device_is_gone_on_with_as_this_one_needs_it(fabric: Fabric, tiny: Config) -> None:
    learner, cutter = TrainStep(fabric, tiny), cutter_for(tiny)
    updates(learner, cutter, 2)
    state = learner.state()
    for optimizer in state["optimizers"]:
        for group in optimizer["param_groups"]:
            group |= {"capturable": True, "lr": torch.tensor(0.1)} if "capturable" in group else {}
    learner.load_state(state)
    assert not any(group.get("capturable") for optimizer in learner.optimizers for group in optimizer.param_groups)
    updates(learner, cutter, 1)
    assert all(isinstance(group["lr"], float) for optimizer in learner.optimizers for group in optimizer.param_groups)


def test_clipping_bounds_the_gradient(fabric: Fabric, tiny: Config) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, max_grad_norm=1e-3))
    learner, cutter = TrainStep(fabric, config), cutter_for(config)
    updates(learner, cutter, 1)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in learner.predictor.parameters() if p.grad is not None))
    assert norm <= 1.001e-3


def test_the_reported_rate_is_that_of_observed_clips(fabric: Fabric, tiny: Config) -> None:
    """Half of the clips imagined: the loss has half of the rate, the report all of what an observed clip costs."""
    learner, cutter = TrainStep(fabric, tiny), cutter_for(tiny)
    clip = cutter.cut(next(cutter.epoch(4, 4, 0, 0)))
    draws = free_running(torch.zeros(4, cutter.clip_length - 1, *learner.predictor.latent_shape))
    draws = draws._replace(noise=draws.noise[:2], first_noise=draws.first_noise[:2])
    observation, terms = learner.observe(clip, draws, kl_weight=1.0, predictor=learner.predictor)
    assert terms.rate_nats.item() == pytest.approx(observation.rate_nats[:2].mean().item(), rel=1e-5)
    variance = observation.mse[:2].mean().item()  # the optimal one, over observed clips
    expected = observation.mse.mean().item() + 2 * variance / 768 * observation.rate_nats.mean().item()
    assert terms.loss.item() == pytest.approx(expected, rel=1e-5)
    height_width_colour = 3 * 16 * 16
    distortion = 0.5 * height_width_colour * (1 + math.log(2 * math.pi * variance))
    assert terms.distortion_nats.item() == pytest.approx(distortion, rel=1e-5)


@pytest.mark.parametrize("shares", [2, 3, 4])
def test_shares_of_an_update_make_up_the_whole(fabric: Fabric, either: Config, shares: int) -> None:
    """Shared out among threads, evenly or not, an update has the gradients and the terms of one batch."""
    either = dataclasses.replace(either, training=dataclasses.replace(either.training, batch_size=4))
    cutter = cutter_for(either)
    found = []
    for count in (1, shares):
        learner = TrainStep(fabric, either, shares=count)
        for parameter in learner.parameters:
            if not parameter.any():  # layers that start at zero hide what lies behind them
                torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(0))
        batch = learner.batches.prepare(cutter, next(cutter.epoch(4, 4, 0, 0)), step=0, epoch=0)
        values, gradients = learner.passes(batch)
        found.append((values, [gradient.clone() for gradient in gradients]))
        learner.workers.close()
    (one_values, one), (values, shared) = found
    assert values == pytest.approx(one_values, rel=1e-4)
    for gradient, other in zip(one, shared, strict=True):
        torch.testing.assert_close(gradient, other, atol=2e-6, rtol=2e-3)


def test_shares_give_the_same_bytes_whatever_thread_computes_them(fabric: Fabric, tiny: Config) -> None:
    losses = []
    for threads in (3, 1, 2):
        learner = TrainStep(fabric, tiny, shares=3)
        share = learner.workers.map
        learner.workers.map = lambda function, items, share=share, threads=threads: (  # pyright: ignore
            share(function, items) if threads == 3 else Workers(threads).map(function, items)
        )
        losses.append([update.loss for update in updates(learner, cutter_for(tiny), 4)])
    assert losses[0] == losses[1] == losses[2]
