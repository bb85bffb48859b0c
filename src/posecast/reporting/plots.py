"""Plots of curves: one panel, or several over one axis, as SVG for a page or as files.

In: numbers. Out: a matplotlib figure, its SVG, or a file; the same bytes for the same input.
Next: `html.py`, which embeds figures in a page.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from posecast.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#3b82c4", "#d9822b", "#2f9e70", "#b55fb5", "#c9544d", "#8a7f2e", "#4aa3a8", "#7c7fd0")
"""Colours of medium lightness, legible on white and on black."""
LineStyle = Literal["-", "--"]
INK = "#010203"
"""Placeholder for the text colour of a page, so that one plot serves light and dark screens."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "posecast",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.2,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "grid.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Curve:
    """A line of a plot: `y` at `x`; points at which either is not finite are left out."""

    x: Sequence[float]
    y: Sequence[float]
    colour: str
    style: LineStyle = "-"
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    """Edges of a band around the line, drawn where both are finite; empty for no band."""


@dataclass(frozen=True)
class Panel:
    """A pair of axes; `levels` are no or three horizontal lines: dashed, dash-dotted, dotted."""

    title: str
    curves: Sequence[Curve]
    levels: Sequence[float] = ()
    logarithmic: bool = False


def draw(
    panels: Sequence[Panel],
    x_label: str,
    *,
    size: tuple[float, float],
    wide: bool = True,
    legend: Mapping[str, tuple[str, LineStyle]] | None = None,
) -> Figure:
    """Draw panels one above the other over a shared horizontal axis.

    Args:
        panels: From top to bottom; at least one.
        x_label: Label of the shared axis.
        size: Width and height of the figure in inches.
        wide: Draw thinner lines, for a figure as wide as a page.
        legend: Colour and line style of each name, shown above the panels; None for no legend.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(rows, panels, strict=True):
            _fill(axes, panel, wide)
        rows[-1].set_xlabel(x_label)
        if legend:
            lines = [Line2D([], [], color=colour, linestyle=style) for colour, style in legend.values()]
            entries = figure.legend(lines, list(legend), loc="outside upper left", ncols=4, frameon=False)
            for text in entries.get_texts():
                text.set_parse_math(False)
    return figure


def _fill(axes: Axes, panel: Panel, wide: bool) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    if panel.title:
        axes.set_title(panel.title, loc="left", fontsize=9, parse_math=False)
    for level, style in zip(panel.levels, ("--", "-.", ":"), strict=True) if panel.levels else ():
        if math.isfinite(level):
            axes.axhline(level, color=INK, alpha=0.6, linewidth=1.0, linestyle=style)
    for curve in panel.curves:
        points = _thinned([p for p in zip(curve.x, curve.y, strict=True) if math.isfinite(sum(p))])
        marker = "o" if len(points) <= 20 else None  # a line through a single point is invisible
        x, y = zip(*points, strict=True) if points else ((), ())
        axes.plot(x, y, curve.style, color=curve.colour, linewidth=0.9 if wide else 1.2, marker=marker, markersize=2.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    values = [value for curve in panel.curves for value in curve.y if math.isfinite(value)]
    if panel.logarithmic and values and max(values) > 1.001 * min(values):  # matplotlib cannot show less on this scale
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 200 * low else (1.0,)))
        axes.yaxis.set_minor_locator(NullLocator())
    if panel.logarithmic:
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.ticklabel_format(useOffset=False)
    limits = axes.get_ylim()  # limits of the lines alone: a much wider band would flatten them
    for curve in panel.curves:
        _shade(axes, curve)
    axes.set_ylim(limits)


def _shade(axes: Axes, curve: Curve) -> None:
    band = zip(curve.x, curve.low, curve.high, strict=True) if len(curve.low) else ()
    edges = _thinned([edge for edge in band if math.isfinite(sum(edge))])
    x, low, high = zip(*edges, strict=True) if edges else ((), (), ())
    axes.fill_between(x, low, high, color=curve.colour, alpha=0.15, linewidth=0)


def as_svg(figure: Figure) -> str:
    """Return the figure as SVG on a transparent background."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure on a white background, atomically, in the format of the path's suffix: .svg or .png."""
    from matplotlib import rc_context

    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with rc_context(STYLE), replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], facecolor="white", dpi=160, metadata=metadata)


def _thinned(points: list[tuple[float, ...]], max_points: int = 1000) -> list[tuple[float, ...]]:
    """Return every n-th point and the last: more points than pixels only make a page larger."""
    step = math.ceil(len(points) / max_points) or 1
    return points[::step] + ([points[-1]] if points and (len(points) - 1) % step else [])
