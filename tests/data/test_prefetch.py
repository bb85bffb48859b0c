"""Work done ahead: order, depth, errors and the end of its threads."""

import threading
import time

import pytest

from posecast.data.prefetch import mapped_ahead


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_mapped_ahead_keeps_the_order(threads: int) -> None:
    started: list[int] = []

    def squared(number: int) -> int:
        started.append(number)
        time.sleep(0.002 * (number % 3))  # later items finish before earlier ones
        return number**2

    results = mapped_ahead(squared, range(40), threads)
    assert next(results) == 0
    assert len(started) <= 1 + (threads + 2 if threads else 0)  # the limit of work ahead
    assert list(results) == [number**2 for number in range(1, 40)]


@pytest.mark.parametrize("threads", [0, 3])
def test_an_error_is_raised_at_its_item_and_no_thread_remains(threads: int) -> None:
    before = threading.active_count()
    results = mapped_ahead(lambda number: 12 // (3 - number), range(9), threads)
    assert [next(results) for _ in range(3)] == [4, 6, 12]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threading.active_count() == before
