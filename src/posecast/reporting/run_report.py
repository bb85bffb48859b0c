"""Report of one run, or of several compared: scores, curves, images, configuration.

In: run folders with config.json, log.jsonl, perhaps scores.json and samples/. Out: one HTML file.
The values are collected here and laid out by `templates/run.html.j2`; no metric is computed, and torch is not
imported. Next: `evaluation/evaluate.py`, which computes the scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from posecast.config.schema import flattened
from posecast.errors import InputError, counted, shown
from posecast.evaluation.results import WRONG_FORM, Run, number, read_run
from posecast.files import write_text
from posecast.reporting.html import InlineFigure, embedded_image, plot, render
from posecast.reporting.latent import latent_values
from posecast.reporting.plots import COLOURS, Curve

MARKER = b"<!-- posecast report -->"
"""Comment at the start of every page, written by `templates/base.html.j2`."""
KINDS = ("mean", "sample", "best")
DRAWN_BASELINES = ("nearest_pose", "mean_frame", "copy_first_frame")
"""Keys in scores.json of the baselines that plots draw, as dashed, dash-dotted and dotted lines."""
BASELINES = (*DRAWN_BASELINES, "mean_of_8_nearest_poses")
FRAME_COLOURS = {"prior mean": COLOURS[0], "average of the futures": COLOURS[1], "best future": COLOURS[2]}
PANELS = (
    ("Loss", "loss"),
    ("Validation PSNR of the prior mean, dB", "psnr_db"),
    ("Rate, nats per frame", "rate"),
    ("Distortion, nats per frame", "distortion"),
    ("KL weight", "kl_weight"),
    ("Teacher-forcing rate", "teacher_forcing_rate"),
    ("Learning rate", "learning_rate"),
)
"""Title of a plot and its key in log.jsonl; `validation_` before the key is drawn too where it is logged."""


def write_report(run_folders: Sequence[Path], out: Path, *, force: bool = False) -> None:
    """Write one page about one run, or comparing several. The same folders give the same bytes.

    Args:
        run_folders: Folders made by training. Runs whose folders have the same name are shown under their paths.
        out: The HTML file. An earlier report is replaced.
        force: Replace any other file, too.

    Raises:
        InputError: There is no folder, a folder is not a run, its files have another form than posecast writes, or
            `out` is a folder or, without `force`, another file.
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
        page = _report_page(runs)
    except InputError:
        raise
    except WRONG_FORM as error:
        folders = " or ".join(str(folder) for folder in run_folders)
        raise InputError(
            f"{folders} has scores, a log or a configuration of another form than posecast writes ({shown(error)}); "
            "see 'posecast check', and evaluate it again."
        ) from error
    write_text(out, page)


def _is_report(path: Path) -> bool:
    if not path.is_file():  # opening a pipe would block
        return False
    with path.open("rb") as file:
        return MARKER in file.read(200)


def _report_page(runs: Sequence[Run]) -> str:
    colours = {run.name: COLOURS[k % len(COLOURS)] for k, run in enumerate(runs)}
    alone = {"training": COLOURS[0], "validation, without teacher forcing": COLOURS[1]}
    return render(
        "run.html.j2",
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared",
        runs=[_run_values(run) for run in runs],
        training_figures=_training_figures(runs, colours),
        training_colours=colours if len(runs) > 1 else alone,
    )


def _run_values(run: Run) -> dict[str, Any]:
    psnr_db = {kind: run.score("summary", "psnr_db", kind) for kind in KINDS}
    baselines_db = {key: run.score("baselines", key) for key in BASELINES}
    drift = {key: run.score("drift", key) for key in ("last_psnr_db", "restarted_psnr_db", "difference_db")}
    return {
        "name": run.name,
        "recipe": run.config.get("recipe", ""),
        "scored": bool(run.scores),
        "num_futures": run.score("summary", "futures"),
        "psnr_db": psnr_db,
        **{key: {kind: run.score("summary", key, kind) for kind in KINDS} for key in ("ssim", "sharpness", "flicker")},
        "baselines_db": baselines_db,
        "largest_prediction_db": _largest(psnr_db.values()),
        "largest_db": _largest([*psnr_db.values(), *baselines_db.values()]),
        "generative": _generative(run),
        "facts": _facts(run),
        "frame_figures": _frame_figures(run),
        "frame_colours": FRAME_COLOURS,
        "drift": {**drift, "frames": run.score("drift", "frames")} if any(map(math.isfinite, drift.values())) else None,
        "pictures": [embedded_image(path) for path in run.pictures],
        "latent": latent_values(run),
        "configuration": {name: str(value) for name, value in flattened(dict(run.config)).items()},
    }


