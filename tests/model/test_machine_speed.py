"""Measured speeds and the number of threads that follows from them."""

import torch

from posecast.model.machine_speed import choose_threads, convolution_gflops, fewest, product_gflops


def test_speeds_are_positive_and_threads_within_the_limit() -> None:
    assert product_gflops(torch.float32, 64) > 0
    assert convolution_gflops(torch.float32) > 0
    operators, shares = choose_threads(2, torch.float32)
    assert operators in (1, 2)
    assert shares in (1, 2)
    assert choose_threads(1, torch.float32) == (1, 1)


def test_more_threads_are_chosen_only_if_they_are_faster() -> None:
    trials = {("operators", 1): [1.0, 1.01], ("operators", 2): [0.98, 1.0], ("shares", 2): [0.1]}
    assert fewest(trials, "operators") == 1
    assert fewest({**trials, ("operators", 4): [0.5]}, "operators") == 4
