"""Batches: random draws about an update, and their frequencies."""

import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch

from posecast.config.schema import Config
from posecast.errors import InputError
from posecast.training.batches import Batches, check_divisible

LATENT = (2, 4, 8)


@pytest.mark.parametrize(("scope", "distinct"), [("epoch", 1), ("batch", 1), ("frame", 2)])
def test_coins(tiny: Config, scope: Literal["epoch", "batch", "frame"], distinct: int) -> None:
    training = dataclasses.replace(tiny.training, teacher_forcing=0.5, teacher_forcing_coin=scope)
    batches = Batches(dataclasses.replace(tiny, training=training), LATENT)
    coins = [batches.coins((16, 3), step, epoch=step // 10) for step in range(400)]
    assert max(len(coin.unique()) for coin in coins) == distinct
    rate = torch.stack([coin.float().mean() for coin in coins]).mean()
    assert 0.25 <= rate <= 0.75
    if scope == "epoch":  # one coin for all batches of an epoch
        assert all(torch.equal(coins[step], coins[10 * (step // 10)]) for step in range(400))


def test_first_frames_and_posteriors_are_dropped_at_their_rates(tiny: Config) -> None:
    training = dataclasses.replace(tiny.training, first_frame_dropout=0.25, prior_mean_share=0.75)
    batches = Batches(dataclasses.replace(tiny, training=training), LATENT)
    draws = [batches.draw(16, 4, step, 0) for step in range(100)]
    assert torch.stack([draw.has_first_frame for draw in draws]).float().mean() == pytest.approx(0.75, abs=0.05)
    assert {draw.noise.shape for draw in draws} == {(4, 3, *LATENT)}  # one row for each observed clip
    assert torch.equal(draws[3].noise, batches.draw(16, 4, 3, 9).noise)
    num_observed = [len(batches.draw(2, 4, step, 0).noise) for step in range(400)]
    assert set(num_observed) == {0, 1}  # 1.5 of two clips use the prior's mean: a coin decides
    assert np.mean(num_observed) == pytest.approx(0.5, abs=0.1)


def test_processes_get_equally_many_clips(tiny: Config) -> None:
    check_divisible(tiny, 2)
    with pytest.raises(InputError, match="multiple of --devices"):
        check_divisible(tiny, 3)
