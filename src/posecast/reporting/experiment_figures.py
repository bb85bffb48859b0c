"""Figures of an experiment: curves grouped into figures, as plots and as CSV.

In: outcomes of settings. Out: `Drawing`s, each of which becomes a matplotlib figure and a table of its points.
Next: `experiment_report.py`, which writes them and the page around them.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from posecast.errors import printable
from posecast.experiments.statistics import Outcome, estimate
from posecast.files import replacing
from posecast.reporting.plots import Curve, LineStyle, Panel, draw
from posecast.reporting.run_report import DRAWN_BASELINES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOOTHED_FRAMES = 15
"""Length of the moving mean that the plot of PSNR along the frames shows; the CSV has every frame."""
SCHEDULES = (("Teacher-forcing rate", "teacher_forcing_rate"), ("KL weight", "kl_weight"))
BOUND = (
    ("Rate, nats per frame (solid: training, dashed: validation)", "rate"),
    ("Distortion, nats per frame", "distortion"),
    ("Total loss", "loss"),
    ("Validation PSNR of the prior's mean, dB", "psnr_db"),
)
LOGARITHMIC = ("loss", "rate")
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Signs with which spreadsheets begin a formula, also in their full width."""
TEXT = "'"
"""Sign before text that spreadsheets would take for a formula."""
NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?(e[-+]?[0-9]+)?")
"""Numbers as they are written into cells."""


@dataclass(frozen=True)
class Line:
    """Curve of a setting in a panel: mean over seeds and 95 % interval, each of shape `[points]`.

    On a logarithmic axis both are computed of the logarithm: a geometric mean, and an interval above 0.
    """

    panel: str
    setting: str
    validation: bool
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    logarithmic: bool


@dataclass(frozen=True)
class Drawing:
    """Content of a figure: its lines by panel, and a title."""

    name: str
    title: str
    x_label: str
    lines: Sequence[Line]
    levels: Sequence[float] = ()
    smoothed: bool = False


def drawings_of(results: Sequence[Outcome]) -> list[Drawing]:
    """Return the figures: schedules with losses, schedules with the parts of the bound, PSNR along the frames.

    A schedule that is the same constant for all settings is left out. A drawing without any lines is returned, too.
    """
    schedules = [panel for panel in SCHEDULES if _varies(results, panel[1])]
    forcing_varies = any(key == "teacher_forcing_rate" for _, key in schedules)
    loss = ("Loss (solid: training, dashed: validation)", "loss")
    over_epochs = (
        ("losses", "Schedules above training and validation loss", [*schedules, loss]),
        (
            "bound",
            "The parts of the bound, and validation PSNR",
            [*(() if forcing_varies else schedules), *BOUND],
        ),
    )
    drawings = [
        Drawing(
            name,
            f"{title}; mean over seeds (geometric on logarithmic axes), band: 95 % interval",
            "epoch",
            [line for panel in panels for line in _epoch_lines(results, *panel)],
        )
        for name, title, panels in over_epochs
    ]
    runs = [run for outcome in results for run in outcome.runs.values()]
    levels = [estimate([run.score("baselines", key) for run in runs]).mean for key in DRAWN_BASELINES]
    title = (
        f"PSNR along the frames (moving mean over {SMOOTHED_FRAMES}); grey: nearest training pose (dashed), "
        "mean frame (dash-dotted), first frame (dotted)"
    )
    lines = list(_frame_lines(results))
    return [*drawings, Drawing("frames", title, "frame", lines, levels=levels, smoothed=True)]


def _varies(results: Sequence[Outcome], key: str) -> bool:
    """Return False for a schedule that is one constant for all settings."""
    values = np.concatenate([outcome.curves(key).ravel() for outcome in results])
    finite = values[np.isfinite(values)]
    return len(finite) > 0 and bool(np.ptp(finite) > 0)


def _epoch_lines(results: Sequence[Outcome], title: str, key: str) -> Iterator[Line]:
    """Yield a logged quantity of each setting, in training and, where it is logged, in validation."""
    rows = {
        (outcome.name, validation): outcome.curves(f"validation_{key}" if validation else key)
        for outcome in results
        for validation in (False, True)
    }
    rows = {curve: values for curve, values in rows.items() if np.isfinite(values).any()}
    logarithmic = key in LOGARITHMIC and all(bool((v[np.isfinite(v)] > 0).all()) for v in rows.values())
    for (setting, validation), values in rows.items():
        yield _line(title, setting, values, np.arange(1.0, values.shape[1] + 1), validation, logarithmic)


