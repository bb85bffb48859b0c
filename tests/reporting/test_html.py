"""Tests of the templates: user-given text is escaped, missing values are errors, figures and images are embedded."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from posecast.reporting.experiment_report import write_comparison
from posecast.reporting.html import embedded_image, plot, render
from posecast.reporting.run_report import MARKER, write_report

from ..experiments.test_plan import CONFIGS, planned
from .test_experiment_report import finish
from .test_run_report import Page, latent_scores, make_run, page_of, scores

SCRIPT = "<script>alert(1)<"
TEMPLATES = list(resources.files("posecast.reporting").joinpath("templates").iterdir())


def test_scripts_in_the_names_of_runs_and_sequences_stay_text(tmp_path: Path) -> None:
    hostile, other = make_run(tmp_path / SCRIPT), make_run(tmp_path / "other")
    content = latent_scores()
    content["sequences"][0]["name"] = content["factors"][0]["name"] = f"{SCRIPT}sequence"
    (hostile / "scores.json").write_text(json.dumps(content))
    (hostile / "samples").mkdir()
    (hostile / "samples" / f"{SCRIPT}file-strip.png").write_bytes(b"")
    for runs in ([hostile], [hostile, other]):
        write_report(runs, tmp_path / "report.html")
        page = page_of(tmp_path / "report.html")
        assert "script" not in page.tags
        assert "<script" not in (tmp_path / "report.html").read_text()
        for text in (f"{SCRIPT} ", f"Sequence {SCRIPT}sequence", f"{SCRIPT}file strip"):
            assert text in page.text
        assert ("aria-label", f"{SCRIPT}sequence") in page.attributes
        assert ("alt", f"{SCRIPT}file strip") in page.attributes


def test_scripts_in_the_names_of_settings_stay_text(tmp_path: Path) -> None:
    plan = planned(tmp_path, {SCRIPT: CONFIGS["a"]})
    for run in plan.runs:
        finish(run)
    write_comparison(plan)
    page = page_of(tmp_path / "comparison.html")
    assert "script" not in page.tags
    assert page.text.count(SCRIPT) >= 5  # table, findings, three legends, commands


def test_quotes_in_an_attribute_do_not_end_it() -> None:
    title = "\" onload='alert(1)'"
    page = render("experiment.html.j2", **experiment(title=title, figures=[plot(title, [], "x")]))
    attributes = Page(page).attributes
    assert ("aria-label", title) in attributes
    assert not any(name.startswith("on") for name, _ in attributes)


def experiment(**changes: object) -> dict[str, object]:
    comparison = {
        "settings": {},
        "findings": [],
        "claims": [],
        "seeds": [0],
        "best": None,
        "baselines": dict.fromkeys(scores()["baselines"], 20.0),
    }
    values: dict[str, object] = {"title": "t", "comparison": comparison, "num_runs": 1, "unfinished": ["a"]}
    figures = [plot("f", [], "x")]
    return {**values, "figures": figures, "colours": {}, "commands": {}, "facts_of_runs": {}, **changes}


def test_a_missing_value_is_an_error() -> None:
    values = experiment()
    render("experiment.html.j2", **values)
    for name in values:
        with pytest.raises(UndefinedError):
            render("experiment.html.j2", **{key: value for key, value in values.items() if key != name})


def test_no_template_turns_escaping_off_or_loads_from_elsewhere() -> None:
    assert {entry.name for entry in TEMPLATES} >= {"base.html.j2", "run.html.j2", "experiment.html.j2", "style.css"}
    sources = "".join(entry.read_text(encoding="utf-8") for entry in TEMPLATES)
    assert re.findall(r"[^ ]* *\| *safe", sources) == ["plot.content | safe"]  # the SVG that matplotlib has written
    for forbidden in ("autoescape", "<script", "http:", "https:", "url(", "@import"):
        assert forbidden not in sources


def test_the_mark_of_a_report_is_at_its_start() -> None:
    assert MARKER in render("experiment.html.j2", **experiment(title="t" * 500)).encode()[:200]


def test_an_embedded_image_keeps_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "val-side-by-side.webp").write_bytes(b"RIFF")
    image = embedded_image(tmp_path / "val-side-by-side.webp")
    assert (image.caption, image.source) == ("val side by side", "data:image/webp;base64,UklGRg==")
