"""Division of the time of `demo` among training and scoring, on a clock that the work advances."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from posecast.cli import demo as module
from posecast.cli.demo import NUM_MEASURED_FRAMES, PUPPET_SECONDS, REPORT_SECONDS, demo
from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.dancer.dataset import Choreography
from posecast.data.recordings import Recording
from posecast.evaluation.evaluate import EvaluationOptions

MINUTES, NUM_FRAMES = 6.0, 630
CONFIG = build_config(flags={"minutes": MINUTES, "size": "16x16"})


class Course:
    """Demonstration whose steps take the given seconds of an artificial clock.

    Args:
        monkeypatch: Replaces the steps.
        frame_s: Seconds of scoring one frame of one rollout: for each measurement, the last one from then on.
        has_puppet: Whether a puppet can be exported.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *frame_s: float, has_puppet: bool = False) -> None:
        self.now, self.trained_s, self.futures, self.notes = 1000.0, 0.0, 0, list[str]()
        self.frame_s = list(frame_s)
        images = np.zeros((NUM_FRAMES, 16, 16, 3), np.uint8)
        recording = Recording("a", images, images)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(module, "draw_footage", lambda *_: SimpleNamespace(validation=[recording]))
        monkeypatch.setattr(module, "machine_profile", lambda: SimpleNamespace(shares=1))
        monkeypatch.setattr(module, "resolve_precision", lambda *_: "32-true")
        monkeypatch.setattr(module, "can_export_page", lambda: has_puppet)
        monkeypatch.setattr(module, "puppet_footage", lambda *_: None)
        for step in (self.evaluate, self.train, self.score_run, self.export_page):
            monkeypatch.setattr(module, step.__name__, step)
        monkeypatch.setattr(module, "write_report", lambda *_, **__: None)

    def evaluate(self, predictor: object, recordings: object, *, futures: int) -> None:
        frame_s = self.frame_s.pop(0) if len(self.frame_s) > 1 else self.frame_s[0]
        self.now += frame_s * NUM_MEASURED_FRAMES * (2 + futures)

    def train(self, config: Config, *_: object, **__: object) -> None:
        assert config.budget.minutes is not None
        self.trained_s = 60.0 * config.budget.minutes
        self.now += self.trained_s

    def score_run(self, run: Path, data: Path, options: EvaluationOptions, **_: object) -> Any:
        self.futures = options.futures
        self.now += REPORT_SECONDS + self.frame_s[-1] * NUM_FRAMES * (2 + options.futures)

    def export_page(self, run: Path, out: Path, *_: object, **__: object) -> None:
        out.write_text("puppet")
        self.now += PUPPET_SECONDS

    def complete(self, out: Path) -> float:
        """Return the seconds of the whole demonstration."""
        began = self.now
        demo(
            out,
            CONFIG,
            Choreography(),
            minutes=MINUTES,
            notify=self.notes.append,
            callback=lambda event: None,
            counting=uncounted,
        )
        return self.now - began


@contextmanager
def uncounted(label: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


def test_scoring_takes_its_time_and_training_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(monkeypatch, 0.002)
    assert course.complete(tmp_path / "demo") == pytest.approx(60.0 * MINUTES, rel=0.02)
    assert course.futures == 10
    assert course.trained_s > 0.9 * 60.0 * MINUTES


def test_the_puppet_is_exported_within_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(monkeypatch, 0.002, has_puppet=True)
    assert course.complete(tmp_path / "demo") == pytest.approx(60.0 * MINUTES, rel=0.02)
    assert (tmp_path / "demo" / "puppet.html").read_text() == "puppet"


def test_a_slow_machine_scores_fewer_futures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(monkeypatch, 0.02)
    assert course.complete(tmp_path / "demo") == pytest.approx(60.0 * MINUTES, rel=0.06)
    assert 1 <= course.futures < 10
    assert "this machine is slow" in course.notes[-1]


def test_a_busy_machine_still_trains_for_half_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure one frame 100 times as slow as it is scored later."""
    course = Course(monkeypatch, 0.2, 0.2, 0.002)
    assert course.complete(tmp_path / "demo") < 1.05 * 60.0 * MINUTES
    assert course.trained_s > 0.4 * 60.0 * MINUTES
    assert course.futures == 10  # the machine is free when scoring starts
    assert not any("0.0 of 6 minutes" in note for note in course.notes)


def test_one_slow_measurement_costs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(monkeypatch, 0.2, 0.002)
    assert course.complete(tmp_path / "demo") == pytest.approx(60.0 * MINUTES, rel=0.05)
    assert course.trained_s > 0.8 * 60.0 * MINUTES


def test_training_gets_half_even_if_scoring_is_slow_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(monkeypatch, 0.2)
    course.complete(tmp_path / "demo")
    assert course.trained_s > 0.4 * 60.0 * MINUTES
    assert course.futures == 1
