"""What chance decides about an update, and what of it falls to each process."""

import dataclasses

import numpy as np
import pytest
import torch

from posecast.config.schema import Config
from posecast.data.clips import ClipPlan
from posecast.errors import InputError
from posecast.training.batches import Batches, check_divisible

LATENT = (2, 4, 8)


@pytest.mark.parametrize(("coin", "distinct"), [("epoch", 1), ("batch", 1), ("frame", 2)])
def test_coins(tiny: Config, coin: str, distinct: int) -> None:
    training = dataclasses.replace(tiny.training, teacher_forcing=0.5, teacher_forcing_coin=coin)  # pyright: ignore
    batches = Batches(dataclasses.replace(tiny, training=training), LATENT)
    tosses = [batches.coins((16, 3), step, epoch=step // 10) for step in range(400)]
    assert max(len(toss.unique()) for toss in tosses) == distinct
    rate = torch.stack([toss.float().mean() for toss in tosses]).mean()
    assert 0.25 <= rate <= 0.75
    if coin == "epoch":  # one toss decides all the batches of an epoch
        assert all(torch.equal(tosses[k], tosses[10 * (k // 10)]) for k in range(400))


def test_clips_are_withheld_and_imagined_as_often_as_asked(tiny: Config) -> None:
    training = dataclasses.replace(tiny.training, first_frame_dropout=0.25, prior_mean_share=0.75)
    batches = Batches(dataclasses.replace(tiny, training=training), LATENT)
    draws = [batches.draw(16, 4, step, 0) for step in range(100)]
    assert torch.stack([one.given for one in draws]).float().mean() == pytest.approx(0.75, abs=0.05)
    assert {one.noise.shape for one in draws} == {(4, 3, *LATENT)}  # one row for each observed clip
    assert torch.equal(draws[3].noise, batches.draw(16, 4, 3, 9).noise)
    odd = [len(batches.draw(2, 4, step, 0).noise) for step in range(400)]
    assert set(odd) == {0, 1}  # 1.5 of two are imagined: a coin decides
    assert np.mean(odd) == pytest.approx(0.5, abs=0.1)


def test_batches_are_shared_out_evenly(tiny: Config) -> None:
    check_divisible(tiny, 2)
    with pytest.raises(InputError, match="multiple of --devices"):
        check_divisible(tiny, 3)


def test_shares_make_up_the_batch(tiny: Config) -> None:
    plan = ClipPlan(*np.arange(16).reshape(4, 4))
    shares = [Batches(tiny, LATENT, rank, 2).own_share(plan).start.tolist() for rank in range(2)]
    assert shares == [[4, 6], [5, 7]]
