"""What z means: variants of the latent trained for equal time, and what it does on recordings held out.

In: a data set, a grid of variants (benchmarks/latent.toml). Out: a folder of runs, and one table in Markdown. Where the
data set is the synthetic dancer's (synth.json), more dances of the same look are drawn and scored, with their hidden
factors; else the validation recordings are, and there are no factors. What is finished is skipped.
Run: `python benchmarks/latent.py --data DANCER --out OUT --variants collapsed,stationary --minutes 10`.
Next: `src/posecast/evaluation.py` computes all figures, docs/latent.md explains them.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posecast.config.schema import Config, parse_size
from posecast.data.cache import load_footage
from posecast.data.dancer.dance import FACTORS, LIGHT_MEMORY, SMALLEST_MSE, Dance, Hidden, dance, hidden_factors, paint
from posecast.data.recordings import Recording
from posecast.evaluation import evaluate as evaluation
from posecast.evaluation.factor_probe import fit_probe, recorded_factors
from posecast.experiments.grids import configurations, read_grid
from posecast.files import read_json, read_json_lines, write_json
from posecast.model.anchored import AnchoredNetworks
from posecast.model.checkpoint import load_run
from posecast.model.predictor import Predictor
from posecast.model.priors import StationaryPrior
from posecast.training.train import train

GRID = Path(__file__).with_suffix(".toml")
FIRST_SEED = 900
"""Of the dances drawn for scoring."""


def main() -> None:
    asked = arguments()
    budget = {"steps": asked.steps} if asked.steps else {"minutes": asked.minutes}
    configs = configurations(read_grid(asked.grid), flags={**budget, "seed": asked.seed})
    names = asked.variants.split(",") if asked.variants else list(configs)
    for name in names:
        scored_run(name, configs[name], asked)
    print(table(names, asked.out))
    if (asked.data / "synth.json").exists():
        print(limits(names, asked))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What z means, variant by variant, at equal time.")
    parser.add_argument("--data", type=Path, required=True, help="a data set; the synthetic dancer has hidden factors")
    parser.add_argument("--out", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--grid", type=Path, default=GRID, help="the variants (default: %(default)s)")
    parser.add_argument("--variants", help="names out of the grid, with commas between (default: all)")
    parser.add_argument("--minutes", type=float, default=10.0, help="training time of a run (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="updates of a run, instead of --minutes")
    parser.add_argument("--seed", type=int, default=0, help="of training (default: %(default)s)")
    parser.add_argument("--dances", type=int, default=4, help="dances drawn for scoring (default: %(default)s)")
    parser.add_argument("--futures", type=int, default=20, help="futures sampled (default: %(default)s)")
    return parser.parse_args()


def scored_run(name: str, config: Config, asked: argparse.Namespace) -> None:
    """Train and score one variant, unless that is done."""
    run = asked.out / name
    if (run / "latent.json").exists():
        return
    print(name, flush=True)
    size = parse_size(config.size)
    footage = load_footage(asked.data, size)
    train(config, footage, run, resume=True)
    predictor = load_run(run)
    recordings, hidden = to_be_scored(asked.data, footage.train, footage.validation, asked.dances)
    scores = evaluation.evaluate(predictor, recordings, training=footage.train, hidden=hidden, futures=asked.futures)
    log = read_json_lines(run / "log.jsonl")
    content = scores.as_json() | {
        "parameters": sum(one.numel() for one in predictor.parameters()),
        "updates": log[-1]["step"],
        "minutes": sum(entry["seconds"] for entry in log) / 60.0,
        "paces": paces(predictor),
    }
    write_json(run / "latent.json", content)
    print(json.dumps({"psnr": content["summary"]["psnr_db"], "paces": content["paces"]}), flush=True)


def to_be_scored(
    data: Path, train: Sequence[Recording], validation: Sequence[Recording], count: int
) -> tuple[Sequence[Recording], evaluation.Hidden | None]:
    """Fresh dances of the data set's look with their factors, or the validation recordings."""
    known = recorded_factors(data, "train", train)
    reader = fit_probe(train, known) if known else None
    if reader is None or not (data / "synth.json").exists():
        return validation, None
    dances = drawn_dances(read_json(data / "synth.json", "what the dancer was drawn from"), count)
    recorded = [{name: one.hidden[name] for name in one.hidden.names} for one in dances]
    return [one.recording for one in dances], evaluation.Hidden(reader, recorded)


def drawn_dances(made: dict[str, Any], count: int) -> list[Dance]:
    """Dances of a data set's look that are in none of its recordings."""
    return [
        dance(made["frames"], size=tuple(made["size"]), seed=FIRST_SEED + k, look=made["look"], hidden=made["hidden"])
        for k in range(count)
    ]


