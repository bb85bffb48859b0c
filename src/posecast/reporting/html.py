"""Rendering of the page templates, and the figures and images that a page embeds.

In: a template of `templates/` and plain values, which are escaped. Out: one HTML document that loads nothing
else, the same bytes for the same input. Next: `run_report.py` and `experiment_report.py`, which collect the values.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from posecast.files import read_bytes
from posecast.reporting.plots import INK, Curve, Panel, as_svg, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_IMAGE_BYTES = 2**26
"""Largest image that a page embeds; a side-by-side video has a few megabytes."""
UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, signs that change the direction of writing, and bytes that are no text."""


@dataclass(frozen=True)
class InlineFigure:
    """A figure as the content of an SVG element: markup that templates insert unescaped."""

    title: str
    view_box: str
    content: str
    wide: bool


@dataclass(frozen=True)
class EmbeddedImage:
    """An image file as a data URI."""

    caption: str
    source: str


def render(template: str, **values: object) -> str:
    """Return a page: a template of `templates/`, filled with values.

    Raises:
        jinja2.UndefinedError: The template needs a value that is missing.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("posecast.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_visible,
    )
    environment.filters |= {"decimals": _decimals, "percent_of": _percent_of}
    return environment


def _visible(value: object) -> object:
    """Replace what would not be shown, or would show other text in another order, in text from files."""
    return UNSHOWN.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _decimals(value: float, places: int = 2) -> str:
    """Return a number as text, or a dash where it is not finite."""
    return f"{value:.{places}f}" if math.isfinite(value) else "–"


def _percent_of(value: float, largest: float) -> str:
    """Return a share of `largest` in percent, within 0 and 100; 0 where either is no positive number."""
    share = 100 * min(1.0, max(0.0, value / largest)) if math.isfinite(value) and largest > 0 else 0.0
    return f"{share:.1f}"


def embedded_image(path: Path) -> EmbeddedImage:
    """Read a PNG or WebP file, still or animated; its name becomes the caption."""
    content = base64.b64encode(read_bytes(path, MAX_IMAGE_BYTES)).decode()
    return EmbeddedImage(path.stem.replace("-", " "), f"data:image/{path.suffix[1:]};base64,{content}")


def plot(
    title: str,
    curves: Sequence[Curve],
    x_label: str,
    *,
    levels: Sequence[float] = (),
    logarithmic: bool = False,
    wide: bool = False,
) -> InlineFigure:
    """Draw curves over one axis.

    Args:
        title: Caption of the figure.
        curves: Lines with their bands.
        x_label: Label of the horizontal axis.
        levels: Three horizontal lines or none: dashed, dash-dotted, dotted. A level that is not finite is left out.
        logarithmic: Scale of the vertical axis.
        wide: A figure as wide as the page, instead of a cell of a grid.
    """
    panel = Panel("", curves, levels, logarithmic)
    return inline_figure(title, draw([panel], x_label, size=(7.0, 2.8) if wide else (3.6, 2.0), wide=wide), wide=wide)


def inline_figure(title: str, figure: Figure, *, wide: bool = True) -> InlineFigure:
    """Convert a matplotlib figure into the content of an inline SVG element.

    Matplotlib escapes the text within. Lines and text get the colour of the page's text; the file header, dates,
    addresses, numbered identifiers and digits beyond hundredths of a point are removed.
    """
    svg = as_svg(figure)
    start = svg.index("<svg")
    end = svg.index(">", start)
    [view_box] = re.findall(r'viewBox="([^"]*)"', svg[start:end])
    content = svg[end + 1 : svg.rindex("</svg>")]
    content = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", content, flags=re.DOTALL)
    content = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"| id="[^"]*_\d+"', "", content)
    content = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), content)
    content = re.sub(r"\s*\n\s*", "\n", content.replace(INK, "currentColor"))
    return InlineFigure(title, view_box, content, wide)
