"""What a callback of training writes and says."""

import dataclasses
import threading
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from posecast.cli.main import main
from posecast.cli.progress_bars import Callbacks, Pace, TensorBoardWriter, TrainingDisplay, counting
from posecast.config.schema import Budget, Config
from posecast.data.recordings import Footage
from posecast.files import read_json_lines
from posecast.training.state import TrainEvent
from posecast.training.train import train

from ..conftest import moving_square


def test_tensorboard_gets_the_numbers_of_the_log(tiny: Config, tmp_path: Path) -> None:
    writer = TensorBoardWriter(str(tmp_path / "run/tensorboard"))
    train(tiny, squares(), tmp_path / "run", callback=writer)
    scalars = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    log = read_json_lines(tmp_path / "run/log.jsonl")
    for name in ("loss", "rate", "distortion", "validation_psnr_db"):
        written = {event.step: event.value for event in scalars.Scalars(name)}
        assert written == pytest.approx({entry["step"]: entry[name] for entry in log}, rel=1e-5)


def test_a_missing_extra_is_one_friendly_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "data")
    assert main(["synth", data, "--sequences", "1", "--frames", "20", "--size", "16x16"]) == 0
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["train", "--data", data, "--out", str(tmp_path / "run"), "--size", "16x16", "--tensorboard"]) == 2
    assert "pip install 'posecast[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_validated_epochs_are_told_and_the_bar_is_taken_away(
    tiny: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, validate_every=2))
    display = TrainingDisplay()
    train(config, squares(), tmp_path / "run", callback=Callbacks((display,)))
    display.close()
    said = capsys.readouterr().err
    validated = [e for e in read_json_lines(tmp_path / "run/log.jsonl") if e["validation_psnr_db"] is not None]
    for entry in validated:
        assert f"val {entry['validation_psnr_db']:.2f} dB" in said
    assert said.count(" dB (best") == len(validated)


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_a_line_comes_again_and_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also while nothing is told, as when one step takes minutes."""
    monkeypatch.setattr("posecast.cli.progress_bars.LINE_SECONDS", 0.01)
    with counting("reading") as progress:
        progress(120, 630)
        wait_for_lines(capsys, 2, "reading: 120 of 630")
        progress(630, 630)
    before = threading.active_count()
    lines_of(capsys)
    time.sleep(0.05)
    assert not lines_of(capsys)  # nothing is said once it is over
    assert threading.active_count() == before


def wait_for_lines(capsys: pytest.CaptureFixture[str], count: int, beginning: str) -> None:
    found: list[str] = []
    while len(found) < count:
        time.sleep(0.005)
        found += [line for line in lines_of(capsys) if line.startswith(beginning)]


def test_a_training_shows_a_sign_of_life_where_there_is_no_terminal(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("posecast.cli.progress_bars.LINE_SECONDS", 0.005)

    def slowly(status: object) -> None:
        time.sleep(0.02)

    display = TrainingDisplay()
    train(tiny, squares(), tmp_path / "run", callback=Callbacks((display, slowly)))
    display.close()
    said = lines_of(capsys)
    assert any(line.startswith("training: update: ") and "frames/s" in line for line in said), said
    assert any(line.startswith("epoch ") for line in said)


def test_quiet_says_nothing(tiny: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    assert main(["synth", data, "--sequences", "1", "--frames", "20", "--size", "16x16", "--quiet"]) == 0
    words = ["train", "--data", data, "--out", run, "--size", "16x16", "--widths", "8", "--steps", "2"]
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*words, "--quiet"]) == 2  # errors are said all the same
    assert "already holds something" in capsys.readouterr().err
    assert main([*words, "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(words) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main([*words, "--quiet", "--verbose"]) == 2


def test_the_time_left_is_at_the_speed_of_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("posecast.cli.progress_bars.time.monotonic", lambda: now[0])
    pace = Pace()
    assert pace.sentence("packing") == "packing: beginning"
    for second in range(101):
        now[0] = float(second)
        pace.note(2 * second, 1000)
    assert pace.sentence("packing") == "packing: 200 of 1,000, 6 min 40 s left"
    for second in range(101, 221):  # four times slower since
        now[0] = float(second)
        pace.note(200 + (second - 100) // 2, 1000)
    assert pace.sentence("packing") == "packing: 260 of 1,000, 24 min 40 s left"
    pace.note(1, 10)  # other work has begun
    assert pace.sentence("writing").startswith("writing: 1 of 10")


def test_the_time_left_of_a_budget_of_minutes_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans come and go, and none of them ends later."""
    now = [0.0]
    monkeypatch.setattr("posecast.cli.progress_bars.time.monotonic", lambda: now[0])
    pace = Pace()
    pace.ends_at = 360.0
    now[0] = 15.0
    pace.note(10, 4000)
    assert pace.sentence("training: update") == "training: update: 10 of 4,000, 5 min 45 s left"
    now[0] = 361.0
    assert pace.sentence("training: update").endswith("0 s left")


@pytest.mark.parametrize("minutes", [0.05, None])
def test_a_callback_hears_when_a_budget_of_minutes_ends(tiny: Config, tmp_path: Path, minutes: float | None) -> None:
    budget = Budget(minutes=minutes, steps=None if minutes else 4)
    events: list[TrainEvent] = []
    began = time.monotonic()
    train(dataclasses.replace(tiny, budget=budget), squares(), tmp_path / "run", callback=events.append)
    ends = {event.ends_at for event in events}
    if minutes is None:
        assert ends == {None}
    else:
        assert len(ends) == 1
        assert 60 * minutes <= ends.pop() - began < 60 * minutes + 1  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]


def squares() -> Footage:
    return Footage([moving_square(40)], [moving_square(12)])
