"""Run folders to one HTML page that needs nothing else: scores, curves, pictures, configuration.

In: folders with config.json, log.jsonl, perhaps scores.json and samples/. Out: one file, no script, no request.
Says where each number comes from and computes none of them. Knows no torch. Next: `evaluate.py`, which scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from posecast.config.schema import flattened
from posecast.errors import InputError
from posecast.evaluation.results import Run, number, read_run
from posecast.files import write_text
from posecast.reporting import html as page
from posecast.reporting.html import bar, shown, text
from posecast.reporting.latent import latent_section
from posecast.reporting.plots import COLOURS, Curve

BASELINES = {
    "nearest_pose": "Frame of the nearest training pose",
    "mean_frame": "Mean training frame",
    "copy_first_frame": "First frame, copied",
}
PANELS = (
    ("Loss", "loss"),
    ("Validation PSNR of the prior's mean, dB", "psnr_db"),
    ("Rate, nats per frame", "rate"),
    ("Distortion, nats per frame", "distortion"),
    ("KL weight", "kl_weight"),
    ("Teacher-forcing rate", "teacher_forcing_rate"),
    ("Learning rate", "learning_rate"),
)
"""Title of a plot and its key in log.jsonl; `validation_` before the key is drawn too where it is logged."""


def write_report(run_folders: Sequence[Path], out: Path, *, force: bool = False) -> None:
    """Write one page to `out`: about one run, or comparing several. The same folders give the same bytes.

    An earlier report is replaced. Any other file is an InputError, unless `force`; so is a folder that is no run.
    """
    if not run_folders:
        raise InputError("No run was named; name at least one run folder.")
    if out.is_dir():
        raise InputError(f"{out} is a folder; expected the name of an HTML file to write.")
    if out.exists() and not force and not _is_report(out):
        raise InputError(f"{out} is not a posecast report; choose another name, or replace it with --force.")
    names = [folder.resolve().name for folder in run_folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in run_folders]
    runs = [read_run(folder, name) for folder, name in zip(run_folders, names, strict=True)]
    try:
        whole = page.page(_title(runs), _about_one(*runs) if len(runs) == 1 else _about_several(runs))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:  # JSON, but not what we write
        named = " or ".join(str(folder) for folder in run_folders)
        raise InputError(
            f"{named} has scores, a log or a configuration of another form than posecast writes ({error!r}); "
            "see 'posecast check', and evaluate it again."
        ) from error
    write_text(out, whole)


def _title(runs: Sequence[Run]) -> str:
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared"


def _about_one(run: Run) -> list[str]:
    return [_headline(run), _curves([run]), *_evidence(run)]


def _about_several(runs: Sequence[Run]) -> list[str]:
    body = [_comparison(runs), _curves(runs)]
    for run in runs:
        body += [f"<h2>{text(run.name)}</h2>", _headline(run), *_evidence(run)]
    return body


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return page.MARKER.encode() in file.read(200)


def _comparison(runs: Sequence[Run]) -> str:
    kinds = ("mean", "sample", "best")
    largest = _largest(run.score("summary", "psnr_db", kind) for run in runs for kind in kinds)
    rows = [
        [f'{text(run.name)}<br><span class="base">{text(run.config.get("recipe", ""))}</span>']
        + [bar(run.score("summary", "psnr_db", kind), largest) for kind in kinds]
        + [shown(run.score("baselines", "nearest_pose"))]
        for run in runs
    ]
    note = (
        "PSNR in dB. Mean: z is the prior's mean. Sample: the average over sampled futures. Best: per sequence, the "
        "future closest to the truth, known only afterwards. Nearest pose: a baseline without a model."
    )
    return page.table(("run", *kinds, "nearest pose"), rows) + f'<p class="quiet">{note}</p>'


def _largest(values: Iterable[float]) -> float:
    return max((value for value in values if math.isfinite(value)), default=0.0)


def _headline(run: Run) -> str:
    """The scores beside the baselines, and how they came about; or a sentence that there are none."""
    if not run.scores:
        return f"<p>Not scored yet: this run has no scores.json.</p>{_circumstances(run)}"
    futures = shown(run.score("summary", "futures"), 0)
    predictions = {
        "mean": "Prior's mean",
        "sample": f"Average of {futures} futures",
        "best": f"Best of {futures} futures, chosen by the truth",
    }
    psnr_db = {label: run.score("summary", "psnr_db", kind) for kind, label in predictions.items()}
    ssim = {label: run.score("summary", "ssim", kind) for kind, label in predictions.items()}
    baseline_db = {label: run.score("baselines", key) for key, label in BASELINES.items()}
    largest = _largest([*psnr_db.values(), *baseline_db.values()])
    rows = [[text(label), bar(value, largest), shown(ssim[label], 3)] for label, value in psnr_db.items()]
    rows += [
        [f'<span class="base">{text(label)}</span>', bar(value, largest, "base"), ""]
        for label, value in baseline_db.items()
    ]
    return page.table(("prediction", "PSNR, dB", "SSIM"), rows) + _circumstances(run)


def _circumstances(run: Run) -> str:
    """How it was measured and made: without it the numbers mean nothing."""
    machine = run.config.get("machine")
    machine = machine if isinstance(machine, dict) else {}
    minutes = math.fsum(value for value in run.column("seconds") if math.isfinite(value)) / 60
    return page.facts(
        {
            "PSNR": run.scores.get("psnr"),
            "SSIM": run.scores.get("ssim"),
            "Scored on": run.scores.get("split"),
            "Weights chosen on": run.scores.get("selected_on"),
            "Scoring seed": run.scores.get("seed"),
            "Recipe": run.config.get("recipe"),
            "Training seed": run.config.get("seed"),
            "Device": ", ".join(str(machine[k]) for k in ("device", "processor", "precision") if machine.get(k)),
            "Training": f"{minutes:.1f} minutes, {len(run.log)} epochs" if run.log else "nothing logged yet",
            "Skipped updates": shown(math.fsum(n for n in run.column("skipped_updates") if math.isfinite(n)), 0),
        }
    )


def _curves(runs: Sequence[Run]) -> str:
    """One small plot for each logged quantity; training solid, validation dashed."""
    colours = {run.name: COLOURS[k % len(COLOURS)] for k, run in enumerate(runs)}
    plots = []
    for title, key in PANELS:
        curves = []
        for run in runs:
            validation = colours[run.name] if len(runs) > 1 else COLOURS[1]
            epochs = run.column("epoch")
            curves.append(Curve(epochs, run.column(key), colours[run.name]))
            curves.append(Curve(epochs, run.column(f"validation_{key}"), validation, "--"))
        seen = [value for curve in curves for value in curve.y if math.isfinite(value)]
        if seen:
            plots.append(page.plot(title, curves, "epoch", logarithmic=key == "loss" and min(seen) > 0))
    if not plots:
        return ""
    if len(runs) > 1:
        legend = page.legend(colours, "Dashed: validation, without teacher forcing.")
    else:
        legend = page.legend({"training": COLOURS[0], "validation, without teacher forcing": COLOURS[1]})
    return f'<h2>Training</h2>{legend}<div class="grid">{"".join(plots)}</div>'


def _evidence(run: Run) -> list[str]:
    """Frame by frame: PSNR, drift, reconstruction, pictures; then the configuration, folded."""
    parts = [_frame_plots(run), _drift(run)]
    if run.pictures:
        parts += ["<h3>Predictions beside the truth</h3>", *(page.picture(path) for path in run.pictures)]
    parts.append(latent_section(run))
    return [*parts, f"<details><summary>Configuration</summary>{page.facts(_flat_settings(run.config))}</details>"]


def _frame_plots(run: Run) -> str:
    kinds = {"sample": COLOURS[1], "best": COLOURS[2], "mean": COLOURS[0]}  # the mean is drawn last, on top
    sequences = run.scores.get("sequences")
    levels = [run.score("baselines", key) for key in BASELINES]
    plots = []
    for sequence in sequences if isinstance(sequences, list) else ():
        psnr_db = {kind: [number(v) for v in sequence["psnr_db"][kind]] for kind in kinds}
        curves = [Curve(range(2, len(y) + 2), y, kinds[kind]) for kind, y in psnr_db.items()]
        title = f"Sequence {sequence.get('name', '')}"
        plots.append(page.plot(title, curves, "frame", levels=levels, wide=True))
    if not plots:
        return ""
    named = {"prior's mean": kinds["mean"], "average of the futures": kinds["sample"], "best future": kinds["best"]}
    remark = "Grey, averages: nearest training pose dashed, mean frame dash-dotted, first frame dotted."
    return f"<h3>PSNR of each frame, dB</h3>{page.legend(named, remark)}{''.join(plots)}"


def _drift(run: Run) -> str:
    values = {key: run.score("drift", key) for key in ("last_psnr_db", "restarted_psnr_db", "difference_db")}
    if not any(math.isfinite(value) for value in values.values()):
        return ""
    last, restarted, difference = map(shown, values.values())
    return (
        f"<h3>Drift</h3><p>The last {shown(run.score('drift', 'frames'), 0)} frames of a rollout reach {last} dB. "
        f"Rolled out anew from the true frame before them, they reach {restarted} dB: errors in earlier "
        f"frames have cost {difference} dB by then. Near 0, errors do not add up.</p>"
    )


def _flat_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """A configuration as rows of a table."""
    return {name: str(value) for name, value in flattened(dict(config)).items()}
