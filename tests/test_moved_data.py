"""Data sets and runs that were copied, with other modification times, to another place."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from posecast.cli.main import main
from posecast.data.dancer.dataset import Choreography, write_synthetic
from posecast.files import read_json, write_json

from .conftest import TINY


def as_options(settings: dict[str, Any]) -> list[str]:
    words = []
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return words


OPTIONS = as_options({**TINY, "warmup_steps": 2})


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a data set and a run of two updates; the run records another place of its data."""
    folder = tmp_path_factory.mktemp("origin")
    write_synthetic(folder / "data", Choreography(sequences=2, frames=20, size=(16, 16)))
    words = ["train", "--data", str(folder / "data"), "--out", str(folder / "run"), *OPTIONS, "--steps", "2"]
    assert main(words) == 0
    config = read_json(folder / "run" / "config.json", "a run")
    config["source"]["path"] = str(folder / "gone")
    write_json(folder / "run" / "config.json", config)
    return folder


@pytest.fixture
def moved(origin: Path, tmp_path: Path) -> Path:
    """Copy data and run as `cp -r` does."""
    for name in ("data", "run"):
        shutil.copytree(origin / name, tmp_path / name, copy_function=shutil.copyfile)
    return tmp_path


def train(folder: Path, *words: str) -> int:
    return main(["train", "--data", str(folder / "data"), *words])


def edit_frame(folder: Path) -> None:
    frames = sorted((folder / "data" / "train" / "train_img").iterdir())
    shutil.copyfile(frames[3], frames[2])


def leave_files_of_file_managers(folder: Path) -> None:
    for path in (*folder.rglob("train_img"), folder / "run", folder / "run" / "state"):
        for name in ("._frame000001.png", ".DS_Store", "Thumbs.db", "._config.json"):
            (path / name).write_bytes(b"\0\5\x16\7")


def leave(folder: Path) -> None:
    pass


def remove_packs(folder: Path) -> None:
    shutil.rmtree(folder / "data" / ".posecast")


def rename_to_upper_case(folder: Path) -> None:
    for path in list((folder / "data").rglob("*.png")):
        path.rename(path.with_suffix(".PNG"))


HARMLESS = [leave, leave_files_of_file_managers, remove_packs, rename_to_upper_case]


@pytest.mark.parametrize("change", HARMLESS)
def test_a_moved_run_is_resumed_repeated_and_scored_on_moved_data(moved: Path, origin: Path, change: Any) -> None:
    change(moved)
    assert train(moved, "--out", str(moved / "run"), "--resume") == 0
    assert train(moved, "--out", str(moved / "again"), "--repeat", str(moved / "run")) == 0
    weights = [(folder / "model.safetensors").read_bytes() for folder in (moved / "again", origin / "run")]
    assert weights[0] == weights[1]
    assert main(["evaluate", str(moved / "run"), "--data", str(moved / "data"), "--futures", "1"]) == 0
    baselines = json.loads((moved / "run" / "scores.json").read_text())["baselines"]
    assert None not in baselines.values()
    assert main(["check", str(moved / "run")]) == 0
    assert main(["report", str(moved / "run"), "--out", str(moved / "page.html")]) == 0


