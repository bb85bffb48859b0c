"""The comparison of an experiment's settings: one page, its figures and curves as files, its numbers as JSON.

In: a plan, finished or not. Out: DIR/comparison.html, comparison.json, figures/NAME.svg and .png, curves/NAME.csv.
Computes nothing that `statistics.py` and `findings.py` do not give. Knows no torch.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from posecast.config.overrides import as_flags
from posecast.evaluation.results import Run
from posecast.experiments.findings import Claim, claims, findings
from posecast.experiments.plan import Plan
from posecast.experiments.statistics import Outcome, best_of, estimate, outcomes, psnr_db
from posecast.files import write_json, write_text
from posecast.reporting import html as page
from posecast.reporting.experiment_figures import drawings_of, drawn, write_curves, write_rows
from posecast.reporting.html import shown, text
from posecast.reporting.plots import COLOURS, save
from posecast.reporting.run_report import BASELINES


def write_comparison(plan: Plan) -> dict[str, Any]:
    """Write the comparison of what is finished into the plan's folder; returns the content of comparison.json."""
    found = outcomes(plan)
    drawings = [drawing for drawing in drawings_of(found) if drawing.lines]
    figures = []
    colours = {one.name: COLOURS[k % len(COLOURS)] for k, one in enumerate(found)}
    for drawing in drawings:
        figure = drawn(drawing, colours)
        for ending in ("svg", "png"):
            save(figure, plan.out / "figures" / f"{drawing.name}.{ending}")
        write_curves(plan.out / "curves" / f"{drawing.name}.csv", drawing)
        figures.append(page.legend(colours) + page.figure(drawing.title, drawn(drawing, colours, legend=False)))
    write_log(plan.out / "curves" / "log.csv", found)
    content = numbers(plan, found)
    write_json(plan.out / "comparison.json", content)
    write_text(plan.out / "comparison.html", page.page(plan.question, body(plan, found, content, figures)))
    return content


def numbers(plan: Plan, found: Sequence[Outcome]) -> dict[str, Any]:
    """The table, findings and verdicts as plain values; no times, so that a repetition gives the same."""
    best = best_of([one for one in found if one.runs], psnr_db)
    return {
        "experiment": plan.name,
        "seeds": list(plan.seeds),
        "finished": all(run.finished for run in plan.runs),
        "interval": "Student's t at 95 % over seeds; differences paired by seed",
        "settings": {
            one.name: {
                **{label: as_json(one, *column) for label, column in COLUMNS.items()},
                "seeds": sorted(one.runs),
                "failures": {str(seed): why for seed, why in one.failures.items()},
            }
            for one in found
        },
        "baselines": {name: estimate([r.score("baselines", name) for one in found for r in one.runs.values()]).mean
                      for name in BASELINES},
        "best": best.name if best else None,
        "findings": findings(found),
        "claims": [vars(claim) for claim in claims(plan.name, found)],
    }  # fmt: skip


COLUMNS = {
    "psnr_db": (("summary", "psnr_db", "mean"), 2),
    "ssim": (("summary", "ssim", "mean"), 3),
    "best_of_futures_psnr_db": (("summary", "psnr_db", "best"), 2),
    "drift_db": (("drift", "difference_db"), 2),
    "rate_nats": (("latent", "rate_nats"), 2),
    "active_units": (("latent", "active_units"), 0),
}
"""Columns of the table: where scores.json has them, and decimal places."""


def as_json(one: Outcome, keys: tuple[str, ...], places: int) -> dict[str, Any]:
    value = one.estimate(lambda run: run.score(*keys))
    return {"mean": value.mean, "half_width": value.half_width, "text": value.shown(places)}


def write_log(path: Path, found: Sequence[Outcome]) -> None:
    """Every line of every run's log, times left out."""
    runs = [(one.name, seed, run) for one in found for seed, run in sorted(one.runs.items())]
    keys = dict.fromkeys(key for *_, run in runs for entry in run.log for key in entry if key not in TIMES)
    rows = [(name, seed, *(entry.get(key) for key in keys)) for name, seed, run in runs for entry in run.log]
    write_rows(path, ("setting", "seed", *keys), rows)


TIMES = ("seconds", "frames_per_second")


