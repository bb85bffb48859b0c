"""Fixtures of the tests of training."""

import pytest
from lightning_fabric import Fabric

from posecast.training.distributed import single_process


@pytest.fixture
def fabric() -> Fabric:
    return single_process("cpu", "32-true")
