"""A disk that takes no more, at some of the places where posecast writes; `make faults` tries all, at four sizes."""

import subprocess
import sys
from pathlib import Path


def test_a_full_disk_loses_nothing() -> None:
    words = ["--bytes", "4000", "--only", "train", "train --resume", "report", "export-lab4", "extract", "pack"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *words], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert done.stdout.count("exit status at bytes 4000: 1") == 6
