"""Generalisation to unseen people: models trained on N looks of the dancer, scored on other looks.

In: numbers. Out: a folder of runs, and one table in Markdown. All models train on the same number of frames, divided
equally among their looks. Baselines for each unseen look: a model trained on it (`--own`), the same dance drawn with
the training look that is nearest the truth, and a copy of the first frame. Finished runs are skipped.
Run: `python benchmarks/looks.py --out OUT --looks 4,16,64 --minutes 20`. Next: docs/lab-notes/people.md.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from posecast.config.recipes import RECIPES
from posecast.config.schema import Budget
from posecast.data.dancer.dance import dance
from posecast.data.dancer.renderer import CHOSEN_LOOKS
from posecast.data.images import write_png
from posecast.data.recordings import Footage, Recording
from posecast.evaluation.contact_sheet import contact_sheet
from posecast.evaluation.evaluate import mean_rollout
from posecast.evaluation.metrics import psnr_db
from posecast.files import read_json, read_json_lines, write_json
from posecast.model.checkpoint import load_run
from posecast.training.train import train

FIRST_LOOK = CHOSEN_LOOKS
"""First look with random colours; no two looks from here on have the same colours."""
FIRST_UNSEEN = 1000
DANCE_FRAMES = 630


def main() -> None:
    options = arguments()
    unseen = [FIRST_UNSEEN + k for k in range(options.unseen)]
    truths = {look: dance(DANCE_FRAMES, seed=500 + look, look=look).recording for look in unseen}
    for count in options.looks:
        train_once(f"looks-{count}", [FIRST_LOOK + k for k in range(count)], list(truths.values()), options)
    for look in unseen if options.own else ():
        train_once(f"own-{look}", [look], [truths[look]], options)
    for look, truth in truths.items():
        score(look, truth, options)
    print(table(options, unseen))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="PSNR on unseen looks of the dancer, by the number of training looks.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument(
        "--looks",
        type=lambda words: [int(word) for word in words.split(",") if word],
        default=[4, 16, 64],
        help="numbers of training looks, separated by commas; may be empty (default: 4,16,64)",
    )
    parser.add_argument("--unseen", type=int, default=3, help="number of looks to score on (default: %(default)s)")
    parser.add_argument("--own", action="store_true", help="also train a model on each unseen look")
    parser.add_argument(
        "--frames", type=int, default=19200, help="training frames of each model (default: %(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="training time of a run (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="updates of a run, instead of --minutes")
    return parser.parse_args()


def train_once(name: str, looks: list[int], validation: list[Recording], options: argparse.Namespace) -> None:
    """Train a model on an equal share of frames of each look, unless that is done."""
    run = options.out / name
    if (run / "done.json").exists():
        return
    print(name, flush=True)
    share = options.frames // len(looks)
    recordings = [dance(share, seed=look, look=look).recording for look in looks]
    footage = Footage(recordings, validation, facts={"looks": looks, "frames": share})
    budget = Budget(steps=options.steps) if options.steps else Budget(minutes=options.minutes)
    recipe = RECIPES["people"]
    training = dataclasses.replace(recipe.training, validate_every=10**6)
    config = dataclasses.replace(recipe, budget=budget, training=training)
    train(config, footage, run, resume=True)
    log = read_json_lines(run / "log.jsonl")
    write_json(run / "done.json", {"looks": looks, "updates": log[-1]["step"]})


def score(look: int, truth: Recording, options: argparse.Namespace) -> None:
    """Write the PSNR of every finished model's mean rollout of an unseen look, and a sheet of the frames."""
    target = truth.frames[1:]
    scores_db = {"copy": float(psnr_db(np.broadcast_to(truth.frames[0], target.shape), target).mean())}
    rows = {"pose": list(truth.poses), "truth": list(truth.frames)}
    for run in sorted(options.out.iterdir()):
        if not (run / "done.json").exists() or (run.name.startswith("own-") and run.name != f"own-{look}"):
            continue
        predicted = mean_rollout(load_run(run), truth)
        name = "own" if run.name.startswith("own-") else run.name
        scores_db[name] = float(psnr_db(predicted, target).mean())
        rows[run.name] = [truth.frames[0], *predicted]
        if run.name.startswith("looks-"):
            looks = read_json(run / "done.json", "a finished run")["looks"]
            scores_db[f"nearest of {len(looks)}"] = nearest_look_db(look, truth, looks)
    write_json(options.out / f"unseen-{look}.json", scores_db)
    write_png(options.out / f"unseen-{look}.png", contact_sheet(rows, every=90, scale=4))


def nearest_look_db(look: int, truth: Recording, looks: list[int]) -> float:
    """Return the highest PSNR of the same dance drawn with one of the training looks; hidden factors are the same."""
    return max(
        float(psnr_db(dance(DANCE_FRAMES, seed=500 + look, look=other).recording.frames[1:], truth.frames[1:]).mean())
        for other in looks
    )


def table(options: argparse.Namespace, unseen: list[int]) -> str:
    """Return a table with a row for each prediction and a column for each unseen look."""
    scores_db = {look: read_json(options.out / f"unseen-{look}.json", "scores") for look in unseen}
    names = list(scores_db[unseen[0]])
    lines = ["| prediction | " + " | ".join(f"look {look}" for look in unseen) + " | mean |"]
    lines.append("|" + "---|" * (len(unseen) + 2))
    for name in names:
        values = [scores_db[look].get(name, float("nan")) for look in unseen]
        lines.append(f"| {name} | " + " | ".join(f"{v:.2f}" for v in values) + f" | {np.mean(values):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
