"""The tests generate enough odd inputs of every kind."""

import pytest

from . import odd_inputs


@pytest.mark.long
def test_at_least_three_hundred_odd_inputs_of_every_kind_are_tried() -> None:
    numbers = odd_inputs.count()
    assert numbers.total() >= 300
    assert numbers.keys() == odd_inputs.CORPUS.keys()
    assert min(numbers.values()) >= 20