def _generative(run: Run) -> dict[str, Any] | None:
    """Return what z explains and supplies of the squared error, in percent, or None where futures were not compared."""
    ratio, error = (run.score("generative", key) for key in ("ratio", "ratio_standard_error"))
    if not math.isfinite(ratio):
        return None
    shares = {key: 100 * run.score("generative", key) for key in ("explained", "supplied")}
    standard_error = error if math.isfinite(error) else None
    return {**shares, "largest": _largest(shares.values()), "ratio": ratio, "standard_error": standard_error}


def _largest(values: Iterable[float]) -> float:
    return max(filter(math.isfinite, values), default=0.0)


def _facts(run: Run) -> dict[str, Any]:
    """Return the definitions of the metrics, and the circumstances of training and scoring."""
    minutes = math.fsum(filter(math.isfinite, run.column("seconds"))) / 60
    return {
        "PSNR": run.scores.get("psnr"),
        "SSIM": run.scores.get("ssim"),
        "Scored on": run.scores.get("split"),
        "Weights selected on": run.scores.get("selected_on"),
        "Scoring seed": run.scores.get("seed"),
        "Recipe": run.config.get("recipe"),
        "Training seed": run.config.get("seed"),
        "Device": machine_name(run),
        "Training": f"{minutes:.1f} minutes, {counted(len(run.log), 'epoch')}" if run.log else "nothing logged yet",
        "Skipped updates": f"{math.fsum(filter(math.isfinite, run.column('skipped_updates'))):.0f}",
    }


def machine_name(run: Run) -> str:
    """Return the device, processor and precision that a run was trained on, as far as they are recorded."""
    machine = run.config.get("machine")
    facts = machine if isinstance(machine, dict) else {}
    return ", ".join(str(facts[key]) for key in ("device", "processor", "precision") if facts.get(key))


def _training_figures(runs: Sequence[Run], colours: dict[str, str]) -> list[InlineFigure]:
    """Draw each logged quantity over the epochs: training solid, validation dashed."""
    figures = []
    for title, key in PANELS:
        curves = []
        for run in runs:
            validation = colours[run.name] if len(runs) > 1 else COLOURS[1]
            epochs = run.column("epoch")
            curves.append(Curve(epochs, run.column(key), colours[run.name]))
            curves.append(Curve(epochs, run.column(f"validation_{key}"), validation, "--"))
        values = [value for curve in curves for value in curve.y if math.isfinite(value)]
        if values:
            figures.append(plot(title, curves, "epoch", logarithmic=key == "loss" and min(values) > 0))
    return figures


def _frame_figures(run: Run) -> list[InlineFigure]:
    """Draw the PSNR of each predicted frame, one figure for each sequence."""
    sequences = run.scores.get("sequences")
    levels = [run.score("baselines", key) for key in DRAWN_BASELINES]
    mean, sample, best = FRAME_COLOURS.values()
    colours = {"sample": sample, "best": best, "mean": mean}  # the mean is drawn last, on top
    figures = []
    for sequence in sequences if isinstance(sequences, list) else ():
        psnr_db = {kind: [number(value) for value in sequence["psnr_db"][kind]] for kind in colours}
        curves = [Curve(range(2, len(y) + 2), y, colours[kind]) for kind, y in psnr_db.items()]
        figures.append(plot(f"Sequence {sequence.get('name', '')}", curves, "frame", levels=levels, wide=True))
    return figures
