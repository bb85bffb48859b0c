"""Exit statuses, and messages on stderr."""

import subprocess
import sys
from pathlib import Path

import pytest

from posecast.cli.main import main

from .conftest import TINY, generate_words, refused, tree


def test_files_of_other_origin_are_never_overwritten(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    before = tree(run)
    refused(capsys, "train", "--data", data, "--out", run, *TINY)
    refused(capsys, "train", "--data", data, "--out", file, *TINY)
    refused(capsys, "train", "--data", data, "--out", tmp_path, *TINY, "--force")
    refused(capsys, "synth", data)
    refused(capsys, "synth", run, "--force")
    refused(capsys, "submit", run, "--data", data, "--out", run)
    refused(capsys, "report", run, "--out", file)
    refused(capsys, "demo", "--out", tmp_path)
    refused(capsys, *generate_words(run, data, tmp_path / "file.gif"), "--futures", "0")
    assert tree(run) == before
    assert file.read_text() == "mine"


def test_ctrl_c_ends_with_130_and_what_was_saved_stays(data: Path, tmp_path: Path) -> None:
    """Send a signal to a process after its first epoch."""
    import signal
    import time

    out = tmp_path / "run"
    steps = [*TINY[:-1], "100000"]
    command = [sys.executable, "-m", "posecast", "train", "--data", str(data), "--out", str(out), *steps]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 900
    while not (out / "model.safetensors").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=900)
    assert process.returncode == 130, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert len(list((out / "state").glob("step-*.pt"))) >= 1


def test_a_full_disk_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/disk/frame000001.png")

    monkeypatch.setattr("posecast.data.dancer.dataset.write_recordings", full)
    assert main(["synth", str(tmp_path / "out"), "--frames", "8"]) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("posecast: ")]
    assert said == (
        "posecast: No space left on device: /disk/frame000001.png. "
        "Free some space and run the command again; everything saved so far is intact."
    )
