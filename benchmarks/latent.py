"""Comparison of latents and priors trained for equal time, scored on recordings held out.

In: a data set, a grid of variants (benchmarks/latent.toml). Out: a folder of runs, and tables in Markdown. For a data
set of the synthetic dancer, new dances of the same look are scored, with their hidden factors; for another one, its
validation recordings. Finished runs are skipped. Next: `evaluation/evaluate.py`, and docs/explanation/latent.md.
Run: `python benchmarks/latent.py --data DANCER --out OUT --variants collapsed,stationary --minutes 10`.
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
from posecast.data.dancer.dance import (
    FACTORS,
    LIGHT_MEMORY,
    SMALLEST_MSE,
    Dance,
    HiddenFactors,
    dance,
    hidden_factors,
    render_frames,
)
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
"""Seed of the first dance drawn for scoring."""


def main() -> None:
    options = arguments()
    budget = {"steps": options.steps} if options.steps else {"minutes": options.minutes}
    configs = configurations(read_grid(options.grid), flags={**budget, "seed": options.seed})
    names = options.variants.split(",") if options.variants else list(configs)
    for name in names:
        scored_run(name, configs[name], options)
    print(table(names, options.out))
    if (options.data / "synth.json").exists():
        print(limits(names, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Comparison of latents and priors at equal training time.")
    parser.add_argument("--data", type=Path, required=True, help="a data set; the synthetic dancer has hidden factors")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--grid", type=Path, default=GRID, help="the variants (default: %(default)s)")
    parser.add_argument("--variants", help="names from the grid, separated by commas (default: all)")
    parser.add_argument("--minutes", type=float, default=10.0, help="training time of a run (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="updates of a run, instead of --minutes")
    parser.add_argument("--seed", type=int, default=0, help="seed of training (default: %(default)s)")
    parser.add_argument("--dances", type=int, default=4, help="dances drawn for scoring (default: %(default)s)")
    parser.add_argument("--futures", type=int, default=20, help="futures sampled (default: %(default)s)")
    return parser.parse_args()


def scored_run(name: str, config: Config, options: argparse.Namespace) -> None:
    """Train and score a variant, unless its figures exist."""
    run = options.out / name
    if (run / "latent.json").exists():
        return
    print(name, flush=True)
    size = parse_size(config.size)
    footage = load_footage(options.data, size)
    train(config, footage, run, resume=True)
    predictor = load_run(run)
    recordings, hidden = scored_recordings(options.data, footage.train, footage.validation, options.dances)
    scores = evaluation.evaluate(
        predictor, recordings, training=footage.train, hidden=hidden, futures=options.futures, bound=True
    )
    log = read_json_lines(run / "log.jsonl")
    content = scores.as_json() | {
        "parameters": sum(parameter.numel() for parameter in predictor.parameters()),
        "updates": log[-1]["step"],
        "minutes": sum(entry["seconds"] for entry in log) / 60.0,
        "paces": paces(predictor),
    }
    write_json(run / "latent.json", content)
    print(json.dumps({"psnr": content["summary"]["psnr_db"], "paces": content["paces"]}), flush=True)


def scored_recordings(
    data: Path, train: Sequence[Recording], validation: Sequence[Recording], count: int
) -> tuple[Sequence[Recording], evaluation.FactorTargets | None]:
    """Return new dances of the data set's look with their factors, or the validation recordings without."""
    factors = recorded_factors(data, "train", train)
    probe = fit_probe(train, factors) if factors else None
    if probe is None or not (data / "synth.json").exists():
        return validation, None
    dances = drawn_dances(read_json(data / "synth.json", "the parameters of the synthetic data set"), count)
    recorded = [{name: drawn.hidden[name] for name in drawn.hidden.names} for drawn in dances]
    return [drawn.recording for drawn in dances], evaluation.FactorTargets(probe, recorded)


def drawn_dances(made: dict[str, Any], count: int) -> list[Dance]:
    """Draw dances of a data set's look that are in none of its recordings."""
    return [
        dance(made["frames"], size=tuple(made["size"]), seed=FIRST_SEED + k, look=made["look"], hidden=made["hidden"])
        for k in range(count)
    ]