def _frame_lines(results: Sequence[Outcome]) -> Iterator[Line]:
    """Yield the PSNR of each predicted frame of each setting."""
    for outcome in results:
        rows = outcome.frames_db()
        if rows.size:
            x = np.arange(2.0, rows.shape[1] + 2)
            yield _line("PSNR of the prior's mean, dB", outcome.name, rows, x, False, False)


def _line(panel: str, setting: str, rows: np.ndarray, x: np.ndarray, validation: bool, logarithmic: bool) -> Line:
    """Return mean and 95 % interval of each column of `[seeds, points]`."""
    measured = np.log(rows) if logarithmic else rows
    estimates = [estimate(column) for column in measured.T]
    mean = np.array([value.mean for value in estimates])
    half = np.array([value.half_width if math.isfinite(value.half_width) else math.nan for value in estimates])
    curves = (mean, mean - half, mean + half)
    mean, low, high = (np.exp(curve) for curve in curves) if logarithmic else curves
    return Line(panel, setting, validation, x, mean, low, high, logarithmic)


def drawn(drawing: Drawing, colours: Mapping[str, str], *, legend: bool = True) -> Figure:
    """Plot a drawing, with one panel for each panel name of its lines.

    Args:
        drawing: At least one line.
        colours: Colour of each setting.
        legend: Draw a legend within the figure. A page has its own, which wraps on a phone.
    """
    panels = []
    for name in dict.fromkeys(line.panel for line in drawing.lines):
        lines = [line for line in drawing.lines if line.panel == name]
        both = len({line.validation for line in lines}) > 1
        curves = [_curve(line, colours[line.setting], drawing.smoothed, both) for line in lines]
        panels.append(Panel(name, curves, drawing.levels, any(line.logarithmic for line in lines)))
    drawn_settings = {line.setting for line in drawing.lines}
    styles: dict[str, tuple[str, LineStyle]] = {
        name: (colour, "-") for name, colour in colours.items() if name in drawn_settings
    }
    size = (7.0, 0.6 + 1.9 * max(len(panels), 1.4))
    return draw(panels, drawing.x_label, size=size, legend=styles if legend else None)


def _curve(line: Line, colour: str, smoothed: bool, both: bool) -> Curve:
    """Return a line as it is plotted; validation is dashed where its panel shows training, too."""
    arrays = (line.x, line.mean, line.low, line.high)
    if smoothed and len(line.x) > 2 * SMOOTHED_FRAMES:
        arrays = tuple(_moving_mean(values) for values in arrays)
    x, mean, low, high = (values.tolist() for values in arrays)
    style: LineStyle = "--" if line.validation and both else "-"
    return Curve(x, mean, colour, style, low, high)


def _moving_mean(values: np.ndarray) -> np.ndarray:
    return np.convolve(values, np.full(SMOOTHED_FRAMES, 1 / SMOOTHED_FRAMES), mode="valid")


def write_curves(path: Path, drawing: Drawing) -> None:
    """Write every point of every line of a drawing as CSV, without smoothing."""
    rows = []
    for line in drawing.lines:
        kind = "rollout" if drawing.smoothed else "validation" if line.validation else "training"
        for x, mean, low, high in zip(line.x, line.mean, line.low, line.high, strict=True):
            rows.append((line.panel, line.setting, kind, f"{x:g}", _cell(mean), _cell(low), _cell(high)))
    write_rows(path, ("panel", "setting", "of", drawing.x_label, "mean", "low_95", "high_95"), rows)


def _cell(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""


def write_rows(path: Path, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file atomically; text from files is written so that spreadsheets show it as text."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([_plain(value) for value in row] for row in (heads, *rows))


def _plain(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula, and that can be printed."""
    if isinstance(value, dict | list):
        value = str(value)
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    return f"{TEXT if value.lstrip().startswith(FORMULA) else ''}{printable(value)}"
