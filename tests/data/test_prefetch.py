"""What is prepared ahead is what is asked for, in its order."""

import threading
import time

import pytest

from posecast.data.prefetch import mapped_ahead


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_what_is_prepared_ahead_keeps_its_order(threads: int) -> None:
    begun: list[int] = []

    def squared(number: int) -> int:
        begun.append(number)
        time.sleep(0.002 * (number % 3))  # later ones are ready before earlier ones
        return number**2

    found = mapped_ahead(squared, range(40), threads)
    assert next(found) == 0
    assert len(begun) <= 1 + (threads + 2 if threads else 0)  # no further ahead than there are threads for
    assert list(found) == [number**2 for number in range(1, 40)]


@pytest.mark.parametrize("threads", [0, 3])
def test_an_error_comes_where_its_item_is_asked_for_and_no_thread_stays(threads: int) -> None:
    before = threading.active_count()
    found = mapped_ahead(lambda number: 12 // (3 - number), range(9), threads)
    assert [next(found) for _ in range(3)] == [4, 6, 12]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert threading.active_count() == before
