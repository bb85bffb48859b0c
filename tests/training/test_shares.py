"""Shares of a batch: rows of each, and updates that equal those of the undivided batch."""

import dataclasses

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from posecast.config.schema import Config
from posecast.data.clips import ClipCutter, ClipPlan
from posecast.model.draws import free_running
from posecast.model.threads import Workers
from posecast.training.batches import Batches
from posecast.training.shares import Share, from_tensors, share_of, to_tensors
from posecast.training.step import TrainStep

from ..conftest import moving_square


def cutter_for(config: Config) -> ClipCutter:
    return ClipCutter([moving_square(24)], config.training.clip_length, config.networks.pose_window)


def test_rows_of_processes_make_up_the_batch(tiny: Config) -> None:
    plan = ClipPlan(*np.arange(16).reshape(4, 4))
    starts = [Batches(tiny, (2, 4, 8), rank, 2).own_rows(plan).start.tolist() for rank in range(2)]
    assert starts == [[4, 6], [5, 7]]


def test_shares_survive_their_list_of_tensors(tiny: Config) -> None:
    cutter = cutter_for(tiny)
    clip = cutter.cut(next(cutter.epoch(4, 4, 0, 0)))
    batch = Share(clip, free_running(torch.zeros(4, cutter.clip_length - 1, 2, 4, 4)))
    shares = [share_of(batch, index, 2) for index in range(2)]
    restored = from_tensors(to_tensors(shares))
    assert len(restored) == 2
    for before, after in zip(to_tensors(shares), to_tensors(restored), strict=True):
        assert before is after


@pytest.mark.parametrize("shares", [2, 3, 4])
def test_shares_have_the_gradients_of_the_undivided_batch(fabric: Fabric, either: Config, shares: int) -> None:
    config = dataclasses.replace(either, training=dataclasses.replace(either.training, batch_size=4))
    cutter = cutter_for(config)
    results = []
    for count in (1, shares):
        train_step = TrainStep(fabric, config, shares=count)
        for parameter in train_step.parameters:
            if not parameter.any():  # layers that start at zero block the gradients of those before them
                torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(0))
        batch = train_step.batches.prepare(cutter, next(cutter.epoch(4, 4, 0, 0)), step=0, epoch=0)
        values, gradients = train_step.passes(batch)
        results.append((values, [gradient.clone() for gradient in gradients]))
        train_step.workers.close()
    (expected_values, expected), (values, gradients) = results
    assert values == pytest.approx(expected_values, rel=1e-4)
    for gradient, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(reference, gradient, atol=2e-6, rtol=2e-3)


def test_shares_give_the_same_bytes_whatever_thread_computes_them(
    fabric: Fabric, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []
    for num_threads in (3, 1, 2):
        train_step, cutter = TrainStep(fabric, tiny, shares=3), cutter_for(tiny)
        monkeypatch.setattr(train_step.workers, "map", Workers(num_threads).map)
        batches = [
            train_step.batches.prepare(cutter, plan, step=step, epoch=0)
            for step, plan in enumerate(cutter.epoch(16, 4, tiny.seed, 0))
        ]
        losses.append([train_step.update(batch, rate=1e-3).loss for batch in batches])
    assert losses[0] == losses[1] == losses[2]