def paces(predictor: Predictor) -> list[dict[str, float]]:
    """Memory and period in frames of each pair of channels of a stationary prior; empty for others."""
    networks = predictor.networks
    if not isinstance(networks, AnchoredNetworks) or not isinstance(networks.prior_of_z, StationaryPrior):
        return []
    angles = np.abs(networks.prior_of_z.angle.detach().numpy())
    memories = networks.prior_of_z.memories().detach().numpy()
    return [
        {"memory": round(float(m), 1), "period": round(2 * math.pi / max(float(a), 1e-3), 1)}
        for m, a in zip(memories, angles, strict=True)
    ]


def table(names: Sequence[str], out: Path) -> str:
    """One row a variant; then its factors."""
    head = (
        "variant | PSNR mean | sample | best | reconstruction | nats/frame | active | drift dB | "
        "truth within 50 %, 90 % of the futures' spread | with the likelihood | bound plain, weighted | updates"
    )
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    factors = [
        "| variant | factor | R² read | R² posterior | deviation prior / truth | futures apart / truth | "
        "time constant prior / truth |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        path = out / name / "latent.json"
        if path.exists():
            found = read_json(path, "a run's figures")
            lines.append(row(name, found))
            factors += [factor_row(name, one) for one in found["factors"]]
    return "\n".join([*lines, "", *factors])


def limits(names: Sequence[str], asked: argparse.Namespace) -> str:
    """What futures of the dancer's own process would score, each painted with the error a variant paints with.

    They begin in the photo's light, and differ from the truth as much as they must. The error is that of z from the
    posterior. Best of n cannot gain more over the average future than these do.
    """
    made = read_json(asked.data / "synth.json", "what the dancer was drawn from")
    mse = [futures_mse(one, asked.futures) for one in drawn_dances(made, asked.dances)]
    lines = ["| futures of the dancer's own process, painted as by | average | best | gain dB |", "|---|---|---|---|"]
    for name in ("nobody: without error", *names):
        path = asked.out / name / "latent.json"
        found = read_json(path, "a run's figures") if path.exists() else None
        error = 10 ** (-found["reconstruction"]["psnr_db"] / 10) if found else 0.0
        psnr = [(-10 * np.log10(np.maximum(one + error, SMALLEST_MSE))).mean(1) for one in mse]  # [futures] each
        average, best = np.mean([one.mean() for one in psnr]), np.mean([one.max() for one in psnr])
        lines.append(f"| {name} | {average:.2f} | {best:.2f} | {best - average:.2f} |")
    return "\n".join(lines)


def futures_mse(truth: Dance, count: int) -> np.ndarray:
    """Squared error `[futures, T-1]` of the same dance in other lights and with another scarf, from the same photo."""
    rng, num_frames = np.random.default_rng(0), len(truth.points)
    fading = np.exp(-np.arange(num_frames) / LIGHT_MEMORY)[:, None]
    errors = []
    for _ in range(count):
        values = hidden_factors(num_frames, rng, truth.strength).values
        # A linear process begun elsewhere differs by what fades: exact for the light.
        values[:, :2] += fading * (truth.hidden.values[0, :2] - values[0, :2])
        painted = paint(truth.points, Hidden(FACTORS, values), truth.recording.size, truth.look)
        difference = (painted[1:].astype(np.float32) - truth.recording.frames[1:]) / 255
        errors.append(np.square(difference).mean((1, 2, 3)))
    return np.stack(errors)


def row(name: str, found: dict[str, Any]) -> str:
    psnr, latent, calibration = found["summary"]["psnr_db"], found["latent"], found["calibration"]
    within = {level: k for k, level in enumerate(calibration["levels"])}

    def covered(kind: str) -> str:
        return ", ".join(f"{100 * calibration[kind][within[level]]:.0f} %" for level in (0.5, 0.9))

    cells = (
        name,
        *(f"{psnr[kind]:.2f}" for kind in ("mean", "sample", "best")),
        f"{found['reconstruction']['psnr_db']:.2f}",
        f"{latent['rate_nats']:.1f}",
        f"{latent['active_units']} of {latent['units']}",
        f"{found['drift']['difference_db']:.2f}" if found["drift"] else "",
        covered("spread"),
        covered("predictive"),
        f"{found['bounds']['plain']:.0f}, {found['bounds']['weighted']:.0f}",
        str(found["updates"]),
    )
    return "| " + " | ".join(cells) + " |"


def factor_row(name: str, one: dict[str, Any]) -> str:
    truth, prior = one["truth"], one["prior"]
    cells = (
        name,
        one["name"],
        f"{one['reader_r2']:.2f}",
        f"{one['posterior_r2']:.2f}",
        f"{prior['deviation']:.4f} / {truth['deviation']:.4f} = {prior['deviation'] / truth['deviation']:.2f}",
        f"{one['apart'] / truth['deviation']:.2f}",
        f"{prior['time_constant']:.0f} / {truth['time_constant']:.0f} = "
        f"{prior['time_constant'] / truth['time_constant']:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
