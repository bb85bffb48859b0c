"""Every reader against files that were cut, flipped, swapped or made to do harm; see `damage.py`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .damage import READERS

COUNT = 110


@pytest.mark.parametrize("name", READERS)
def test_a_reader_answers_or_refuses(name: str) -> None:
    """In a process of its own: a crash is a failure too."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.damage", name, str(COUNT), "0"],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["failures"] == []
    assert outcome["tried"] >= COUNT
    assert outcome["refused"] + outcome["answered"] == outcome["tried"]


def test_the_readers_are_tried_on_two_thousand_inputs() -> None:
    assert COUNT * len(READERS) >= 2000