def paces(predictor: Predictor) -> list[dict[str, float]]:
    """Return memory and period, in frames, of each pair of channels of a stationary prior; empty for other priors."""
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
    """Return a table with a row for each variant, and one with a row for each of its factors."""
    head = (
        "variant | PSNR mean | sample | best | reconstruction | nats/frame | active | drift dB | "
        "truth within the futures' 50 %, 90 % interval | with the likelihood | bound plain, weighted | updates"
    )
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    factors = [
        "| variant | factor | R² true frames | R² posterior | deviation prior / truth | between futures / truth | "
        "time constant prior / truth |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        path = out / name / "latent.json"
        if path.exists():
            figures = read_json(path, "a run's figures")
            lines.append(row(name, figures))
            factors += [factor_row(name, factor) for factor in figures["factors"]]
    return "\n".join([*lines, "", *factors])


def limits(names: Sequence[str], options: argparse.Namespace) -> str:
    """Return the scores that futures of the dancer's own process would have, with the decoding error of each variant.

    They start with the hidden factors of the photo. The decoding error is that of frames decoded with z from the
    posterior. The gain of these futures' best of n over their average is an upper limit for the variants.
    """
    made = read_json(options.data / "synth.json", "the parameters of the synthetic data set")
    mse = [futures_mse(truth, options.futures) for truth in drawn_dances(made, options.dances)]
    lines = ["| futures of the dancer's own process, decoded as by | average | best | gain dB |", "|---|---|---|---|"]
    for name in ("no variant: without error", *names):
        path = options.out / name / "latent.json"
        figures = read_json(path, "a run's figures") if path.exists() else None
        error = 10 ** (-figures["reconstruction"]["psnr_db"] / 10) if figures else 0.0
        psnr_db = [(-10 * np.log10(np.maximum(errors + error, SMALLEST_MSE))).mean(1) for errors in mse]  # [futures]
        average, best = np.mean([values.mean() for values in psnr_db]), np.mean([values.max() for values in psnr_db])
        lines.append(f"| {name} | {average:.2f} | {best:.2f} | {best - average:.2f} |")
    return "\n".join(lines)


def futures_mse(truth: Dance, count: int) -> np.ndarray:
    """Return the squared error `[futures, T-1]` of the same dance with other hidden factors, from the same photo."""
    rng, num_frames = np.random.default_rng(0), len(truth.points)
    fading = np.exp(-np.arange(num_frames) / LIGHT_MEMORY)[:, None]
    errors = []
    for _ in range(count):
        values = hidden_factors(num_frames, rng, truth.strength).values
        # The initial difference of a linear process decays; exact for the light, whose process is of first order.
        values[:, :2] += fading * (truth.hidden.values[0, :2] - values[0, :2])
        rendered = render_frames(truth.points, HiddenFactors(FACTORS, values), truth.recording.size, truth.look)
        difference = (rendered[1:].astype(np.float32) - truth.recording.frames[1:]) / 255
        errors.append(np.square(difference).mean((1, 2, 3)))
    return np.stack(errors)


def row(name: str, figures: dict[str, Any]) -> str:
    psnr_db, latent, calibration = figures["summary"]["psnr_db"], figures["latent"], figures["calibration"]
    index = {level: k for k, level in enumerate(calibration["levels"])}

    def coverage(kind: str) -> str:
        return ", ".join(f"{100 * calibration[kind][index[level]]:.0f} %" for level in (0.5, 0.9))

    cells = (
        name,
        *(f"{psnr_db[kind]:.2f}" for kind in ("mean", "sample", "best")),
        f"{figures['reconstruction']['psnr_db']:.2f}",
        f"{latent['rate_nats']:.1f}",
        f"{latent['active_units']} of {latent['units']}",
        f"{figures['drift']['difference_db']:.2f}" if figures["drift"] else "",
        coverage("spread"),
        coverage("predictive"),
        f"{figures['bounds']['plain']:.0f}, {figures['bounds']['weighted']:.0f}",
        str(figures["updates"]),
    )
    return "| " + " | ".join(cells) + " |"


def factor_row(name: str, factor: dict[str, Any]) -> str:
    truth, prior = factor["truth"], factor["prior"]
    cells = (
        name,
        factor["name"],
        f"{factor['reader_r2']:.2f}",
        f"{factor['posterior_r2']:.2f}",
        f"{prior['deviation']:.4f} / {truth['deviation']:.4f} = {prior['deviation'] / truth['deviation']:.2f}",
        f"{factor['apart'] / truth['deviation']:.2f}",
        f"{prior['time_constant']:.0f} / {truth['time_constant']:.0f} = "
        f"{prior['time_constant'] / truth['time_constant']:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
