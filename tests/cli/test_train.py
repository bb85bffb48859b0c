"""The commands train and demo."""

import json
from pathlib import Path

import pytest

from posecast.cli.main import main

from .conftest import TINY, refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "lab5"], "lab5"),
        (["--bath-size", "3"], "--bath-size"),
        (["--batch-size", "-1"], "batch_size is -1"),
        (["--steps", "0"], "steps is 0"),
        (["--epochs", "1"], "give one of"),
        (["--devices", "0"], "--devices is 0"),
        (["--device", "cuda"], "cuda"),
        (["--size", "18x15"], "from 16"),
        (["--frame-channels", "8"], "lab4"),
        (["--clip-length", "400", "--size", "16x16"], "longest recording has 30"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
        (["--from", "nowhere"], "nowhere"),
    ],
)
def test_wrong_settings_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    tiny = [] if arguments[0] in TINY else TINY
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), *tiny, *arguments]
    assert message in refused(capsys, *command)
    assert not (tmp_path / "run").exists()


def test_dry_run_prints_the_complete_configuration(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", "--data", str(data), "--out", str(out), *TINY, "--dry-run"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["training"]["clip_length"] == 4
    assert printed["budget"] == {"epochs": None, "steps": 6, "minutes": None}
    assert not out.exists()


def test_resume_needs_no_flags(data: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    assert main(["train", "--data", str(data), "--out", out, *TINY]) == 0
    assert main(["train", "--data", str(data), "--out", out, "--resume"]) == 0
    assert main(["train", "--data", str(data), "--out", out, "--resume", "--batch-size", "2"]) == 2


@pytest.mark.long
def test_demo_writes_data_run_and_report_and_can_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    command = ["demo", "--out", str(out), "--minutes", "0.05", "--size", "16x16", "--frames", "40"]
    for _ in range(2):
        assert main(command) == 0
    assert "frame of the nearest pose" in capsys.readouterr().out
    for name in ("data/hidden.npz", "run/scores.json", "report.html"):
        assert (out / name).is_file()
