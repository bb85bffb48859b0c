"""Shared work: results in order, one operator thread each, the first error ends it."""

import threading

import pytest
import torch

from posecast.model.threads import Workers, operator_threads


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_are_in_order(count: int) -> None:
    with Workers(count) as workers:
        assert workers.map(lambda number: number**2, range(23)) == [number**2 for number in range(23)]
        assert workers.map(len, []) == []


def test_each_thread_computes_with_one_operator_thread() -> None:
    barrier = threading.Barrier(3)

    def threads(_: int) -> tuple[int, int]:
        barrier.wait()  # so that each of the three threads takes one item
        return torch.get_num_threads(), threading.get_ident()

    with Workers(3) as workers, operator_threads(2):
        results = workers.map(threads, range(3))
        assert torch.get_num_threads() == 2  # the caller's own number is restored
    assert {count for count, _ in results} == {1}
    assert len({thread for _, thread in results}) == 3


def test_an_error_is_raised_and_no_further_item_is_begun() -> None:
    begun: list[int] = []

    def fails(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise ValueError("three")

    for count in (1, 2):
        begun.clear()
        with Workers(count) as workers, pytest.raises(ValueError, match="three"):
            workers.map(fails, range(10_000))
        assert len(begun) < 10_000


def test_closed_workers_can_be_used_again() -> None:
    workers = Workers(2)
    before = threading.active_count()
    for _ in range(2):
        assert workers.map(abs, [-1, -2, -3]) == [1, 2, 3]
        workers.close()
        assert threading.active_count() == before
