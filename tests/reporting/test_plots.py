"""Tests of the plots: they show the given values, in complete files that are the same twice."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from posecast.reporting.plots import COLOURS, INK, STYLE, Curve, Panel, as_svg, draw, save

NAN, INFINITE = math.nan, math.inf
FIVE = [1.0, 2.0, 3.0, 4.0, 5.0]


def drawn(*panels: Panel, **more: dict) -> Figure:
    return draw(panels, "epoch", size=(4.0, 3.0), **more)  # pyright: ignore[reportArgumentType]


def only_axes(*curves: Curve, **more: object) -> Axes:
    [axes] = drawn(Panel("one", curves, **more)).axes  # pyright: ignore[reportArgumentType]
    return axes


def points(axes: Axes, line: int = 0) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in axes.lines[line].get_xydata()]  # pyright: ignore


def two_panels() -> Figure:
    curve = Curve(FIVE, [3.0, 1.0, 4.0, 1.0, 5.0], COLOURS[0], "-", [2.0] * 5, [6.0] * 5)
    legend = {"one $x_i$": (COLOURS[0], "-"), "two": (COLOURS[1], "--")}
    return drawn(Panel("above $y^2$", [curve]), Panel("below", [curve], logarithmic=True), legend=legend)


def test_files_are_complete_and_the_same_twice(tmp_path: Path) -> None:
    for ending in ("svg", "png"):
        for name in ("a", "b"):
            save(two_panels(), tmp_path / "new" / f"{name}.{ending}")
        first, second = (tmp_path / "new" / f"{name}.{ending}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    assert ElementTree.parse(tmp_path / "new" / "a.svg").getroot().tag.endswith("}svg")
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.size == (4 * 160, 3 * 160)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10  # something is drawn
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]


def test_names_are_not_parsed_as_mathematics() -> None:
    svg = as_svg(two_panels())
    texts = {
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")
    }
    assert {"one $x_i$", "two", "above $y^2$", "below", "epoch"} <= texts
    assert INK in svg  # replaced by the text colour of the page


def test_drawing_leaves_the_style_of_matplotlib_unchanged() -> None:
    with mpl.rc_context():
        mpl.rcdefaults()
        before = {name: mpl.rcParams[name] for name in STYLE}
        as_svg(two_panels())
        assert {name: mpl.rcParams[name] for name in STYLE} == before


def test_panels_share_their_axis_and_its_name() -> None:
    above, below = two_panels().axes
    assert above.get_xlim() == below.get_xlim()
    assert (above.get_xlabel(), below.get_xlabel()) == ("", "epoch")
    assert (above.get_yscale(), below.get_yscale()) == ("linear", "log")


@pytest.mark.parametrize("bad", [NAN, INFINITE, -INFINITE])
def test_values_that_are_not_finite_are_left_out(bad: float) -> None:
    assert points(only_axes(Curve(FIVE, [1.0, bad, 3.0, 4.0, bad], COLOURS[0]))) == [(1, 1), (3, 3), (4, 4)]
    assert points(only_axes(Curve(FIVE, [bad] * 5, COLOURS[0]))) == []


def test_a_single_point_is_visible() -> None:
    assert only_axes(Curve([1.0], [2.0], COLOURS[0])).lines[0].get_marker() == "o"
    many = [float(k) for k in range(50)]
    assert only_axes(Curve(many, many, COLOURS[0])).lines[0].get_marker() == "None"


def test_long_curves_are_thinned_and_keep_both_ends() -> None:
    for length in (999, 1000, 1001, 2000, 2001, 12_345):
        x = [float(k) for k in range(length)]
        kept = points(only_axes(Curve(x, x, COLOURS[0])))
        assert kept[0] == (0, 0)
        assert kept[-1] == (length - 1, length - 1)
        assert len(kept) == length if length <= 1000 else 500 < len(kept) <= 1001


def test_a_band_is_drawn_where_both_edges_are_known_and_flattens_no_line() -> None:
    y = [1.0, 2.0, 1.0, 2.0, 1.0]
    low, high = [NAN, 1.0, -900.0, -INFINITE, 0.0], [2.0, 3.0, 900.0, INFINITE, NAN]
    plain, banded = only_axes(Curve(FIVE, y, COLOURS[0])), only_axes(Curve(FIVE, y, COLOURS[0], "-", low, high))
    assert plain.get_ylim() == banded.get_ylim()
    [band] = banded.collections
    corners = np.concatenate([path.vertices for path in band.get_paths()])
    assert set(corners[:, 0]) == {2.0, 3.0}
    assert set(corners[:, 1]) == {1.0, 3.0, -900.0, 900.0}


def test_levels_are_three_styles_and_an_unknown_one_is_left_out() -> None:
    curve = Curve(FIVE, FIVE, COLOURS[0])
    axes = only_axes(curve, levels=(2.5, NAN, 3.5))
    levels = {float(line.get_ydata()[0]): line.get_linestyle() for line in axes.lines[:-1]}  # pyright: ignore
    assert levels == {2.5: "--", 3.5: ":"}
    assert len(only_axes(curve).lines) == 1


@pytest.mark.parametrize(
    "y", [[2.0] * 5, [0.01, 0.02, 0.011, 0.012, 0.013], [3.1, 4.6, 3.2, 3.3, 3.4], [1e-6, 1, 1e3, 1, 1]]
)
def test_a_logarithmic_axis_has_plain_numbers(y: list[float]) -> None:
    axes = only_axes(Curve(FIVE, y, COLOURS[0]), logarithmic=True)
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert len(ticks) > 1 or len(set(y)) == 1
    labels = [axes.yaxis.get_major_formatter()(tick) for tick in ticks]
    assert [float(label.replace("\N{MINUS SIGN}", "-")) for label in labels] == pytest.approx(ticks, rel=1e-5)
