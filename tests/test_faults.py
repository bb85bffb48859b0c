"""Disk faults in some commands that write; `make chaos` runs all commands with thirteen faults."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_disk_faults_lose_nothing() -> None:
    words = "--faults full:4000 failing:2 read-only vanishing:1 --only extract pack".split()
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *words, "train --resume"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    statuses = re.findall(r" (?:full|failing|read-only|vanishing):\d+ (\d)", done.stdout)
    assert len(statuses) in (6, 12)  # two of the faults need seccomp
    assert "0" not in statuses  # every fault made its command fail


@pytest.mark.long
def test_commands_succeed_on_a_disk_that_lacks_operations() -> None:
    words = "--faults lacking --only extract pack report".split()
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *words], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
