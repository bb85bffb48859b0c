"""The figures of an experiment: which curves belong together, drawn and as CSV.

In: outcomes. Out: `Drawing`s, each a matplotlib figure and a table of its points. Knows no page and no files' places.
Next: `experiment_report.py`, which writes them and the page around them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from posecast.experiments.statistics import Outcome, estimate
from posecast.files import replacing
from posecast.reporting.plots import Curve, LineStyle, Panel, draw
from posecast.reporting.run_report import BASELINES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOOTHED_FRAMES = 15
"""PSNR along the frames is drawn as a moving mean; the CSV has every frame."""


@dataclass(frozen=True)
class Line:
    """One drawn curve: a setting's mean over seeds and its interval, in some panel.

    On a logarithmic axis both are those of the logarithm: a geometric mean, and a band that stays above 0.
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
    """A figure to be: its lines by panel, and what it shows in a sentence."""

    name: str
    title: str
    x_label: str
    lines: Sequence[Line]
    levels: Sequence[float] = ()
    smoothed: bool = False


def drawings_of(found: Sequence[Outcome]) -> list[Drawing]:
    """The figures: schedules above losses, schedules above the bound's parts, PSNR along the frames."""
    schedules = [panel for panel in SCHEDULES if varies(found, panel[1])]
    forcing = [panel for panel in schedules if panel[1] == "teacher_forcing_rate"]
    loss = ("Loss (solid: training, dashed: validation)", "loss")
    over_epochs = (
        ("losses", "Schedules above training and validation loss", [*schedules, loss]),
        (
            "bound",
            "The parts of the bound, and validation PSNR",
            [*(schedules if not forcing else ()), *BOUND],
        ),
    )
    drawings = [
        Drawing(
            name,
            f"{title}; mean over seeds (geometric on logarithmic axes), band: 95 % interval",
            "epoch",
            [line for panel in panels for line in epoch_lines(found, *panel)],
        )
        for name, title, panels in over_epochs
    ]
    levels = [estimate([r.score("baselines", b) for o in found for r in o.runs.values()]).mean for b in BASELINES]
    title = (
        f"PSNR along the frames (drawn: moving mean of {SMOOTHED_FRAMES}); grey: nearest training pose dashed, "
        "mean frame dash-dotted, first frame dotted"
    )
    lines = list(frame_lines(found))
    return [*drawings, Drawing("frames", title, "frame", lines, levels=levels, smoothed=True)]


SCHEDULES = (("Teacher-forcing rate", "teacher_forcing_rate"), ("KL weight", "kl_weight"))
BOUND = (
    ("Rate, nats per frame (solid: training, dashed: validation)", "rate"),
    ("Distortion, nats per frame", "distortion"),
    ("Total loss", "loss"),
    ("Validation PSNR of the prior's mean, dB", "psnr_db"),
)


def varies(found: Sequence[Outcome], key: str) -> bool:
    """Whether a schedule is anything but one constant for all settings."""
    values = np.concatenate([one.curves(key).ravel() for one in found])
    known = values[np.isfinite(values)]
    return len(known) > 0 and bool(np.ptp(known) > 0)


def epoch_lines(found: Sequence[Outcome], title: str, key: str) -> Iterator[Line]:
    """A logged quantity of each setting, in training and, where it is logged, in validation."""
    rows = {
        (one.name, validation): one.curves(f"validation_{key}" if validation else key)
        for one in found
        for validation in (False, True)
    }
    rows = {whose: values for whose, values in rows.items() if np.isfinite(values).any()}
    logarithmic = key in LOGARITHMIC and all(bool((v[np.isfinite(v)] > 0).all()) for v in rows.values())
    for (setting, validation), values in rows.items():
        yield line_of(title, setting, values, np.arange(1.0, values.shape[1] + 1), validation, logarithmic)


LOGARITHMIC = ("loss", "rate")


def frame_lines(found: Sequence[Outcome]) -> Iterator[Line]:
    for one in found:
        rows = one.frames_db()
        if rows.size:
            x = np.arange(2.0, rows.shape[1] + 2)
            yield line_of("PSNR of the prior's mean, dB", one.name, rows, x, False, False)


def line_of(panel: str, setting: str, rows: np.ndarray, x: np.ndarray, validation: bool, logarithmic: bool) -> Line:
    """Mean and 95 % interval of each column of `[seeds, points]`."""
    measured = np.log(rows) if logarithmic else rows
    estimates = [estimate(column) for column in measured.T]
    mean = np.array([one.mean for one in estimates])
    half = np.array([one.half_width if math.isfinite(one.half_width) else math.nan for one in estimates])
    curves = (mean, mean - half, mean + half)
    mean, low, high = (np.exp(curve) for curve in curves) if logarithmic else curves
    return Line(panel, setting, validation, x, mean, low, high, logarithmic)


def drawn(drawing: Drawing, colours: dict[str, str], *, legend: bool = True) -> Figure:
    """The figure of a drawing, one panel for each name in it; a page has its own legend, which wraps on a phone."""
    names = list(dict.fromkeys(line.panel for line in drawing.lines))
    panels = []
    for name in names:
        lines = [line for line in drawing.lines if line.panel == name]
        both = len({line.validation for line in lines}) > 1
        curves = [curve_of(line, colours[line.setting], drawing.smoothed, both) for line in lines]
        panels.append(Panel(name, curves, drawing.levels, any(line.logarithmic for line in lines)))
    shown_settings = {line.setting for line in drawing.lines}
    names_shown: dict[str, tuple[str, LineStyle]] = {
        name: (colour, "-") for name, colour in colours.items() if name in shown_settings
    }
    return draw(
        panels, drawing.x_label, size=(7.0, 0.6 + 1.9 * max(len(panels), 1.4)), legend=names_shown if legend else None
    )


def curve_of(line: Line, colour: str, smoothed: bool, both: bool) -> Curve:
    parts = (line.x, line.mean, line.low, line.high)
    if smoothed and len(line.x) > 2 * SMOOTHED_FRAMES:
        parts = tuple(moving_mean(part) for part in parts)
    x, mean, low, high = (part.tolist() for part in parts)
    style: LineStyle = "--" if line.validation and both else "-"
    return Curve(x, mean, colour, style, low, high)


def moving_mean(values: np.ndarray) -> np.ndarray:
    return np.convolve(values, np.full(SMOOTHED_FRAMES, 1 / SMOOTHED_FRAMES), mode="valid")


def write_curves(path: Path, drawing: Drawing) -> None:
    """Every drawn curve, point by point; nothing smoothed."""
    rows = []
    for line in drawing.lines:
        kind = "rollout" if drawing.smoothed else "validation" if line.validation else "training"
        for x, mean, low, high in zip(line.x, line.mean, line.low, line.high, strict=True):
            rows.append((line.panel, line.setting, kind, f"{x:g}", cell(mean), cell(low), cell(high)))
    write_rows(path, ("panel", "setting", "of", drawing.x_label, "mean", "low_95", "high_95"), rows)


def cell(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""


def write_rows(path: Path, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)
