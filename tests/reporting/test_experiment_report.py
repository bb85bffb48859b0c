"""Tests of the experiment page: complete, self-contained, safe to open, true to its runs, reproducible."""

from __future__ import annotations

import csv
import html
import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from posecast.cli.main import app, main
from posecast.cli.tables import print_comparison
from posecast.config.overrides import from_dict
from posecast.config.schema import Budget, Config
from posecast.experiments.grids import GRIDS, configurations
from posecast.experiments.plan import Plan, PlannedRun
from posecast.files import write_json, write_text
from posecast.model.checkpoint import write_config
from posecast.reporting.experiment_report import write_comparison

from ..experiments.test_plan import CONFIGS, planned
from .test_run_report import epoch, page_of, scores

TWO = {name: CONFIGS[name] for name in "ab"}


def finish(run: PlannedRun, psnr_db: float = 30.0, **columns: Any) -> None:
    """Write what training and scoring would leave in a run's folder."""
    write_config(run.folder, run.config, {"machine": {"device": "cpu", "processor": "x86_64"}})
    entries = [epoch(k, **columns, validation_loss=0.2, kl_weight=k / 5) for k in range(6)]
    write_text(run.folder / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries))
    content = scores()
    content["summary"]["psnr_db"]["mean"] = psnr_db
    content["latent"] = {"rate_nats": 2.0, "active_units": 3, "units": 8, "active": "variance above 0.01"}
    write_json(run.folder / "scores.json", content)


def finished(out: Path, configs: Mapping[str, Config] = TWO, **changes: Any) -> Plan:
    """Write an experiment in which each setting is about two decibels above the one before, under every seed."""
    plan = planned(out, configs, **changes)
    for run in plan.runs:
        finish(run, 30.0 + 2 * list(configs).index(run.setting) + 0.1 * run.config.seed)
    return plan


def files(out: Path) -> dict[str, bytes]:
    """Return the files that the comparison wrote."""
    written = [path for path in out.rglob("*") if path.is_file() and "runs" not in path.parts]
    return {str(path.relative_to(out)): path.read_bytes() for path in written}


def test_all_files_are_complete_and_the_same_twice(tmp_path: Path) -> None:
    plan = finished(tmp_path)
    write_comparison(plan)
    first = files(tmp_path)
    figures = {f"figures/{name}.{ending}" for name in ("losses", "bound", "frames") for ending in ("svg", "png")}
    curves = {f"curves/{name}.csv" for name in ("losses", "bound", "frames", "log")}
    assert set(first) == {"experiment.json", "comparison.html", "comparison.json", *figures, *curves}
    for name in figures:
        if name.endswith("svg"):
            assert ElementTree.fromstring(first[name]).tag.endswith("}svg")
        else:
            with Image.open(tmp_path / name) as image:
                image.load()
                assert image.format == "PNG"
    write_comparison(plan)
    assert files(tmp_path) == first


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    write_comparison(finished(tmp_path, data="mydata"))
    page = page_of(tmp_path / "comparison.html")
    written = (tmp_path / "comparison.html").read_text()
    assert not re.search(r"https?:|//|@import|url\((?!#)", written)
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes
    defined = {value for name, value in page.attributes if name == "id"}
    used = {value[1:] for name, value in page.attributes if name in ("href", "xlink:href")}
    used |= set(re.findall(r"url\(#([^)]*)\)", written))
    assert used
    assert used <= defined
    assert page.tags.count("figure") == page.tags.count("svg") == 3


def test_values_of_the_user_stay_text(tmp_path: Path) -> None:
    hostile = '</pre><script>alert(1)</script> $\\frac{ & "it\'s"'
    plan = planned(tmp_path, TWO, question=hostile, data=f"my {hostile} data")
    done, failed, *_ = plan.runs
    finish(done)
    write_json(failed.failure, {"failed": hostile})
    write_json(done.folder / "scores.json", scores() | {"psnr": hostile, "split": hostile})
    write_config(done.folder, done.config, {"machine": {"device": hostile}})
    write_comparison(plan)
    page = page_of(tmp_path / "comparison.html")
    assert "script" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.text.count(hostile) >= 5  # title, heading, failure, definition, split
    assert f"b, seed 5: {hostile}" in page.text


def test_unfinished_runs_are_named_and_left_out(tmp_path: Path) -> None:
    plan = planned(tmp_path, TWO)
    for run in plan.runs[:3]:
        finish(run, 31.0 if run.setting == "a" else 33.0)
    content = write_comparison(plan)
    page = page_of(tmp_path / "comparison.html")
    assert "1 of 4 runs are not finished yet and are left out below: b-seed6." in page.text
    assert not content["finished"]
    assert [content["settings"][name]["seeds"] for name in "ab"] == [[5, 6], [5]]
    finish(plan.runs[3], 33.0)
    assert write_comparison(plan)["finished"]
    assert "not finished" not in page_of(tmp_path / "comparison.html").text


