"""Names and text in plans, grids, runs and logs of strangers: refused, or shown as text."""

from __future__ import annotations

import csv
import json
import math
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from posecast.reporting.experiment_figures import write_rows

from .place import EXPERIMENT, Place, linux_only, some_long

pytestmark = linux_only

REFUSED = [
    *("../x", "../../outside/x", "..", ".", "", "/", "/etc/x", "a/b", "a/../../x", "a\\b", "..\\x", "C:x", "C:\\x"),
    *("\\\\host\\x", "//host/x", "a..b", "http://x", "a:b", "~/../x", "%2e%2e/x", "./x", "x/.", "outside/../../x"),
    *("a\0b", "\x1b[31mred", "\x1b]0;title\x07", "a\nb", "a\rb", "a\tb", "\x7f", "\x9b1m", "\u202egpj", "\u2066x"),
    *("\u200b", "\ufeffx", "\ud800", "\udcff", "-x", "--out", ".hidden", ".posecast", " x", "x ", "x.", "\u3000"),
    *("x" * 101, "影" * 34, "x" * 100_000, "con", "NUL", "aux.txt", "Com1", "lpt9.x", "[link=http://x]y[/link]"),
    *("<img src=http://127.0.0.1:9/x>", "</title><script>alert(1)</script>"),
]
SHOWN = [
    *("[red]x", "[bold red]", "=1+1", "@SUM(A1)", "+x", "=cmd|'!A1", "'=x", "\uff1dx", "<b>x", "<script>alert(1)<"),
    *("$x^2$", "$\\frac$".replace("\\", ""), "$x", "{{ 7*7 }}", "{% raw %}", "&lt;", "&", "\"q' onload='x", "%s%n"),
    *("{0}", "%(x)s", "#x", "$HOME", "`id`", "$(id)", ";id", "*", "?", "影片", "é", "a b", "x" * 90, "_", "1e-3"),
]


def rename_setting(place: Place, name: str) -> None:
    plan = json.loads((place.folder / "exp" / "experiment.json").read_text())
    plan["settings"] = {name: plan["settings"]["a"], "b": plan["settings"]["b"]}
    (place.folder / "exp" / "experiment.json").write_text(json.dumps(plan))


@pytest.mark.parametrize("name", some_long(REFUSED, 3), ids=ascii)
def test_name_in_a_plan_or_a_grid_that_leads_elsewhere_is_refused(place: Place, name: str) -> None:
    rename_setting(place, name)
    assert "names a setting" in place.run(*EXPERIMENT)
    assert not (place.folder / "exp" / "runs").exists()
    if name.isprintable():  # TOML has no other names
        (place.folder / "grid.toml").write_text(f"[settings.{json.dumps(name, ensure_ascii=False)}]\n")
        assert "names a setting" in place.run(*EXPERIMENT)


KEYS = ["seeds", "futures", "experiment", "question", "data", "settings", "request"]
VALUES = [None, ["../../outside/x"], "../x", -1, 1e999, 2**70, True, {"../x": 1}, [], [1.5], [None], [2**63], {}]
TAKEN = [*((key, "../x") for key in ("experiment", "question", "data")), ("futures", 2**70), ("futures", True)]
"""Keys whose value is shown as text, or is a number."""


@pytest.mark.parametrize(
    ("key", "value"),
    some_long([(key, value) for value in VALUES for key in KEYS if (key, value) not in TAKEN], 4),
    ids=str,
)
def test_plan_of_another_form_is_refused(place: Place, key: str, value: Any) -> None:
    plan = json.loads((place.folder / "exp" / "experiment.json").read_text())
    plan[key] = value
    (place.folder / "exp" / "experiment.json").write_text(json.dumps(plan))
    place.run(*EXPERIMENT)