@pytest.mark.parametrize("words", [["--resume"], ["--repeat"]])
def test_changed_data_is_refused_with_what_helps(
    moved: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    edit_frame(moved)
    out = moved / ("run" if words == ["--resume"] else "again")
    words = words if words == ["--resume"] else [*words, str(moved / "run")]
    assert train(moved, "--out", str(out), *words) == 2
    said = capsys.readouterr().err
    assert "The data set has changed since this run was started" in said
    assert "--force" in said
    assert train(moved, "--out", str(out), *words, "--force") == 0


def test_baselines_are_null_if_the_training_data_changed(moved: Path) -> None:
    edit_frame(moved)
    assert main(["evaluate", str(moved / "run"), "--data", str(moved / "data"), "--futures", "1"]) == 0
    baselines = json.loads((moved / "run" / "scores.json").read_text())["baselines"]
    assert baselines["mean_frame"] is baselines["nearest_pose"] is None


@pytest.fixture
def former(moved: Path) -> Path:
    """Give the run the fingerprint that earlier versions recorded, for the data as it lies there."""
    pack = read_json(next((moved / "data" / ".posecast").glob("train-*")) / "index.json", "a pack")
    assert train(moved, "--out", str(moved / "other"), *OPTIONS, "--steps", "1") == 0  # compares times again
    pack = read_json(next((moved / "data" / ".posecast").glob("train-*")) / "index.json", "a pack")
    config = read_json(moved / "run" / "config.json", "a run")
    config["source"]["fingerprint"] = pack["stamp"]
    write_json(moved / "run" / "config.json", config)
    return moved


def test_a_run_of_an_earlier_version_is_resumed_and_scored(former: Path) -> None:
    assert train(former, "--out", str(former / "run"), "--resume") == 0
    assert main(["evaluate", str(former / "run"), "--data", str(former / "data"), "--futures", "1"]) == 0
    baselines = json.loads((former / "run" / "scores.json").read_text())["baselines"]
    assert None not in baselines.values()


def test_a_run_of_an_earlier_version_on_touched_data_is_refused_with_the_reason(
    former: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(next((former / "data" / "train" / "train_img").iterdir()), ns=(5, 5))
    assert train(former, "--out", str(former / "run"), "--resume") == 2
    assert "or was copied without its modification times" in capsys.readouterr().err
    assert train(former, "--out", str(former / "run"), "--resume", "--force") == 0


# Recordings that are too short


def write_recordings_of(folder: Path, lengths: list[int], *, val: bool) -> None:
    from posecast.data.folder_dataset import write_recordings

    from .conftest import moving_square

    write_recordings(folder / "data", "train", [moving_square(length) for length in lengths])
    if val:
        write_recordings(folder / "data", "val", [moving_square(20, seed=1)])


SHORT = {
    "one of three": ([20, 10, 40], True, "1 of 3 training recordings (10 of 70 frames) is shorter than a clip of 16"),
    "most frames": ([20, 10, 15, 15, 10], True, "4 of 5 training recordings (50 of 70 frames) are shorter"),
    "by their tail": ([17, 40], False, "1 of 2 training recordings (15 of 51 frames) is shorter than a clip of 16"),
}


@pytest.mark.parametrize("name", SHORT)
def test_recordings_that_are_never_trained_on_are_noted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths, val, expected = SHORT[name]
    write_recordings_of(tmp_path, lengths, val=val)
    words = ["--out", str(tmp_path / "run"), "--recipe", "lab4", "--size", "16x16"]
    assert train(tmp_path, *words, "--dry-run") == 0
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert expected in said.err
    assert json.loads(said.out)["recipe"] == "lab4"
    tiny = as_options({"frame_channels": 8, "pose_channels": 4, "latent_channels": 4, "fusion_channels": 8, "steps": 1})
    assert train(tmp_path, *words, *tiny) == 0
    assert expected in capsys.readouterr().err
    assert main(["check", str(tmp_path / "data")]) == 0
    assert f"train, with recipe lab4: {expected}" in capsys.readouterr().out


def test_recordings_that_have_no_tail_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recordings_of(tmp_path, [20, 3, 2], val=False)
    expected = "2 of 3 training recordings (5 of 25 frames) are too short to hold out a tail"
    assert train(tmp_path, "--out", str(tmp_path / "run"), "--dry-run") == 0
    assert expected in capsys.readouterr().err
    assert main(["check", str(tmp_path / "data")]) == 0
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(("lengths", "recipe"), [([20, 40], "lab4"), ([10, 4], "anchored"), ([10, 4], "people")])
def test_no_note_where_all_recordings_are_used(
    lengths: list[int], recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recordings_of(tmp_path, lengths, val=True)
    assert train(tmp_path, "--out", str(tmp_path / "run"), "--recipe", recipe, "--dry-run") == 0
    assert capsys.readouterr().err == ""


def test_a_dry_run_needs_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "--out", str(tmp_path / "run"), "--dry-run") == 0
    assert capsys.readouterr().err == ""
