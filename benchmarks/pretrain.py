"""Weights that come with posecast: the default recipe, trained on many synthetic dancers.

In: numbers of dancers and updates. Out: a run folder, and its weights in half precision. The dancer of `posecast demo`,
look 0, is not among them.
Next: `training/initial_weights.py`, which reads the weights.
Run: `python benchmarks/pretrain.py --out RUN --weights src/posecast/training/dancers.safetensors`.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from posecast import dance
from posecast.config.overrides import build_config
from posecast.data.recordings import Footage, Recording
from posecast.model.checkpoint import load_weights, save_weights
from posecast.training.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the initial weights of the default recipe.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; resumed if it exists")
    parser.add_argument("--weights", type=Path, required=True, help="file to write the weights to")
    parser.add_argument("--dancers", type=int, default=400, help="dancers, of one dance each (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=120, help="frames of a dance (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20_000, help="updates (default: %(default)s)")
    options = parser.parse_args()
    seen = [named_dance(options.frames, seed=1000 + k, look=1 + k) for k in range(options.dancers)]
    unseen = [named_dance(options.frames, seed=900 + k, look=1000 + k) for k in range(4)]
    flags = {"steps": options.steps, "initial_weights": "random", "validate_every": 1, "seed": 100}
    train(build_config(flags=flags), Footage(seen, unseen), options.out, resume=True)
    weights = load_weights(options.out / "model.safetensors")
    save_weights(options.weights, {name: value.half() for name, value in weights.items()})


def named_dance(num_frames: int, *, seed: int, look: int) -> Recording:
    """Return a dance of dancer `look` under a name of its own."""
    return dataclasses.replace(dance(num_frames, seed=seed, look=look).recording, name=f"look{look}")


if __name__ == "__main__":
    main()