def body(plan: Plan, found: Sequence[Outcome], content: dict[str, Any], figures: Sequence[str]) -> Iterator[str]:
    """The page from top to bottom: table, findings, claims, figures, how to repeat it."""
    unfinished = [run.name for run in plan.runs if not run.finished]
    if unfinished:
        number = f"{len(unfinished)} of {len(plan.runs)} runs are not finished yet"
        yield f"<p><b>{number};</b> left out below: {text(', '.join(unfinished))}.</p>"
    yield result_table(found, content)
    yield "<h2>Findings</h2><ul>" + "".join(f"<li>{text(said)}</li>" for said in content["findings"]) + "</ul>"
    judged = [Claim(**claim) for claim in content["claims"]]
    if judged:
        rows = [[text(one.sentence), f"<b>{one.verdict}</b>", text(one.evidence)] for one in judged]
        yield "<h2>The report's claims, on this data</h2>" + page.table(("claim", "verdict", "figures"), rows)
    yield "<h2>Figures</h2><p class='quiet'>As files in figures/ (SVG and PNG); every curve in curves/ (CSV).</p>"
    yield from figures
    yield "<h2>How to repeat it</h2>" + repeat(plan)
    yield circumstances(plan, found)


def result_table(found: Sequence[Outcome], content: dict[str, Any]) -> str:
    heads = ("setting", "PSNR, dB", "SSIM", "best future, dB", "drift, dB", "rate, nats", "active units", "seeds")
    rows = []
    for one in found:
        values = content["settings"][one.name]
        name = text(one.name) + (" <b>(best)</b>" if content["best"] == one.name else "")
        failed = f", {len(one.failures)} failed" if one.failures else ""
        row = [text(values[label]["text"]) for label in COLUMNS]
        rows.append([name, *row, f"{len(one.runs)}{failed}"])
    for key, label in BASELINES.items():
        rows.append([f'<span class="base">{text(label)}</span>', shown(content["baselines"][key]), *[""] * 6])
    marked = "is marked" if content["best"] else "would be marked, and none is,"
    note = (
        "Mean ± half of the 95 % interval over seeds (Student's t). PSNR of rollouts by the prior's mean. A best "
        f"setting {marked} only where it is above every other one beyond the noise: the interval of the differences, "
        "paired by seed, leaves out 0. Drift: what errors in earlier frames have cost over the last 100 frames."
    )
    failures = "".join(
        f"<p>{text(one.name)}, seed {seed}: {text(why)}</p>" for one in found for seed, why in one.failures.items()
    )
    return page.table(heads, rows) + f'<p class="quiet">{text(note)}</p>' + failures


def repeat(plan: Plan) -> str:
    """For each setting the commands that train and score its first run; other seeds differ in --seed alone."""
    parts = []
    for run in plan.runs[: len(plan.configs)]:
        train = ["posecast", "train", "--data", str(plan.data), "--out", "RUN", *as_flags(run.config)]
        score = ["posecast", "evaluate", "RUN", "--data", str(plan.data), "--futures", str(plan.futures)]
        lines = "\n".join(shlex.join(words) for words in (train, score))
        parts.append(f"<h3>{text(run.setting)}</h3><pre>{text(lines)}</pre>")
    return f"<p>Seeds: {', '.join(map(str, plan.seeds))} (--seed).</p>" + "".join(parts)


def circumstances(plan: Plan, found: Sequence[Outcome]) -> str:
    """How the scores are defined, and on what machines the runs were made."""
    runs: list[Run] = [run for one in found for run in one.runs.values()]
    if not runs:
        return ""
    machines = {
        ", ".join(str(machine.get(k)) for k in ("device", "processor", "precision") if machine.get(k))
        for run in runs
        if isinstance(machine := run.config.get("machine"), dict)
    }
    return page.facts(
        {
            "PSNR": runs[0].scores.get("psnr"),
            "SSIM": runs[0].scores.get("ssim"),
            "Active units": (runs[0].scores.get("latent") or {}).get("active"),
            "Scored on": runs[0].scores.get("split"),
            "Futures": plan.futures,
            "Machine": "; ".join(sorted(machines)),
            "Updates a run": "; ".join(f"{one.name}: {updates(one)}" for one in found if one.runs),
        }
    )


def updates(one: Outcome) -> str:
    return " or ".join(sorted({str(run.log[-1]["step"]) for run in one.runs.values() if run.log}))
