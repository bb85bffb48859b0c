"""How far one photo carries: models trained on N looks of the dancer, and looks that none of them has seen.

In: numbers. Out: a folder of runs, and one table in Markdown. Every model trains on as many frames, shared out among
its looks, so what grows is variety alone. Beside them, for each unseen look: a model trained on that look itself;
the same dance painted with the nearest training look (the one that comes closest to the truth, which is known only
afterwards); and the first frame, copied. What is finished is skipped.
Run: `python benchmarks/looks.py --out OUT --looks 4,16,64 --minutes 20`.
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
"""Looks from here on have colours that are drawn: no two share them."""
FIRST_UNSEEN = 1000
DANCE_FRAMES = 630


def main() -> None:
    asked = arguments()
    unseen = [FIRST_UNSEEN + k for k in range(asked.unseen)]
    truths = {look: dance(DANCE_FRAMES, seed=500 + look, look=look).recording for look in unseen}
    for count in asked.looks:
        trained(f"looks-{count}", [FIRST_LOOK + k for k in range(count)], list(truths.values()), asked)
    for look in unseen if asked.own else ():
        trained(f"own-{look}", [look], [truths[look]], asked)
    for look, truth in truths.items():
        score(look, truth, asked)
    print(table(asked, unseen))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How far one photo carries, by the number of looks trained on.")
    parser.add_argument("--out", type=Path, required=True, help="where runs are kept")
    parser.add_argument(
        "--looks",
        type=lambda words: [int(word) for word in words.split(",") if word],
        default=[4, 16, 64],
        help="numbers of looks, with commas between; may be empty (default: 4,16,64)",
    )
    parser.add_argument("--unseen", type=int, default=3, help="looks to be judged by (default: %(default)s)")
    parser.add_argument("--own", action="store_true", help="train a model on each unseen look itself, too")
    parser.add_argument(
        "--frames", type=int, default=19200, help="training frames of each model (default: %(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="training time of a run (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="updates of a run, instead of --minutes")
    return parser.parse_args()


def trained(name: str, looks: list[int], validation: list[Recording], asked: argparse.Namespace) -> None:
    """Train one model on an equal share of frames of each look, unless that is done."""
    run = asked.out / name
    if (run / "done.json").exists():
        return
    print(name, flush=True)
    share = asked.frames // len(looks)
    recordings = [dance(share, seed=look, look=look).recording for look in looks]
    footage = Footage(recordings, validation, facts={"looks": looks, "frames": share})
    budget = Budget(steps=asked.steps) if asked.steps else Budget(minutes=asked.minutes)
    recipe = RECIPES["people"]
    training = dataclasses.replace(recipe.training, validate_every=10**6)
    config = dataclasses.replace(recipe, budget=budget, training=training)
    train(config, footage, run, resume=True)
    log = read_json_lines(run / "log.jsonl")
    write_json(run / "done.json", {"looks": looks, "updates": log[-1]["step"]})


def score(look: int, truth: Recording, asked: argparse.Namespace) -> None:
    """PSNR of every finished model's mean rollout of one unseen look, and a picture of them."""
    target = truth.frames[1:]
    found = {"copy": float(psnr_db(np.broadcast_to(truth.frames[0], target.shape), target).mean())}
    rows = {"pose": list(truth.poses), "truth": list(truth.frames)}
    for run in sorted(asked.out.iterdir()):
        if not (run / "done.json").exists() or (run.name.startswith("own-") and run.name != f"own-{look}"):
            continue
        painted = mean_rollout(load_run(run), truth)
        found[run.name.split("-")[0] if run.name.startswith("own-") else run.name] = float(
            psnr_db(painted, target).mean()
        )
        rows[run.name] = [truth.frames[0], *painted]
        if run.name.startswith("looks-"):
            known = read_json(run / "done.json", "a finished run")["looks"]
            found[f"nearest of {len(known)}"] = nearest_look(look, truth, known)
    write_json(asked.out / f"unseen-{look}.json", found)
    write_png(asked.out / f"unseen-{look}.png", contact_sheet(rows, every=90, scale=4))


def nearest_look(look: int, truth: Recording, known: list[int]) -> float:
    """PSNR of the same dance painted with that training look which comes closest: no light or scarf differs."""
    return max(
        float(psnr_db(dance(DANCE_FRAMES, seed=500 + look, look=other).recording.frames[1:], truth.frames[1:]).mean())
        for other in known
    )


def table(asked: argparse.Namespace, unseen: list[int]) -> str:
    """One row a prediction, one column an unseen look."""
    found = {look: read_json(asked.out / f"unseen-{look}.json", "scores") for look in unseen}
    names = list(found[unseen[0]])
    lines = ["| prediction | " + " | ".join(f"look {look}" for look in unseen) + " | mean |"]
    lines.append("|" + "---|" * (len(unseen) + 2))
    for name in names:
        values = [found[look].get(name, float("nan")) for look in unseen]
        lines.append(f"| {name} | " + " | ".join(f"{v:.2f}" for v in values) + f" | {np.mean(values):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
