"""Tests of the run report: a self-contained page, for finished, unfinished, damaged and hostile runs."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posecast.data.images import write_png
from posecast.errors import InputError
from posecast.evaluation.contact_sheet import contact_sheet, side_by_side
from posecast.reporting.html import plot
from posecast.reporting.plots import Curve
from posecast.reporting.run_report import write_report
from posecast.video.writer import open_writer

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags, attributes and visible text of a page, with single spaces; fails unless every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.text = " ".join(self.text.split())
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.text += " " if tag in ("td", "dd", "br") else ""
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self._open[-1:] != ["style"] else ""


def page_of(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def scores(num_frames: int = 40) -> dict[str, Any]:
    kinds = {kind: [28.0 + k + t / 50 for t in range(num_frames)] for k, kind in enumerate(("mean", "sample", "best"))}
    return {
        "split": "val",
        "selected_on": "val",
        "seed": 5,
        "psnr": "10*log10(1/MSE) dB per frame",
        "ssim": "Gaussian window 11",
        "sequences": [{"name": "dancer", "frames": num_frames, "psnr_db": kinds, "ssim": kinds}],
        "summary": {
            "psnr_db": {"mean": 31.234, "sample": 30.347, "best": 30.456},
            "ssim": {"mean": 0.951, "sample": 0.942, "best": 0.943},
            "sharpness": {"mean": 0.71, "sample": 0.73, "best": 0.73},
            "flicker": {"mean": None, "sample": 1.62, "best": 1.61},
            "futures": 10,
        },
        "reconstruction": {"psnr_db": 33.217, "note": "uses the posterior, which sees the target: not a prediction"},
        "drift": {"frames": 100, "last_psnr_db": 29.2, "restarted_psnr_db": 29.61, "difference_db": 0.41},
        "baselines": {
            "copy_first_frame": 15.4,
            "mean_frame": None,
            "nearest_pose": 25.12,
            "mean_of_8_nearest_poses": 26.47,
        },
        "generative": {"explained": 0.24, "supplied": 0.06, "ratio": 0.25, "ratio_standard_error": 0.03},
    }


def latent_scores(num_frames: int = 40) -> dict[str, Any]:
    """What `evaluate` adds where the data set has hidden factors."""
    path = [None, *(0.01 * t for t in range(1, num_frames))]  # a frame without a pose is not read
    motion = {"deviation": 0.0213, "time_constant": 87.6}
    factor = {
        "name": "warmth",
        "reader_r2": 0.981,
        "posterior_r2": 0.874,
        "apart": 0.0123,
        "truth": motion,
        "prior": {"deviation": 0.0197, "time_constant": 64.2},
        "paths": dict.fromkeys(("recorded", "low", "middle", "high", "one"), path),
    }
    return {
        **scores(num_frames),
        "latent": {"rate_nats": 11.96, "active_units": 14, "units": 16},
        "best_of": [30.0, 30.5, 30.8],
        "calibration": {"levels": [0.5, 0.9], "spread": [0.45, 0.84], "predictive": [0.6, 0.93]},
        "bounds": {"plain": 15000.4, "weighted": 15020.6, "particles": 16, "variance": 0.0002},
        "factors": [factor],
    }


def epoch(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "epoch": number,
        "step": 10 * number + 10,
        "loss": 0.1 / (number + 1),
        "mse": 0.09 / (number + 1),
        "rate": 2.0 * number,
        "distortion": -100.0 * number,
        "kl_weight": 0.5,
        "teacher_forcing_rate": 0.0,
        "learning_rate": 0.00125,
        "validation_loss": None,
        "validation_psnr_db": 20.0 + number if number % 2 == 0 else None,
        "skipped_updates": 1,
        "frames_per_second": 140.0,
        "seconds": 30.0,
        **changes,
    }


def make_run(folder: Path, *, scored: bool = True, **config: Any) -> Path:
    folder.mkdir(parents=True)
    content = {
        "recipe": "anchored",
        "seed": 3,
        "training": {"clip_length": 8},
        "machine": {"device": "cpu", "processor": "x86_64"},
        **config,
    }
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "log.jsonl").write_text("".join(json.dumps(epoch(k)) + "\n" for k in range(6)))
    if scored:
        (folder / "scores.json").write_text(json.dumps(scores()))
    return folder


def add_pictures(run: Path) -> None:
    frames = [np.full((8, 16, 3), 40 * k, np.uint8) for k in range(4)]
    write_png(run / "samples" / "val-0-strip.png", contact_sheet({"truth": frames}))
    with open_writer(run / "samples" / "val-0-side-by-side.webp") as video:
        for number, frame in enumerate(frames, start=1):
            video.write(side_by_side({"truth": frame, "prediction": frame}, number))


def test_the_page_of_a_run_shows_its_scores_and_their_definitions(tmp_path: Path) -> None:
    run = make_run(tmp_path / "dance")
    write_report([run], tmp_path / "new" / "report.html")
    page = page_of(tmp_path / "new" / "report.html")
    for text in ("dance", "31.23", "30.35", "30.46", "0.951", "25.12", "26.47", "15.40", "Best of 10 futures"):
        assert text in page.text
    for text in (
        "0.951 0.71 –",
        "0.942 0.73 1.62",
        "posterior 24.00",
        "prior 6.00",
        "supplied by explained: 0.25 ± 0.03",
    ):
        assert text in page.text
    assert ("style", "width:25.0%") in page.attributes  # z supplies a quarter of what it explains
    for text in ("10*log10(1/MSE) dB per frame", "cpu, x86_64", "3.0 minutes, 6 epochs", "training.clip_length"):
        assert text in page.text
    assert (
        "33.22 dB, with z from the posterior. The posterior sees the target, so this is not a prediction" in page.text
    )
    assert "they reach 29.61 dB" in page.text
    assert page.tags.count("svg") == 8  # seven logged quantities and PSNR per frame
    assert "Mean training frame –" in page.text  # a baseline that could not be computed


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b")]
    add_pictures(runs[0])
    write_report(runs, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    page = Page(html)
    assert not re.search(r"https?:|//|@import|url\((?!#)", re.sub(r"base64,[A-Za-z0-9+/=]*", "", html))
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert [source[:15] for source in sources if not source.startswith("#")] == ["data:image/png;", "data:image/webp"]
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes
    defined = {value for name, value in page.attributes if name == "id"}
    assert {source[1:] for source in sources if source.startswith("#")} <= defined


def test_hostile_names_and_values_stay_text(tmp_path: Path) -> None:
    hostile = "<script>alert('$x^')</script> \\1 \\frac{"
    run = make_run(tmp_path / "<img src=x onerror=alert(1)> $\\frac{", note=hostile, recipe=hostile)
    (run / "samples").mkdir()
    content = scores()
    content["sequences"][0]["name"] = content["psnr"] = hostile
    (run / "scores.json").write_text(json.dumps(content))
    write_png(run / "samples" / '"><script>-strip.png', np.zeros((4, 4, 3), np.uint8))
    for runs in ([run], [run, make_run(tmp_path / "b")]):
        write_report(runs, tmp_path / "report.html")
        page = page_of(tmp_path / "report.html")
        assert "script" not in page.tags
        assert page.tags.count("img") == 1
        assert not any(name.startswith("on") for name, _ in page.attributes)
        assert hostile in page.text
        assert run.name in page.text


def test_a_run_in_training_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "young", scored=False)
    with (run / "log.jsonl").open("a") as log:
        log.write('{"epoch": 6, "lo')
    write_report([run], tmp_path / "report.html")
    page = page_of(tmp_path / "report.html")
    assert "Not scored yet" in page.text
    assert "6 epochs" in page.text
    assert page.tags.count("svg") == 7
    (run / "log.jsonl").unlink()
    write_report([run], tmp_path / "report.html")
    assert "svg" not in page_of(tmp_path / "report.html").tags


def test_nan_and_null_anywhere_are_tolerated(tmp_path: Path) -> None:
    run = make_run(tmp_path / "unstable")
    log = [epoch(0, loss=float("nan"), rate=None), epoch(1, loss=float("inf"), seconds=None), {"epoch": 2}]
    (run / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    content = scores()
    content["sequences"][0]["psnr_db"]["mean"][3] = None
    content["summary"]["psnr_db"]["sample"] = float("nan")
    content |= {"drift": None, "reconstruction": None, "baselines": {}}
    (run / "scores.json").write_text(json.dumps(content))
    write_report([run], tmp_path / "report.html")
    page = page_of(tmp_path / "report.html")
    assert "nan" not in page.text.lower()
    assert "Average of 10 futures –" in page.text
    assert "Drift" not in page.text
    assert "Loss" not in page.text  # no finite value to plot


def test_several_runs_are_compared_first(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "two", recipe="lab4"), make_run(tmp_path / "x" / "one")]
    write_report(runs, tmp_path / "report.html")
    page = page_of(tmp_path / "report.html")
    assert page.text.index("3 runs compared") < page.text.index("lab4") < page.text.index("Training")
    assert str(runs[0]) in page.text  # two runs of one name are told apart
    assert str(runs[2]) in page.text
    assert page.tags.count("details") == 3
    assert page.tags.count("svg") == 7 + 3  # curves are overlaid, PSNR per frame is each run's own


def test_same_runs_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    add_pictures(run)
    write_report([run], tmp_path / "a.html")
    write_report([run], tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_only_reports_are_replaced(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    out = tmp_path / "thesis.html"
    out.write_text("<html>three years of work</html>")
    with pytest.raises(InputError, match="not a posecast report"):
        write_report([run], out)
    assert out.read_text() == "<html>three years of work</html>"
    write_report([run], out, force=True)
    first = out.read_text()
    (run / "scores.json").unlink()
    write_report([run], out)
    assert "Not scored yet" not in first
    assert "Not scored yet" in out.read_text()


def test_invalid_arguments_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(InputError, match="holiday is not a run folder"):
        write_report([tmp_path / "holiday"], tmp_path / "report.html")
    with pytest.raises(InputError, match="No run"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(InputError, match="is a folder"):
        write_report([make_run(tmp_path / "run")], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holiday", "run"]


def test_axis_labels_keep_their_digits() -> None:
    figure = plot("Learning rate", [Curve([0.0, 1.0], [0.0010, 0.0015], "#3b82c4")], "epoch")
    assert ">0.0015<" in figure.content


def test_the_plot_of_a_long_log_stays_small() -> None:
    x = [float(k) for k in range(100_001)]
    short, long = (plot("t", [Curve(x[:n], [k % 7 for k in x[:n]], "#3b82c4")], "x") for n in (1000, 100_001))
    assert len(long.content) < 3 * len(short.content)


def test_the_latent_is_shown_with_its_evidence(tmp_path: Path) -> None:
    run = make_run(tmp_path / "dance")
    (run / "scores.json").write_text(json.dumps(latent_scores()))
    frames = [np.full((8, 16, 3), 40 * k, np.uint8) for k in range(4)]
    for name in ("traversal", "futures"):
        write_png(run / "samples" / f"val-{name}.png", contact_sheet({"z 1": frames}))
    write_report([run], tmp_path / "report.html")
    page = page_of(tmp_path / "report.html")
    sentences = ("11.96 nats per frame", "14 of 16 units", "15000 nats", "15021 by the importance-weighted", "16 part")
    for text in (*sentences, "warmth", "0.98", "0.87", "0.0213", "0.0197", "0.0123", "88", "64"):
        assert text in page.text, text
    assert page.tags.count("svg") == 8 + 3  # best-of-n, calibration, one factor
    assert page.tags.count("img") == 2
    assert "One pose" in page.text
    assert "Futures of one photo" in page.text
