"""Comparison of variants by the quality of their rollouts, trained for equal time and scored on other footage.

In: a data set, a grid of variants (benchmarks/quality.toml). Out: a folder of runs, and one table in Markdown.
Fold K trains with seed K without training recording K, and scores on that recording and on val; fold `all` trains on
all recordings with seed 0. Finished runs are skipped. Next: `experiments/grids.py`, `evaluation/evaluate.py`.
Run: `python benchmarks/quality.py --data DATA --out OUT --variants default,larger --folds 0,1,2`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posecast.config.schema import Config, parse_size
from posecast.data.background import near_limbs
from posecast.data.cache import load_footage
from posecast.data.recordings import Footage, Recording
from posecast.evaluation.evaluate import evaluate, mean_rollout
from posecast.evaluation.metrics import psnr_db, worst_stretches
from posecast.experiments.grids import configurations, read_grid
from posecast.experiments.statistics import estimate
from posecast.files import read_json, read_json_lines, write_json
from posecast.model.checkpoint import load_run
from posecast.model.predictor import Predictor
from posecast.training.train import train

GRID = Path(__file__).with_suffix(".toml")
SPLITS = ("held out", "val")
KINDS = ("mean", "sample", "best")
GAP, GAP_EVERY = 10, 60
"""Number of blank pose maps in a gap, and of frames from the start of a gap to the start of the next."""


def main() -> None:
    options = arguments()
    configs = configurations(
        read_grid(options.grid), flags={"steps": options.steps} if options.steps else {"minutes": options.minutes}
    )
    names = options.variants.split(",") if options.variants else list(configs)
    folds = options.folds.split(",")
    for fold in folds:
        for name in names:
            scored_run(name, configs[name], fold, options)
    print(table(names, folds, options.out, options.against))
    print(worst(names[0], folds, options.out))
    if len(folds) > 1:
        for name in names:
            print(average_of_folds(name, folds, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Quality of the rollouts of variants, at equal training time.")
    parser.add_argument("--data", type=Path, required=True, help="a data set with at least two training recordings")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--grid", type=Path, default=GRID, help="the variants (default: %(default)s)")
    parser.add_argument("--variants", help="names from the grid, separated by commas (default: all)")
    parser.add_argument("--folds", default="1", help="numbers or all, separated by commas (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=4.0, help="training time of a run (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="updates of a run, instead of --minutes")
    parser.add_argument("--futures", type=int, default=10, help="futures sampled (default: %(default)s)")
    parser.add_argument("--against", default="default", help="variant to compare with (default: %(default)s)")
    return parser.parse_args()


def scored_run(name: str, config: Config, fold: str, options: argparse.Namespace) -> None:
    """Train and score a variant on a fold, unless its figures exist."""
    run = options.out / f"{name}-fold{fold}"
    if (run / "quality.json").exists():
        return
    size = parse_size(config.size)
    footage = load_footage(options.data, size)
    held = [] if fold == "all" else [footage.train[int(fold)]]
    rest = [recording for recording in footage.train if recording not in held]
    config = dataclasses.replace(config, seed=0 if fold == "all" else int(fold))
    print(f"{name}, fold {fold}", flush=True)
    train(config, Footage(rest, footage.validation, facts={"fold": fold}), run, resume=True)
    predictor = load_run(run)
    log = read_json_lines(run / "log.jsonl")
    facts: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in predictor.parameters()),
        "updates": log[-1]["step"],
        "minutes": sum(entry["seconds"] for entry in log) / 60.0,
        "frames_per_second": float(np.median([entry["frames_per_second"] for entry in log])),
        "training_psnr_db": -10.0 * float(np.log10(np.mean([entry["mse"] for entry in log[-3:] if entry["mse"]]))),
    }
    for split, recordings in zip(SPLITS, (held, footage.validation), strict=True):
        if recordings:
            scores = evaluate(predictor, recordings, training=rest, futures=options.futures, split=split)
            gaps, offset = psnr_in_gaps(predictor, recordings), background_offset(predictor, recordings)
            facts[split] = {**scores.as_json(), "gaps": gaps, "room_offset": offset}
    write_json(run / "quality.json", facts)
    print(json.dumps({split: facts[split]["summary"]["psnr_db"] for split in SPLITS if split in facts}), flush=True)


def average_of_folds(name: str, folds: Sequence[str], options: argparse.Namespace) -> str:
    """Return the score on val of the average, pixel by pixel, of the mean rollouts of a variant's folds.

    The agreement between two models shows how much of their error is random: an error that both have in common comes
    from information missing in the poses or in the training footage.
    """
    predictors = [load_run(options.out / f"{name}-fold{fold}") for fold in folds]
    scores, agreements = [], []
    for recording in load_footage(options.data, parse_size(predictors[0].config.size)).validation:
        rollouts = [mean_rollout(predictor, recording) for predictor in predictors]
        average = np.rint(np.mean(rollouts, axis=0)).astype(np.uint8)
        scores.append(psnr_db(average, recording.frames[1:]).mean())
        agreements += [psnr_db(a, b).mean() for a, b in itertools.combinations(rollouts, 2)]
    return (
        f"\n{name}: {np.mean(scores):.2f} dB on val for the average of {len(predictors)} models; "
        f"the PSNR between two of them is {np.mean(agreements):.2f} dB"
    )


def background_offset(predictor: Predictor, recordings: Sequence[Recording]) -> float:
    """Return the mean difference to the truth away from the limbs, in units of 1/255; positive is too bright."""
    offsets = []
    for recording in recordings:
        difference = mean_rollout(predictor, recording).astype(np.float32) - recording.frames[1:]
        offsets.append(difference[~near_limbs(recording.poses[1:])].mean())
    return float(np.mean(offsets))


def psnr_in_gaps(predictor: Predictor, recordings: Sequence[Recording]) -> dict[str, float]:
    """Return the PSNR in gaps of 10 blank pose maps, of the same frames without gaps, and the change after a gap."""
    inside, after, without = [], [], []
    for recording in recordings:
        poses, num_frames = recording.poses.copy(), len(recording)
        gap = np.array([t for start in range(GAP_EVERY, num_frames, GAP_EVERY) for t in range(start, start + GAP)])
        gap = gap[gap + GAP < num_frames]
        poses[gap] = 255
        gapped, complete = (
            psnr_db(mean_rollout(predictor, dataclasses.replace(recording, poses=p)), recording.frames[1:])
            for p in (poses, recording.poses)
        )
        inside.append(gapped[gap - 1].mean())
        after.append(gapped[gap + GAP - 1].mean() - complete[gap + GAP - 1].mean())
        without.append(complete[gap - 1].mean())
    return {
        "inside_db": float(np.mean(inside)),
        "without_db": float(np.mean(without)),
        "after_difference_db": float(np.mean(after)),
    }


def table(names: list[str], folds: list[str], out: Path, against: str) -> str:
    """Return a table with a row for each variant and split: means over folds, with 95 % intervals."""
    head = (
        "variant | scored on | PSNR mean | sample | best | against | SSIM mean, sample, best | drift dB | "
        "ten worst stretches | background offset | in blank gaps (without) | after gaps | nats/frame | training PSNR | "
        "parameters | frames/s | updates"
    )
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    for split in SPLITS:
        reference = {fold: run for fold in folds if (run := result(out, against, fold)) and split in run}
        for name in names:
            runs = {fold: run for fold in folds if (run := result(out, name, fold)) and split in run}
            if runs:
                lines.append(row(name, split, runs, reference))
    return "\n".join(lines)


def row(name: str, split: str, runs: dict[str, dict], reference: dict[str, dict]) -> str:
    def over(measure: Any) -> str:
        return str(estimate([measure(run) for run in runs.values()]))

    def psnr(run: dict[str, Any]) -> float:
        return run[split]["summary"]["psnr_db"]["mean"]

    paired = estimate([psnr(run) - psnr(reference[fold]) for fold, run in runs.items() if fold in reference])
    return (
        "| "
        + " | ".join(
            (
                name,
                split,
                *(over(lambda run, kind=kind: run[split]["summary"]["psnr_db"][kind]) for kind in KINDS),
                str(paired),
                ", ".join(
                    f"{np.mean([run[split]['summary']['ssim'][kind] for run in runs.values()]):.3f}" for kind in KINDS
                ),
                over(lambda run: run[split]["drift"]["difference_db"] if run[split]["drift"] else np.nan),
                over(lambda run: float(np.mean([stretch.psnr_db for stretch in stretches(run, split)]))),
                over(lambda run: run[split]["room_offset"]),
                over(lambda run: run[split]["gaps"]["inside_db"])
                + f" ({np.mean([run[split]['gaps']['without_db'] for run in runs.values()]):.2f})",
                over(lambda run: run[split]["gaps"]["after_difference_db"]),
                f"{np.mean([run[split]['latent']['rate_nats'] for run in runs.values()]):.2f}",
                over(lambda run: run["training_psnr_db"]),
                f"{next(iter(runs.values()))['parameters']:,}",
                f"{np.mean([run['frames_per_second'] for run in runs.values()]):.0f}",
                f"{np.mean([run['updates'] for run in runs.values()]):.0f}",
            )
        )
        + " |"
    )


def stretches(run: dict, split: str) -> list[Any]:
    """Return the ten worst stretches of a run's rollouts on a split."""
    rows = {sequence["name"]: np.array(sequence["psnr_db"]["mean"]) for sequence in run[split]["sequences"]}
    return worst_stretches(rows)


def worst(name: str, folds: list[str], out: Path) -> str:
    """Return a table of the worst stretches of a variant."""
    lines = [
        f"\nThe worst stretches of {name}:\n",
        "| fold | scored on | recording | frames | PSNR |",
        "|---|---|---|---|---|",
    ]
    runs = [(fold, result(out, name, fold) or {}) for fold in folds]
    lines += [
        f"| {fold} | {split} | {stretch.sequence} | {stretch.first}-{stretch.last} | {stretch.psnr_db:.2f} |"
        for fold, run in runs
        for split in SPLITS
        if split in run
        for stretch in stretches(run, split)
    ]
    return "\n".join(lines)


def result(out: Path, name: str, fold: str) -> dict | None:
    """Return a finished run's figures, or None."""
    path = out / f"{name}-fold{fold}" / "quality.json"
    return read_json(path, "a run's figures") if path.exists() else None


if __name__ == "__main__":
    main()
