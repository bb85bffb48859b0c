"""Tests of reading a run folder, also if files or values are missing."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from posecast.errors import InputError
from posecast.evaluation.results import number, read_run


def make_run(path: Path, log: str = "", scores: dict[str, Any] | None = None) -> Path:
    path.mkdir()
    (path / "config.json").write_text('{"recipe": "lab4", "seed": 3}')
    if log:
        (path / "log.jsonl").write_text(log)
    if scores is not None:
        (path / "scores.json").write_text(json.dumps(scores))
    return path


def test_complete_run_is_read(tmp_path: Path) -> None:
    run_folder = make_run(
        tmp_path / "r", '{"loss": 2, "rate": null}\n{"loss": 1.5}\n', {"summary": {"psnr_db": {"mean": 30.5}}}
    )
    for name in ("samples/b-strip.png", "samples/a-side-by-side.webp", "samples/a-strip.png", "samples/notes.txt"):
        (run_folder / name).parent.mkdir(exist_ok=True)
        (run_folder / name).touch()
    run = read_run(run_folder, "dance")
    assert (run.name, run.config) == ("dance", {"recipe": "lab4", "seed": 3})
    assert run.column("loss") == [2.0, 1.5]
    assert run.score("summary", "psnr_db", "mean") == 30.5
    assert [path.name for path in run.pictures] == ["a-strip.png", "b-strip.png", "a-side-by-side.webp"]


def test_run_without_log_or_scores_is_empty(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "r"), "new")
    assert (run.log, run.scores, run.pictures, run.column("loss")) == ([], {}, [], [])
    assert math.isnan(run.score("summary", "psnr_db", "mean"))


def test_missing_values_and_values_that_are_no_numbers_are_nan(tmp_path: Path) -> None:
    scores = {"summary": {"psnr_db": {"mean": None, "best": True}, "ssim": 0.9}, "drift": None, "note": "12"}
    run = read_run(make_run(tmp_path / "r", '{"loss": 1}\n{"loss": NaN}\n{"loss": "2"}\n{}\n', scores), "r")
    missing = (("summary", "psnr_db", "mean"), ("summary", "psnr_db", "best"), ("drift", "difference_db"), ("note",))
    for keys in (*missing, ("summary", "ssim", "mean"), ("summary",)):
        assert math.isnan(run.score(*keys)), keys
    assert run.score("summary", "ssim") == 0.9
    assert run.column("loss")[0] == 1
    assert [math.isnan(value) for value in run.column("loss")] == [False, True, True, True]
    assert all(math.isnan(number(value)) for value in (None, True, "1", [1.0], {}))


def test_incomplete_log_ends_with_its_last_complete_line(tmp_path: Path) -> None:
    assert read_run(make_run(tmp_path / "r", '{"loss": 1}\n{"loss": 2}\n{"lo'), "r").column("loss") == [1.0, 2.0]


def test_other_folders_and_damaged_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run folder"):
        read_run(tmp_path, "r")
    run_folder = make_run(tmp_path / "r")
    (run_folder / "scores.json").write_text("{")
    with pytest.raises(InputError, match="scores of a run"):
        read_run(run_folder, "r")
