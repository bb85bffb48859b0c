"""The tests generate enough odd inputs of every kind."""

import pytest

from . import odd_inputs


@pytest.mark.long
def test_at_least_three_hundred_odd_but_valid_inputs_are_tried() -> None:
    numbers = odd_inputs.count(odd_inputs.VALID)
    assert numbers.total() >= 300
    assert min(numbers.values()) >= 20


@pytest.mark.long
def test_at_least_two_hundred_hostile_inputs_are_tried() -> None:
    assert odd_inputs.count(odd_inputs.HOSTILE).total() >= 200
