"""The bricks of an HTML page that needs nothing but itself: shell, tables with bars, legends, plots, pictures.

In: plain text and numbers; whatever is text is escaped here. Out: HTML and inline SVG, the same bytes for the same
input, readable on a phone and on a dark screen. Knows no runs. Next: `run_report.py`, which builds with these.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from posecast.reporting.plots import INK, Curve, Panel, as_svg, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKER = "<!-- posecast report -->"

STYLE = """
:root{color-scheme:light dark;--ink:#1d2125;--quiet:#626a73;--rule:#e3e5e8;--paper:#fff;--bar:#3b82c4;--base:#a3a9b1}
@media(prefers-color-scheme:dark){:root{--ink:#dde1e5;--quiet:#98a0a9;--rule:#31363c;--paper:#15181b;--base:#666d76}}
*{box-sizing:border-box}
body{font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--ink);background:var(--paper);
max-width:48rem;margin:0 auto;padding:3rem 1.25rem 6rem;overflow-wrap:anywhere}
h1{font-size:1.9rem;font-weight:600;line-height:1.25;margin:0 0 2rem}
h2{font-size:1.35rem;font-weight:600;margin:4rem 0 1rem;padding-top:1.5rem;border-top:1px solid var(--rule)}
h3{font-size:1.05rem;font-weight:600;margin:2.75rem 0 .5rem}
p{max-width:42rem}
.quiet,dl,figcaption,.legend,details{color:var(--quiet);font-size:.875rem}
header .quiet{margin:0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
th,td{text-align:left;vertical-align:top;padding:.5rem .75rem .5rem 0;border-bottom:1px solid var(--rule)}
th{font-size:.8rem;font-weight:500;color:var(--quiet);overflow-wrap:normal}
td:has(.bar){min-width:3.5rem;width:19%}
td:has(.bar):nth-last-child(2):nth-child(2){width:45%}
td:first-child{min-width:7rem}
td:not(:first-child){overflow-wrap:normal}
.bar{display:block;height:5px;margin-top:3px;border-radius:3px;background:var(--bar)}
.bar.base{background:var(--base)}
span.base{color:var(--quiet)}
dl{display:grid;grid-template-columns:fit-content(50%) minmax(0,1fr);gap:.15rem 1.25rem;margin:2rem 0}
dd{margin:0;color:var(--ink)}
.legend span{margin-right:1.4em}
.legend i{display:inline-block;width:1.4em;height:3px;border-radius:2px;margin-right:.5em;vertical-align:.25em}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1.75rem 2.5rem}
.grid figure{margin:0}
figure{margin:0 0 1.5rem}
figcaption{margin-bottom:.3rem}
img,svg{display:block;width:100%;height:auto}
img{max-width:max-content;border-radius:4px}
svg{color:var(--quiet);overflow:visible}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif!important}
@media(max-width:36rem){.wide svg text{font-size:14px!important}table{font-size:.875rem}th,td{padding-right:.5rem}}
pre{font-size:.8rem;white-space:pre-wrap;padding:.75rem 1rem;border:1px solid var(--rule);border-radius:4px}
li{margin:.35rem 0;max-width:42rem}
details{margin-top:3rem}
summary{cursor:pointer;padding:.5rem 0}
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole document; its content security policy forbids scripts and every request."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n{MARKER}\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{text(title)} - posecast</title><style>{STYLE}</style></head>\n"
        f'<body><header><p class="quiet">posecast report</p><h1>{text(title)}</h1></header>\n'
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def text(value: object) -> str:
    """Any value as text that HTML cannot mistake for markup."""
    return html.escape(str(value), quote=True)


def shown(value: float, places: int = 2) -> str:
    """A number, or a dash where there is none."""
    return f"{value:.{places}f}" if math.isfinite(value) else "–"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows whose cells are HTML already, under heads that are text."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def bar(value: float, largest: float, kind: str = "") -> str:
    """A number with a bar from 0 below it; `largest` fills the cell."""
    share = 100 * min(1.0, max(0.0, value / largest)) if math.isfinite(value) and largest > 0 else 0
    return f'{shown(value)}<span class="bar {kind}" style="width:{share:.1f}%"></span>'


def facts(entries: Mapping[str, object]) -> str:
    """Names with values; what is None or empty is left out."""
    known = {name: value for name, value in entries.items() if value is not None and value != ""}
    return "<dl>" + "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>\n" for k, v in known.items()) + "</dl>"


def legend(colours: Mapping[str, str], remark: str = "") -> str:
    """Beside the plots and not within: it wraps on a phone, and no name is taken for mathematics."""
    entries = (f'<span><i style="background:{c}"></i>{text(name)}</span> ' for name, c in colours.items())
    return f'<p class="legend">{"".join(entries)}{text(remark)}</p>'


def picture(path: Path) -> str:
    """A PNG or WebP file, moving or not, within the page."""
    content = base64.b64encode(path.read_bytes()).decode()
    source = f"data:image/{path.suffix[1:]};base64,{content}"
    caption = text(path.stem.replace("-", " "))
    return f'<figure><figcaption>{caption}</figcaption><img alt="{caption}" src="{source}"></figure>'


def plot(
    title: str,
    curves: Sequence[Curve],
    x_label: str,
    *,
    levels: Sequence[float] = (),
    logarithmic: bool = False,
    wide: bool = False,
) -> str:
    """Curves over `x_label` as inline SVG; `levels` are horizontal lines: dashed, dash-dotted, dotted."""
    panel = Panel("", curves, levels, logarithmic)
    return figure(title, draw([panel], x_label, size=(7.0, 2.8) if wide else (3.6, 2.0), wide=wide), wide=wide)


def figure(title: str, drawn: Figure, *, wide: bool = True) -> str:
    """A drawn figure as inline SVG under its title."""
    start = '<figure class="wide">' if wide else "<figure>"
    return f"{start}<figcaption>{text(title)}</figcaption>{_inline(as_svg(drawn), title)}</figure>"


def _inline(svg: str, label: str) -> str:
    """Matplotlib's SVG in the page's own ink, without file header, dates, addresses and superfluous digits."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"| id="[^"]*_\d+"', "", svg)
    start = f'<svg role="img" aria-label="{text(label)}" '
    svg = re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*', lambda head: start + head[1], svg)
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", svg.replace(INK, "currentColor"))
