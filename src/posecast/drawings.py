"""The figures of an experiment: which curves belong together, drawn and as CSV.

In: outcomes. Out: `Drawing`s, each a matplotlib figure and a table of its points. Knows no page and no files' places.
Next: `comparison.py`, which writes them and the page around them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from posecast.comparing import Outcome, estimate, mean_of
from posecast.files import replacing
from posecast.plots import Curve, LineStyle, Panel, draw
from posecast.report import BASELINES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOOTHED_FRAMES = 15
"""PSNR along the frames is drawn as a moving mean; the CSV has every frame."""


@dataclass(frozen=True)
class Line:
    """One drawn curve: a setting's mean over seeds and its interval, in some panel."""

    panel: str
    setting: str
    validation: bool
    x: np.ndarray
    mean: np.ndarray
    half_width: np.ndarray


@dataclass(frozen=True)
class Drawing:
    """A figure to be: its lines by panel, and what it shows in a sentence."""

    name: str
    title: str
    x_label: str
    lines: Sequence[Line]
    logarithmic: Sequence[str] = ()
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
            f"{title}; mean over seeds, band: 95 % interval",
            "epoch",
            [line for panel in panels for line in epoch_lines(found, *panel)],
            [title for title, key in panels if key in ("loss", "rate")],
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
    for one in found:
        for validation in (False, True):
            rows = one.curves(f"validation_{key}" if validation else key)
            if np.isfinite(rows).any():
                yield line_of(title, one.name, rows, np.arange(1.0, rows.shape[1] + 1), validation)


def frame_lines(found: Sequence[Outcome]) -> Iterator[Line]:
    for one in found:
        rows = one.frames_db()
        if rows.size:
            yield line_of("PSNR of the prior's mean, dB", one.name, rows, np.arange(2.0, rows.shape[1] + 2), False)


def line_of(panel: str, setting: str, rows: np.ndarray, x: np.ndarray, validation: bool) -> Line:
    half = np.array([estimate(column).half_width for column in rows.T])
    return Line(panel, setting, validation, x, mean_of(rows), half)


def drawn(drawing: Drawing, colours: dict[str, str]) -> Figure:
    """The figure of a drawing, one panel for each name in it."""
    names = list(dict.fromkeys(line.panel for line in drawing.lines))
    panels = []
    for name in names:
        lines = [line for line in drawing.lines if line.panel == name]
        both = len({line.validation for line in lines}) > 1
        curves = [curve_of(line, colours[line.setting], drawing.smoothed, both) for line in lines]
        panels.append(Panel(name, curves, drawing.levels, name in drawing.logarithmic and positive(lines)))
    shown_settings = {line.setting for line in drawing.lines}
    legend: dict[str, tuple[str, LineStyle]] = {
        name: (colour, "-") for name, colour in colours.items() if name in shown_settings
    }
    return draw(panels, drawing.x_label, size=(7.0, 0.6 + 1.9 * max(len(panels), 1.4)), legend=legend)


def curve_of(line: Line, colour: str, smoothed: bool, both: bool) -> Curve:
    mean, half = line.mean, line.half_width
    x = line.x
    if smoothed and len(x) > 2 * SMOOTHED_FRAMES:
        mean, half, x = moving_mean(mean), moving_mean(half), moving_mean(x)
    half = np.where(np.isfinite(half), half, np.nan)
    style: LineStyle = "--" if line.validation and both else "-"
    return Curve(x.tolist(), mean.tolist(), colour, style, (mean - half).tolist(), (mean + half).tolist())


def moving_mean(values: np.ndarray) -> np.ndarray:
    return np.convolve(values, np.full(SMOOTHED_FRAMES, 1 / SMOOTHED_FRAMES), mode="valid")


def positive(lines: Sequence[Line]) -> bool:
    return all(value > 0 for line in lines for value in line.mean if math.isfinite(value))


def write_curves(path: Path, drawing: Drawing) -> None:
    """Every drawn curve, point by point; nothing smoothed."""
    heads = ("panel", "setting", "of", drawing.x_label, "mean", "half_width_95")
    rows = [
        (line.panel, line.setting, "validation" if line.validation else "training", f"{x:g}", cell(mean), cell(half))
        if drawing.x_label == "epoch"
        else (line.panel, line.setting, "rollout", f"{x:g}", cell(mean), cell(half))
        for line in drawing.lines
        for x, mean, half in zip(line.x, line.mean, line.half_width, strict=True)
    ]
    write_rows(path, heads, rows)


def cell(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""


def write_rows(path: Path, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)