class Text(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def check_page(path: Path) -> Text:
    """Return a page after checking that it holds no markup but ours, and nothing that a browser hides."""
    content = path.read_text(encoding="utf-8")
    page = Text(content)
    assert not page.tags & {"script", "iframe", "object", "link", "base", "form"}
    assert not any(name.startswith("on") for name in page.names)
    assert all(letter.isprintable() or letter == "\n" for letter in content), repr(content)
    return page


def check_csv(path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            for cell in row:
                assert cell.isprintable()
                assert not cell.lstrip().startswith(("=", "+", "@", "-")) or math.isfinite(float(cell))


def finish(place: Place, name: str) -> None:
    for setting in (name, "b"):
        shutil.copytree(place.folder / "run", place.folder / "exp" / "runs" / f"{setting}-seed0")


@pytest.mark.parametrize(
    "name", [value if k % 20 == 2 else pytest.param(value, marks=pytest.mark.long) for k, value in enumerate(SHOWN)]
)
@pytest.mark.filterwarnings("ignore:Glyph")  # matplotlib's font has no Chinese; SVG needs none
def test_other_name_in_a_plan_is_shown_as_text(place: Place, name: str) -> None:
    rename_setting(place, name)
    finish(place, name)
    output = place.run(*EXPERIMENT, status=(0,))
    assert name in output.replace("\n", "") or len(name) > 60
    assert name in check_page(place.folder / "exp" / "comparison.html").text
    for path in (place.folder / "exp" / "curves").iterdir():
        check_csv(path)


# Text in runs.

TEXTS = [
    *("\x1b[31mred\x1b[0m", "\x1b]8;;http://x\x07y", "\x07\x08\x00", "a\nposecast: no", "a\rb", "\u202egpj.exe\u202c"),
    *("[red]x[/red]", "[/]", "[link=http://x]y[/link]", "<script>alert(1)</script>", "</svg><img src=x onerror=y>"),
    *("'\" onload='x", "{{ 7*7 }}", "$\\undefined{$", '=HYPERLINK("http://x")', "\ud800", "x" * 20_000, "&#60;b>"),
]
"""Text that terminals, rich, pages or matplotlib interpret."""


@pytest.mark.parametrize("text", some_long(TEXTS, 4), ids=ascii)
def test_text_in_a_run_is_shown_as_text(place: Place, text: str) -> None:
    run = place.folder / "run"
    if "\ud800" not in text:
        name = f"{text[:90].replace('/', '_')}-strip.png".replace("\0", "_")
        shutil.copy(run / "samples" / "val-strip.png", run / "samples" / name)
    config, scores = (json.loads((run / name).read_text()) for name in ("config.json", "scores.json"))
    rows = {kind: [20.0, 21.0] for kind in ("mean", "sample", "best")}
    scores |= {"psnr": text, "ssim": text, "split": text, "selected_on": text, "seed": text}
    scores |= {"sequences": [{"name": text, "psnr_db": rows}]}
    config["machine"] |= {"device": text}
    (run / "scores.json").write_text(json.dumps(scores))
    (run / "config.json").write_text(json.dumps(config | {"posecast": text, "imported_from": text}))
    place.run("check", "run", status=(0, 2))
    (run / "config.json").write_text(json.dumps(config | {"posecast": text, text: text, "recipe": text}))
    place.run("report", "run", "--out", "page.html", status=(0,))
    visible = max(text.replace("\n", "\x1b").split("\x1b"), key=len).strip("\x07\x00\x08\u202e\u202c\r")[:20]
    assert visible.isprintable() is False or visible in check_page(place.folder / "page.html").text
    place.run("check", "run", status=(0, 2))


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_text_in_a_log_makes_no_formula_and_no_column_of_its_own(place: Place, text: str) -> None:
    path = place.folder / "made"
    write_rows(path, ("setting", text), [(text, text), (f"={text}", f" @{text}"), ("-1.5e-05", -2), (None, [text])])
    check_csv(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [len(row) for row in rows] == [2] * 5
    assert rows[3] == ["-1.5e-05", "-2"]
