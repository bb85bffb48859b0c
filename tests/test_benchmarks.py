"""Tests of the benchmarks with tiny models: they print their tables and skip finished runs."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from posecast.cli.main import main
from posecast.files import read_json

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
GRID = """
question = "Does it run?"
recipe = "anchored"
[base]
size = "16x16"
widths = [8, 16]
blocks = 1
clip_length = 4
[settings.default]
[settings.wider]
widths = [16, 16]
"""


def run(name: str, *words: str | Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")


@pytest.mark.long
def test_quality_compares_variants_and_skips_finished_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out, grid = tmp_path / "data", tmp_path / "out", tmp_path / "grid.toml"
    grid.write_text(GRID)
    assert main(["synth", str(data), *"--sequences 2 --frames 100 --size 16x16".split()]) == 0
    words = ("--data", data, "--out", out, "--grid", grid, *"--steps 3 --futures 2 --folds 0,1".split())
    run("quality.py", *words)
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith(("| default |", "| wider |"))]
    assert len(rows) == 4  # two variants, held out and val
    assert all("±" in row for row in rows)  # two folds give intervals
    assert "default: " in printed
    assert "wider: " in printed
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    run("quality.py", *words)
    again = capsys.readouterr().out
    assert [line for line in again.splitlines() if line.startswith("| ")] == [
        line for line in printed.splitlines() if line.startswith("| ")
    ]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == written

    out_file = tmp_path / "gallery.gif"
    run("gallery.py", out / "default-fold0", "--data", data, "--out", out_file, "--frames", "20")
    with Image.open(out_file) as gallery:
        assert gallery.n_frames == 20  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.long
def test_speed_measures_every_arm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed ratio is that of the written medians; the shares of an update's time add up to about one."""
    run(
        "speed.py",
        "--out",
        tmp_path / "speed.json",
        *"--rounds 1 --seconds 0.05 --size 16x16 --frames 20 --device cpu".split(),
    )
    printed = capsys.readouterr().out
    measured = read_json(tmp_path / "speed.json", "the measurements")
    course, ours = (measured["arms"][name]["trained"][0] for name in ("the course's way", "default"))
    assert f"**{ours / course:.1f}x**" in printed
    for parts in measured["parts"].values():
        assert 0.8 < sum(parts.values()) < 1.2
    assert set(measured["peak_memory_mb"]) == {"the course's way", "lab4", "default"}
    assert measured["start"]["posecast --help"] > 0
    assert measured["flops_per_prediction"]["lab4"] > measured["flops_per_prediction"]["default"] > 0
