"""Generators depend on their complete key; clips are observed in order."""

import torch

from posecast.model.draws import free_running, seeded, step_noise


def test_seeded_noise_depends_on_the_complete_key() -> None:
    keys = [(0,), (1,), (0, 1), (1, 0), (0, 1, 2), (2, 1, 0)]
    draws = {key: torch.randn(4, generator=seeded(*key)) for key in keys}
    assert all(torch.equal(draw, torch.randn(4, generator=seeded(*key))) for key, draw in draws.items())
    assert len({tuple(draw.tolist()) for draw in draws.values()}) == len(keys)


def test_the_noise_of_a_row_comes_from_its_own_generator() -> None:
    together = step_noise([seeded(0, 1), seeded(0, 2)], (2, 3, 4))
    assert torch.equal(together[1:], step_noise([seeded(0, 2)], (2, 3, 4)))


def test_clips_without_noise_are_not_observed() -> None:
    draws = free_running(torch.zeros(3, 4, 2, 1, 1))
    assert draws.observed().all()
    assert draws._replace(noise=draws.noise[:1]).observed().tolist() == [[True] * 4, [False] * 4, [False] * 4]
