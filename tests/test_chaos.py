"""Short form of `make chaos`: commands killed at random times end as if they had not been killed."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_killed_commands_end_with_the_same_outcome() -> None:
    words = ["--kills", "8", "--only", "training", "packing", "extraction"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *words], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].endswith("all identical")
