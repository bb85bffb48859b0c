"""Progress bars, plain lines, and callbacks of training."""

import threading
import time
from pathlib import Path

import pytest

from posecast.cli.main import main
from posecast.cli.progress_bars import Pace, counting
from posecast.config.schema import Config


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_lines_are_repeated_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wait for two lines after a single update."""
    monkeypatch.setattr("posecast.cli.progress_bars.LINE_SECONDS", 0.01)
    with counting("reading") as progress:
        progress(120, 630)
        wait_for_lines(capsys, 2, "reading: 120 of 630")
        progress(630, 630)
    before = threading.active_count()
    lines_of(capsys)
    time.sleep(0.05)
    assert not lines_of(capsys)
    assert threading.active_count() == before


def wait_for_lines(capsys: pytest.CaptureFixture[str], count: int, beginning: str) -> None:
    lines: list[str] = []
    while len(lines) < count:
        time.sleep(0.005)
        lines += [line for line in lines_of(capsys) if line.startswith(beginning)]


def test_quiet_prints_only_errors(tiny: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    assert main(["synth", data, "--sequences", "1", "--frames", "20", "--size", "16x16", "--quiet"]) == 0
    words = ["train", "--data", data, "--out", run, "--size", "16x16", "--widths", "8", "--steps", "2"]
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*words, "--quiet"]) == 2
    assert "already holds something" in capsys.readouterr().err
    assert main([*words, "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(words) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main([*words, "--quiet", "--verbose"]) == 2


def test_the_time_left_follows_the_speed_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("posecast.cli.progress_bars.time.monotonic", lambda: now[0])
    pace = Pace()
    assert pace.describe("packing") == "packing: starting"
    for second in range(101):
        now[0] = float(second)
        pace.update(2 * second, 1000)
    assert pace.describe("packing") == "packing: 200 of 1,000, 6 min 40 s left"
    for second in range(101, 221):  # four times slower since
        now[0] = float(second)
        pace.update(200 + (second - 100) // 2, 1000)
    assert pace.describe("packing") == "packing: 260 of 1,000, 24 min 40 s left"
    pace.update(1, 10)  # other work
    assert pace.describe("writing").startswith("writing: 1 of 10")


def test_the_time_left_of_a_budget_in_minutes_is_that_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("posecast.cli.progress_bars.time.monotonic", lambda: now[0])
    pace = Pace()
    pace.ends_at = 360.0
    now[0] = 15.0
    pace.update(10, 4000)
    assert pace.describe("training: update") == "training: update: 10 of 4,000, 5 min 45 s left"
    now[0] = 361.0
    assert pace.describe("training: update").endswith("0 s left")
