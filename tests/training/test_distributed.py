"""Several processes: none goes on alone when the one that began them is killed, not even while it begins them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from posecast.cli.main import main

TINY = "--size 16x16 --widths 8 16 --blocks 1 --clip-length 4 --batch-size 4 --latent-channels 2".split()
PATIENCE_S = 900.0


def children_of(process: int) -> list[int]:
    """Those that train: multiprocessing has another that watches over semaphores."""
    found = []
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("begun", [1, 2])
def test_processes_whose_parent_is_killed_at_once_do_not_train(begun: int, tmp_path: Path) -> None:
    """Killed when it has begun so many of the two: none has imported anything, and one may wait for its brother."""
    data, run = tmp_path / "data", tmp_path / "run"
    assert main(["synth", str(data), "--sequences", "1", "--frames", "24", "--size", "16x16"]) == 0
    words = ["train", "--data", str(data), "--out", str(run), "--devices", "2", "--steps", "1000000", *TINY]
    parent = subprocess.Popen(
        [sys.executable, "-m", "posecast", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    children: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    try:
        while len(children) < begun and parent.poll() is None and time.monotonic() < deadline:
            children = children_of(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    assert len(children) >= begun
    try:
        while any(map(lives, children)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(lives, children))
        assert not (run / "log.jsonl").exists()
    finally:
        for child in filter(lives, children):
            os.kill(child, signal.SIGKILL)
