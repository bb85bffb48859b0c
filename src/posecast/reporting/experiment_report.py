"""Comparison of an experiment's settings: one page, its figures and curves as files, its numbers as JSON.

In: a plan, finished or not. Out: DIR/comparison.html, comparison.json, figures/NAME.svg and .png,
curves/NAME.csv. Every number comes from `experiments/statistics.py` and `experiments/findings.py`; torch is not
imported. `templates/experiment.html.j2` lays the page out. Next: `experiment_figures.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posecast.config.overrides import as_flags
from posecast.errors import InputError, shown
from posecast.evaluation.results import WRONG_FORM
from posecast.experiments.findings import claims, findings
from posecast.experiments.plan import Plan
from posecast.experiments.statistics import Outcome, best_of, estimate, outcomes, psnr_db
from posecast.files import write_json, write_text
from posecast.reporting.experiment_figures import drawings_of, drawn, write_curves, write_rows
from posecast.reporting.html import inline_figure, render
from posecast.reporting.plots import COLOURS, save
from posecast.reporting.run_report import BASELINES, machine_name

COLUMNS = {
    "psnr_db": (("summary", "psnr_db", "mean"), 2),
    "ssim": (("summary", "ssim", "mean"), 3),
    "best_of_futures_psnr_db": (("summary", "psnr_db", "best"), 2),
    "drift_db": (("drift", "difference_db"), 2),
    "rate_nats": (("latent", "rate_nats"), 2),
    "active_units": (("latent", "active_units"), 0),
}
"""Key of a number in comparison.json: its keys in scores.json, and decimal places."""
INTERVAL_DEFINITION = (
    "Student's t at 95 % over seeds, each interval for itself, on the same validation recordings, which also chose the "
    "weights of each run; 'best' and 'beyond the noise': differences paired by seed, all pairs of settings tested "
    "together by Holm's correction at 5 %"
)
TIMES = ("seconds", "frames_per_second")
"""Keys of log.jsonl that differ between repetitions."""


def write_comparison(plan: Plan) -> dict[str, Any]:
    """Write the comparison of the finished runs into the plan's folder.

    Returns:
        The content of comparison.json. Numbers that are unknown are NaN here and null in the file.

    Raises:
        InputError: A run's files are damaged, or have another form than posecast writes.
    """
    try:
        return _write(plan, outcomes(plan))
    except InputError:
        raise
    except WRONG_FORM as error:
        raise InputError(
            f"{plan.out} has a run whose scores, log or configuration have another form than posecast writes "
            f"({shown(error)}); see 'posecast check' of each run, and remove the one that is wrong."
        ) from error


def _write(plan: Plan, results: Sequence[Outcome]) -> dict[str, Any]:
    colours = {outcome.name: COLOURS[k % len(COLOURS)] for k, outcome in enumerate(results)}
    figures = []
    for drawing in drawings_of(results):
        if not drawing.lines:
            continue
        figure = drawn(drawing, colours)
        for ending in ("svg", "png"):
            save(figure, plan.out / "figures" / f"{drawing.name}.{ending}")
        write_curves(plan.out / "curves" / f"{drawing.name}.csv", drawing)
        figures.append(inline_figure(drawing.title, drawn(drawing, colours, legend=False)))
    _write_log(plan.out / "curves" / "log.csv", results)
    comparison = _comparison(plan, results)
    write_json(plan.out / "comparison.json", comparison)
    page = render(
        "experiment.html.j2",
        title=plan.question,
        comparison=comparison,
        num_runs=len(plan.runs),
        unfinished=[run.name for run in plan.runs if not run.finished],
        figures=figures,
        colours=colours,
        commands=_commands(plan),
        facts_of_runs=_facts(plan, results),
    )
    write_text(plan.out / "comparison.html", page)
    return comparison


def _comparison(plan: Plan, results: Sequence[Outcome]) -> dict[str, Any]:
    """Return the table, findings and verdicts as plain values, without times, so that a repetition gives the same."""
    best = best_of([outcome for outcome in results if outcome.runs], psnr_db)
    runs = [run for outcome in results for run in outcome.runs.values()]
    return {
        "experiment": plan.name,
        "seeds": list(plan.seeds),
        "finished": all(run.finished for run in plan.runs),
        "interval": INTERVAL_DEFINITION,
        "settings": {
            outcome.name: {
                **{label: _estimate(outcome, *column) for label, column in COLUMNS.items()},
                "seeds": sorted(outcome.runs),
                "failures": {str(seed): reason for seed, reason in outcome.failures.items()},
            }
            for outcome in results
        },
        "baselines": {key: estimate([run.score("baselines", key) for run in runs]).mean for key in BASELINES},
        "best": best.name if best else None,
        "findings": findings(results),
        "claims": [vars(claim) for claim in claims(plan.name, results)],
    }


def _estimate(outcome: Outcome, keys: tuple[str, ...], places: int) -> dict[str, Any]:
    value = outcome.estimate(lambda run: run.score(*keys))
    return {"mean": value.mean, "half_width": value.half_width, "text": value.shown(places)}


def _write_log(path: Path, results: Sequence[Outcome]) -> None:
    """Write every line of every run's log, without times."""
    runs = [(outcome.name, seed, run) for outcome in results for seed, run in sorted(outcome.runs.items())]
    keys = dict.fromkeys(key for *_, run in runs for entry in run.log for key in entry if key not in TIMES)
    rows = [(name, seed, *(entry.get(key) for key in keys)) for name, seed, run in runs for entry in run.log]
    write_rows(path, ("setting", "seed", *keys), rows)


def _commands(plan: Plan) -> dict[str, str]:
    """Return the commands that train and score each setting's first run; other seeds differ in --seed alone."""
    commands = {}
    for run in plan.runs[: len(plan.configs)]:
        train = ["posecast", "train", "--data", str(plan.data), "--out", "RUN", *as_flags(run.config)]
        score = ["posecast", "evaluate", "RUN", "--data", str(plan.data), "--futures", str(plan.futures)]
        commands[run.setting] = f"{shlex.join(train)}\n{shlex.join(score)}"
    return commands


def _facts(plan: Plan, results: Sequence[Outcome]) -> dict[str, Any]:
    """Return the definitions of the metrics and the machines of the runs; empty where no run is finished."""
    runs = [run for outcome in results for run in outcome.runs.values()]
    if not runs:
        return {}
    return {
        "PSNR": runs[0].scores.get("psnr"),
        "SSIM": runs[0].scores.get("ssim"),
        "Active units": (runs[0].scores.get("latent") or {}).get("active"),
        "Scored on": runs[0].scores.get("split"),
        "Futures": plan.futures,
        "Machine": "; ".join(sorted({machine_name(run) for run in runs} - {""})),
        "Updates per run": "; ".join(f"{outcome.name}: {_updates(outcome)}" for outcome in results if outcome.runs),
    }


def _updates(outcome: Outcome) -> str:
    return " or ".join(sorted({str(run.log[-1]["step"]) for run in outcome.runs.values() if run.log}))
