"""Fixtures of the tests of training."""

import pytest
from lightning_fabric import Fabric


@pytest.fixture
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1, precision="32-true")
