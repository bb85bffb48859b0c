"""All readers on damaged and hostile files; see `damage.py`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .damage import READERS

COUNT = 110
WITH_TORCH = "config.json,weights,state,log,scores,body,run folder,course checkpoint"
"""These share a process, because importing torch takes longer than the tests."""
PROCESSES: list[Any] = [
    pytest.param(WITH_TORCH, marks=pytest.mark.long),
    *(name for name in READERS if name not in WITH_TORCH.split(",")),
]


@pytest.mark.parametrize("names", PROCESSES)
def test_readers_return_or_raise_an_input_error(names: str) -> None:
    """The readers run in another process, so that a crash is a failure of the test."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.damage", names, str(COUNT), "0"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"reader"')]
    assert done.returncode == 0, done.stderr[-2000:]
    assert [outcome["reader"] for outcome in outcomes] == names.split(",")
    for outcome in outcomes:
        assert outcome["failures"] == [], outcome["reader"]
        assert outcome["tried"] >= COUNT
        assert outcome["refused"] + outcome["returned"] == outcome["tried"]


def test_all_readers_run_on_two_thousand_inputs_in_total() -> None:
    tested = [names if isinstance(names, str) else names.values[0] for names in PROCESSES]
    assert sum(name in names.split(",") for name in READERS for names in tested) == len(READERS)
    assert COUNT * len(READERS) >= 2000