def test_an_experiment_with_nothing_finished_has_a_page(tmp_path: Path) -> None:
    content = write_comparison(planned(tmp_path))
    page = page_of(tmp_path / "comparison.html")
    assert "6 of 6 runs are not finished yet" in page.text
    assert "Which kind?" in page.text
    assert page.text.count("posecast train") == 3
    assert "svg" not in page.tags
    assert "nan" not in page.text.lower()
    assert (content["best"], content["findings"], content["claims"]) == (None, [], [])
    assert (tmp_path / "curves" / "log.csv").read_text() == "setting,seed\n"


def test_claims_wait_for_their_runs(tmp_path: Path) -> None:
    content = write_comparison(planned(tmp_path, experiment="teacher-forcing"))
    assert [claim["verdict"] for claim in content["claims"]] == ["undecided", "undecided"]
    page = page_of(tmp_path / "comparison.html")
    assert page.text.count("undecided") == 2
    assert "Teacher forcing calms the training loss early." in page.text


def test_a_setting_all_of_whose_runs_failed(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    for run in plan.runs:
        if run.setting == "b":
            write_json(run.failure, {"failed": f"The loss of {run.name} was not finite."})
        else:
            finish(run, 30.0 if run.setting == "a" else 32.0 + 0.1 * run.config.seed)
    content = write_comparison(plan)
    page = page_of(tmp_path / "comparison.html")
    assert content["finished"]
    assert content["settings"]["b"]["psnr_db"]["text"] == "–"
    assert content["settings"]["b"]["failures"] == {
        str(seed): f"The loss of b-seed{seed} was not finite." for seed in (5, 6)
    }
    assert "0, 2 failed" in page.text
    assert "b, seed 6: The loss of b-seed6 was not finite." in page.text
    assert not any("b:" in finding or "above b" in finding for finding in content["findings"])
    assert content["best"] == "c"  # above every setting with a finished run
    with (tmp_path / "curves" / "frames.csv").open(encoding="utf-8", newline="") as file:
        assert {row["setting"] for row in csv.DictReader(file)} == {"a", "c"}
    assert json.loads((tmp_path / "comparison.json").read_text())["settings"]["b"]["psnr_db"]["mean"] is None


@pytest.mark.parametrize(
    ("of_b", "best"),
    [((32.0, 32.1), "b"), ((31.0, 37.0), None), ((28.0, 28.1), "a"), ((30.5, 30.6), None)],
)
def test_a_best_is_marked_only_beyond_the_noise(
    tmp_path: Path, of_b: tuple[float, float], best: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under its two seeds `a` has 30.5 and 30.6 dB."""
    plan = planned(tmp_path, TWO)
    values = {"a": (30.5, 30.6), "b": of_b}
    for run in plan.runs:
        finish(run, values[run.setting][run.config.seed - 5])
    content = write_comparison(plan)
    assert content["best"] == best
    page = page_of(tmp_path / "comparison.html")
    marked = re.findall(r"(\w) \(best\)", page.text)
    assert marked == ([best] if best else [])
    assert ("The setting marked as best is above" in page.text) == (best is not None)
    assert ("No setting is marked as best." in page.text) == (best is None)
    print_comparison(content)
    assert re.findall(r"(\w) \(best\)", capsys.readouterr().out) == marked


def test_one_seed_marks_no_best(tmp_path: Path) -> None:
    assert write_comparison(finished(tmp_path, seeds=[5]))["best"] is None
    assert "(best)" not in page_of(tmp_path / "comparison.html").text


def test_the_table_shows_the_scores_of_the_runs(tmp_path: Path) -> None:
    plan = planned(tmp_path, TWO)
    for run in plan.runs:
        finish(run, {5: 30.0, 6: 32.0}[run.config.seed])
    content = write_comparison(plan)
    # Two seeds: t = 12.706 times half their difference.
    value = content["settings"]["a"]["psnr_db"]
    assert (value["mean"], value["half_width"]) == pytest.approx((31.0, 12.706))
    page = page_of(tmp_path / "comparison.html")
    measured = ("31.00 ± 12.71", "25.12", "15.40", "Mean training frame –", "10*log10(1/MSE) dB per frame")
    for text in (*measured, "cpu, x86_64", "a: 60; b: 60", "variance above 0.01"):
        assert text in page.text
    heads = ["Findings", "Figures", "How to reproduce the runs"]
    assert sorted(heads, key=page.text.index) == heads
    assert content["baselines"]["nearest_pose"] == pytest.approx(25.12)


def refuse(constant: str) -> None:
    pytest.fail(f"comparison.json holds {constant}")


def test_the_json_holds_no_nan_and_nothing_depends_on_times(tmp_path: Path) -> None:
    plan = finished(tmp_path)
    for run in plan.runs[:1]:
        changed: dict[str, Any] = {**scores(), "drift": None}
        changed["summary"]["psnr_db"]["best"] = math.nan
        (run.folder / "scores.json").write_text(json.dumps(changed))
    write_comparison(plan)
    before = files(tmp_path)
    content = json.loads(before["comparison.json"], parse_constant=refuse)
    assert content["settings"]["a"]["drift_db"]["half_width"] is None  # the one remaining seed has no interval
    for run in plan.runs:
        log = (run.folder / "log.jsonl").read_text()
        slower = log.replace('"seconds": 30.0', '"seconds": 77.0').replace('second": 140.0', 'second": 55.0')
        assert slower.count("77.0") == slower.count("55.0") == 6
        write_text(run.folder / "log.jsonl", slower)
    write_comparison(plan)
    assert files(tmp_path) == before


def test_the_log_has_every_line_of_every_run(tmp_path: Path) -> None:
    plan = finished(tmp_path)
    run = plan.runs[0]  # its log lacks keys of the others
    write_text(run.folder / "log.jsonl", '{"epoch": 0, "step": 4, "loss": 0.125}\n')
    write_comparison(plan)
    with (tmp_path / "curves" / "log.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["setting"], row["seed"]) for row in rows] == (
        [("a", "5")] + [(name, seed) for name, seed in (("a", "6"), ("b", "5"), ("b", "6")) for _ in range(6)]
    )
    assert (rows[0]["loss"], rows[0]["rate"]) == ("0.125", "")
    assert [float(row["rate"]) for row in rows[1:7]] == [2.0 * k for k in range(6)]
    assert not {"seconds", "frames_per_second"} & set(rows[0])


def repeated(out: Path) -> list[list[list[str]]]:
    """Return the words of the commands on the page, for each setting."""
    blocks = re.findall(r"<pre>(.*?)</pre>", (out / "comparison.html").read_text(encoding="utf-8"), re.DOTALL)
    return [[shlex.split(line) for line in html.unescape(block).split("\n")] for block in blocks]


@pytest.mark.parametrize("name", GRIDS)
def test_the_command_of_each_setting_makes_the_same_configuration(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of the page, run with --dry-run, print the configuration of the run."""
    configs = configurations(GRIDS[name], flags={"minutes": 3.0, "size": "16x32"})
    plan = planned(tmp_path, shortened(configs), data='my "data" & <b>$HOME\'s</b>')
    write_comparison(plan)
    commands = repeated(tmp_path)
    assert len(commands) == len(configs)
    for (training, scoring), run in zip(commands, plan.runs, strict=False):
        assert training[:3] == ["posecast", "train", "--data"]
        assert training[3] == scoring[4] == str(plan.data)
        capsys.readouterr()
        assert main([*training[1:], "--dry-run"]) == 0
        assert from_dict(json.loads(capsys.readouterr().out)) == run.config
        command, given, _ = app.parse_args(scoring[1:], exit_on_error=False, print_error=False)
        assert command.__name__ == "evaluate"
        assert given.arguments["futures"] == plan.futures


def shortened(configs: Mapping[str, Config]) -> dict[str, Config]:
    """Return configurations with budgets as planning sets them: epochs of a fixed number of clips, or updates."""
    short = {}
    for number, (name, config) in enumerate(configs.items()):
        training = replace(config.training, clips_per_epoch=34)
        short[name] = replace(config, training=training, budget=Budget(epochs=20) if number else Budget(steps=7))
    return short


def test_the_terminal_says_what_the_page_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(tmp_path, TWO, experiment="teacher-forcing")
    for run in plan.runs[:3]:
        finish(run)
    write_json(plan.runs[3].failure, {"failed": "Not finite [in red]."})
    content = write_comparison(plan)
    print_comparison(content)
    printed = " ".join(capsys.readouterr().out.split())
    for sentence in (*content["findings"], *(claim["sentence"] for claim in content["claims"])):
        assert sentence in printed
    assert "UNDECIDED" in printed
    assert "Failed: b, seed 6: Not finite [in red]." in printed
    assert content["settings"]["a"]["psnr_db"]["text"] in printed
