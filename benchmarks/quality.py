"""How faithful rollouts are: named variants trained for equal time, on footage that they are not scored on.

In: a data set, a grid of variants (benchmarks/quality.toml). Out: a folder of runs, and one table in Markdown.
A fold is one training: fold K leaves training recording K out and starts from seed K; the run is scored on that
recording and on val. `all` leaves nothing out (seed 0). What is finished is skipped, so rows are added cheaply.
Run: `python benchmarks/quality.py --data DATA --out OUT --variants default,small --folds 0,1,2`.
Next: `src/posecast/grids.py` has the format of the grid, `src/posecast/evaluation.py` the metrics.
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
"""Blank pose maps in a row, and frames from one gap to the next."""


def main() -> None:
    asked = arguments()
    configs = configurations(
        read_grid(asked.grid), flags={"steps": asked.steps} if asked.steps else {"minutes": asked.minutes}
    )
    names = asked.variants.split(",") if asked.variants else list(configs)
    folds = asked.folds.split(",")
    for fold in folds:
        for name in names:
            scored_run(name, configs[name], fold, asked)
    print(table(names, folds, asked.out, asked.against))
    print(worst(names[0], folds, asked.out))
    if len(folds) > 1:
        for name in names:
            print(averaged(name, folds, asked))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How faithful rollouts are, variant by variant, at equal time.")
    parser.add_argument("--data", type=Path, required=True, help="a data set with at least two training recordings")
    parser.add_argument("--out", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--grid", type=Path, default=GRID, help="the variants (default: %(default)s)")
    parser.add_argument("--variants", help="names out of the grid, with commas between (default: all)")
    parser.add_argument("--folds", default="1", help="numbers, or all, with commas between (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=4.0, help="training time of a run (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="updates of a run, instead of --minutes")
    parser.add_argument("--futures", type=int, default=10, help="futures sampled (default: %(default)s)")
    parser.add_argument("--against", default="default", help="differences are to this variant (default: %(default)s)")
    return parser.parse_args()


def scored_run(name: str, config: Config, fold: str, asked: argparse.Namespace) -> None:
    """Train and score one variant on one fold, unless that is done."""
    run = asked.out / f"{name}-fold{fold}"
    if (run / "quality.json").exists():
        return
    size = parse_size(config.size)
    footage = load_footage(asked.data, size)
    held = [] if fold == "all" else [footage.train[int(fold)]]
    rest = [one for one in footage.train if one not in held]
    config = dataclasses.replace(config, seed=0 if fold == "all" else int(fold))
    print(f"{name}, fold {fold}", flush=True)
    train(config, Footage(rest, footage.validation, facts={"fold": fold}), run, resume=True)
    predictor = load_run(run)
    log = read_json_lines(run / "log.jsonl")
    facts: dict[str, Any] = {
        "parameters": sum(one.numel() for one in predictor.parameters()),
        "updates": log[-1]["step"],
        "minutes": sum(entry["seconds"] for entry in log) / 60.0,
        "frames_per_second": float(np.median([entry["frames_per_second"] for entry in log])),
        "training_psnr_db": -10.0 * float(np.log10(np.mean([entry["mse"] for entry in log[-3:] if entry["mse"]]))),
    }
    for split, recordings in zip(SPLITS, (held, footage.validation), strict=True):
        if recordings:
            scores = evaluate(predictor, recordings, training=rest, futures=asked.futures, split=split)
            gaps, offset = through_gaps(predictor, recordings), room_offset(predictor, recordings)
            facts[split] = {**scores.as_json(), "gaps": gaps, "room_offset": offset}
    write_json(run / "quality.json", facts)
    print(json.dumps({split: facts[split]["summary"]["psnr_db"] for split in SPLITS if split in facts}), flush=True)


def averaged(name: str, folds: Sequence[str], asked: argparse.Namespace) -> str:
    """Test-time averaging: the mean rollouts of a variant's folds on val, averaged pixel by pixel.

    How well two models agree with each other tells how much of their error is chance: what both get wrong alike is
    not in the poses, or not in the footage they were trained on.
    """
    predictors = [load_run(asked.out / f"{name}-fold{fold}") for fold in folds]
    scores, agreements = [], []
    for one in load_footage(asked.data, parse_size(predictors[0].config.size)).validation:
        rollouts = [mean_rollout(predictor, one) for predictor in predictors]
        together = np.rint(np.mean(rollouts, axis=0)).astype(np.uint8)
        scores.append(psnr_db(together, one.frames[1:]).mean())
        agreements += [psnr_db(a, b).mean() for a, b in itertools.combinations(rollouts, 2)]
    times = len(predictors)
    return (
        f"\n{name}: {np.mean(scores):.2f} dB on val when {times} models are averaged, at {times} times the cost; "
        f"two of them agree with each other to {np.mean(agreements):.2f} dB"
    )


def room_offset(predictor: Predictor, recordings: Sequence[Recording]) -> float:
    """How much too bright the room is painted, in values of 255: the mean difference where no limb is near."""
    offsets = []
    for one in recordings:
        difference = mean_rollout(predictor, one).astype(np.float32) - one.frames[1:]
        offsets.append(difference[~near_limbs(one.poses[1:])].mean())
    return float(np.mean(offsets))


def through_gaps(predictor: Predictor, recordings: Sequence[Recording]) -> dict[str, float]:
    """PSNR where pose maps are missing: in gaps of 10 blank maps, in the 10 frames after, and without any gap."""
    inside, after, without = [], [], []
    for one in recordings:
        poses = one.poses.copy()
        gap = np.array([t for start in range(GAP_EVERY, len(one), GAP_EVERY) for t in range(start, start + GAP)])
        gap = gap[gap + GAP < len(one)]
        poses[gap] = 255
        rolled_out = [mean_rollout(predictor, Recording(one.name, one.frames, p)) for p in (poses, one.poses)]
        gapped, whole = (psnr_db(predicted, one.frames[1:]) for predicted in rolled_out)
        inside.append(gapped[gap - 1].mean())
        after.append(gapped[gap + GAP - 1].mean() - whole[gap + GAP - 1].mean())
        without.append(whole[gap - 1].mean())
    return {
        "inside_db": float(np.mean(inside)),
        "without_db": float(np.mean(without)),
        "after_difference_db": float(np.mean(after)),
    }


def table(names: list[str], folds: list[str], out: Path, against: str) -> str:
    """One row a variant and split; figures are means over folds, with 95 % intervals where there are several."""
    head = (
        "variant | scored on | PSNR mean | sample | best | against | SSIM mean, sample, best | drift dB | "
        "ten worst stretches | room's offset | in blank gaps (without) | after gaps | nats/frame | training PSNR | "
        "parameters | frames/s | updates"
    )
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    for split in SPLITS:
        reference = {fold: found for fold in folds if (found := result(out, against, fold)) and split in found}
        for name in names:
            runs = {fold: found for fold in folds if (found := result(out, name, fold)) and split in found}
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
                over(lambda run: float(np.mean([one.psnr_db for one in stretches(run, split)]))),
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
    """The ten worst stretches of a run's rollouts on a split."""
    rows = {one["name"]: np.array(one["psnr_db"]["mean"]) for one in run[split]["sequences"]}
    return worst_stretches(rows)


def worst(name: str, folds: list[str], out: Path) -> str:
    """Where the first variant fails, one row a stretch."""
    lines = [
        f"\nThe worst stretches of {name}:\n",
        "| fold | scored on | recording | frames | PSNR |",
        "|---|---|---|---|---|",
    ]
    runs = [(fold, result(out, name, fold) or {}) for fold in folds]
    lines += [
        f"| {fold} | {split} | {one.sequence} | {one.first}-{one.last} | {one.psnr_db:.2f} |"
        for fold, run in runs
        for split in SPLITS
        if split in run
        for one in stretches(run, split)
    ]
    return "\n".join(lines)


def result(out: Path, name: str, fold: str) -> dict | None:
    """A finished run's figures."""
    path = out / f"{name}-fold{fold}" / "quality.json"
    return read_json(path, "a run's figures") if path.exists() else None


if __name__ == "__main__":
    main()
