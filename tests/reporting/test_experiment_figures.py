"""Tests of the figures and their CSV: mean over seeds with interval; only the plot is smoothed."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posecast.evaluation.results import Run
from posecast.experiments.statistics import Outcome
from posecast.reporting.experiment_figures import SMOOTHED_FRAMES, Drawing, drawings_of, drawn, write_curves

from ..experiments.test_statistics import make_run, outcome

COLOURS = {"one": "#3b82c4", "two": "#d9822b"}
CONSTANT: dict[str, Any] = {"kl_weight": [0.5, 0.5], "teacher_forcing_rate": [0.0, 0.0]}


def named(results: list[Outcome]) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in drawings_of(results)}


def panels(drawing: Drawing) -> list[str]:
    return list(dict.fromkeys(line.panel.split(" (")[0].split(",")[0] for line in drawing.lines))


def rows(drawing: Drawing, path: Path) -> list[dict[str, str]]:
    write_curves(path, drawing)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def long_run(psnr_db: list[float], **columns: Any) -> Run:
    run = make_run(**columns)
    run.scores["sequences"] = [{"psnr_db": {"mean": psnr_db}}]
    return run


def test_the_csv_has_means_and_intervals(tmp_path: Path) -> None:
    first = make_run(distortion=[1.0, 2.0], validation_distortion=[None, 5.0], loss=[1.0, 2.0], **CONSTANT)
    second = make_run(distortion=[3.0, 6.0], validation_distortion=[None, 5.0], loss=[4.0, 2.0], **CONSTANT)
    drawings = named([outcome("one", first, second)])
    distortion = [row for row in rows(drawings["bound"], tmp_path / "c.csv") if row["panel"].startswith("Distortion")]
    # Two seeds have one degree of freedom, t = 12.706; the deviation of a and b over the root of 2 is |a - b| / 2.
    expected = [("training", "1", 2.0, 12.706), ("training", "2", 4.0, 2 * 12.706), ("validation", "2", 5.0, 0.0)]
    finite = [row for row in distortion if row["mean"]]
    assert [(row["of"], row["epoch"]) for row in finite] == [entry[:2] for entry in expected]
    for row, (_, _, mean, half) in zip(finite, expected, strict=True):
        values = [float(row[key]) for key in ("mean", "low_95", "high_95")]
        assert values == pytest.approx([mean, mean - half, mean + half])
    [empty] = [row for row in distortion if not row["mean"]]  # an epoch without validation has no number
    assert (empty["of"], empty["epoch"], empty["low_95"], empty["high_95"]) == ("validation", "1", "", "")


def test_on_a_logarithmic_axis_mean_and_interval_are_those_of_the_logarithm(tmp_path: Path) -> None:
    runs = [make_run(loss=[1.0, 2.0], **CONSTANT), make_run(loss=[4.0, 2.0], **CONSTANT)]
    first, second = rows(named([outcome("one", *runs)])["losses"], tmp_path / "c.csv")
    values = [float(first[key]) for key in ("mean", "low_95", "high_95")]
    half = 12.706 * math.log(4) / 2
    assert values == pytest.approx([2.0, 2.0 * math.exp(-half), 2.0 * math.exp(half)])
    assert values[1] > 0  # the arithmetic interval of 1 and 4 reaches far below 0
    assert [float(second[key]) for key in ("mean", "low_95", "high_95")] == pytest.approx([2.0, 2.0, 2.0])


def test_one_seed_has_no_interval_in_the_csv_and_no_band(tmp_path: Path) -> None:
    drawing = named([outcome("one", make_run(loss=[1.0, 2.0, 3.0], **CONSTANT))])["losses"]
    points = rows(drawing, tmp_path / "c.csv")
    assert [float(row["mean"]) for row in points] == pytest.approx([1.0, 2.0, 3.0])
    assert {(row["low_95"], row["high_95"]) for row in points} == {("", "")}
    [axes] = drawn(drawing, COLOURS).axes
    assert not any(np.size(path.vertices) for band in axes.collections for path in band.get_paths())


def test_only_the_plot_is_smoothed(tmp_path: Path) -> None:
    wobbling = [20.0 + (-1) ** k for k in range(60)]
    drawing = named([outcome("one", long_run(wobbling, loss=[1.0]), long_run(wobbling, loss=[1.0]))])["frames"]
    points = rows(drawing, tmp_path / "c.csv")
    assert [float(row["mean"]) for row in points] == wobbling
    assert [int(row["frame"]) for row in points] == list(range(2, 62))  # the first frame is given
    [axes] = drawn(drawing, COLOURS).axes
    x, y = (np.asarray(values) for values in axes.lines[-1].get_data())
    assert np.ptp(y) < 0.2 < np.ptp(wobbling)
    assert len(x) == 60 - SMOOTHED_FRAMES + 1
    assert x[0] == pytest.approx(2 + (SMOOTHED_FRAMES - 1) / 2)  # a mean is plotted at the middle of its frames
    assert y[0] == pytest.approx(np.mean(wobbling[:SMOOTHED_FRAMES]))


def test_a_short_rollout_is_not_smoothed() -> None:
    short = [20.0, 25.0, 20.0]
    [axes] = drawn(named([outcome("one", long_run(short, loss=[1.0]))])["frames"], COLOURS).axes
    assert np.asarray(axes.lines[-1].get_ydata()).tolist() == short


@pytest.mark.parametrize(
    ("forcing", "weight", "above_losses", "above_bound"),
    [
        ([0.0, 0.0], [0.5, 0.5], [], []),
        ([0.0, 0.0], [0.0, 0.5], ["KL weight"], ["KL weight"]),
        ([0.5, 0.0], [0.5, 0.5], ["Teacher-forcing rate"], []),
        ([0.5, 0.0], [0.0, 0.5], ["Teacher-forcing rate", "KL weight"], []),
    ],
)
def test_a_schedule_has_a_panel_only_where_it_varies(
    forcing: list, weight: list, above_losses: list[str], above_bound: list[str]
) -> None:
    log: dict[str, Any] = {"loss": [2.0, 1.0], "rate": [1.0, 2.0], "distortion": [5.0, 4.0]}
    run = make_run(teacher_forcing_rate=forcing, kl_weight=weight, validation_psnr_db=[20.0, 21.0], **log)
    drawings = named([outcome("one", run)])
    assert panels(drawings["losses"]) == [*above_losses, "Loss"]
    parts = ["Rate", "Distortion", "Total loss", "Validation PSNR of the prior's mean"]
    assert panels(drawings["bound"]) == [*above_bound, *parts]
    assert len(drawn(drawings["bound"], COLOURS).axes) == len(above_bound) + 4


def test_a_schedule_varies_too_where_settings_differ_in_a_constant() -> None:
    low, high = (outcome(name, make_run(loss=[1.0], kl_weight=[w])) for name, w in (("one", 0.0), ("two", 1.0)))
    assert panels(named([low])["losses"]) == ["Loss"]
    assert panels(named([low, high])["losses"]) == ["KL weight", "Loss"]


def test_settings_keep_their_colours_and_validation_is_dashed() -> None:
    run = make_run(loss=[3.0, 1.0], validation_loss=[4.0, 2.0], **CONSTANT)
    figure = drawn(named([outcome("one", run), outcome("two", run)])["losses"], COLOURS)
    lines = [(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines]
    assert lines == [(colour, style) for colour in COLOURS.values() for style in ("-", "--")]
    assert [name.get_text() for name in figure.legends[0].get_texts()] == ["one", "two"]


def test_where_only_validation_is_logged_its_line_is_solid() -> None:
    runs = [make_run(loss=[2.0, 1.0], validation_psnr_db=[20.0, 21.0], **CONSTANT) for _ in range(2)]
    figure = drawn(named([outcome("one", runs[0]), outcome("two", runs[1])])["bound"], COLOURS)
    assert [line.get_linestyle() for line in figure.axes[-1].lines] == ["-", "-"]


def test_a_loss_that_is_not_positive_has_a_linear_axis() -> None:
    scales = []
    for last in (1.0, 0.0, -1.0):
        figure = drawn(named([outcome("one", make_run(loss=[3.0, last], **CONSTANT))])["losses"], COLOURS)
        scales.append(figure.axes[0].get_yscale())
    assert scales == ["log", "linear", "linear"]


def test_sequences_and_logs_of_different_length(tmp_path: Path) -> None:
    long, short = long_run([20.0, 21.0, 22.0], loss=[1.0, 2.0]), long_run([10.0], loss=[3.0])
    long.scores["sequences"].append({"psnr_db": {"mean": [22.0, 23.0]}})
    drawings = named([outcome("one", long, short)])
    # For each frame: a mean over the sequences, then over the seeds that reach it; one seed has no interval.
    frames = rows(drawings["frames"], tmp_path / "f.csv")
    assert [float(row["mean"]) for row in frames] == [(21.0 + 10.0) / 2, 22.0, 22.0]
    assert [bool(row["low_95"]) for row in frames] == [True, False, False]
    assert [float(row["mean"]) for row in rows(drawings["losses"], tmp_path / "l.csv")] == pytest.approx([3**0.5, 2.0])
    for drawing in drawings.values():
        assert drawn(drawing, COLOURS).axes


def test_baselines_are_levels_and_a_missing_one_is_left_out() -> None:
    run = long_run([20.0] * 4, loss=[1.0])
    run.scores["baselines"] = {"nearest_pose": 25.0, "mean_frame": None, "copy_first_frame": 15.0}
    frames = named([outcome("one", run)])["frames"]
    assert frames.levels[0] == 25.0
    assert math.isnan(frames.levels[1])
    [axes] = drawn(frames, COLOURS).axes
    levels = [(float(np.asarray(line.get_ydata())[0]), line.get_linestyle()) for line in axes.lines[:-1]]
    assert levels == [(25.0, "--"), (15.0, ":")]  # each keeps the line style that the title names


def test_a_setting_without_runs_has_no_line() -> None:
    empty = outcome("two")
    drawings = named([outcome("one", make_run(loss=[1.0], **CONSTANT)), empty])
    assert {line.setting for drawing in drawings.values() for line in drawing.lines} == {"one"}
    assert [len(drawing.lines) for drawing in drawings_of([empty])] == [0, 0, 0]


def test_the_csv_has_numbers_at_full_precision(tmp_path: Path) -> None:
    values = [1 / 3, 1e-12]
    points = rows(named([outcome("one", make_run(distortion=values, **CONSTANT))])["bound"], tmp_path / "c.csv")
    assert [float(row["mean"]) for row in points if row["panel"].startswith("Distortion")] == values
