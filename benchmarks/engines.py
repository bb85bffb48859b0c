"""Time of rollouts by torch and by ONNX Runtime, and of `evaluate` with either.

In: runs. Out: one Markdown table; arms take turns, numbers are medians, speeds are ratios of one call of this program.
Run: `python benchmarks/engines.py RUN [RUN ...]`; `--data DATA` also scores each run on val.
Next: `src/posecast/export/engine.py`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from posecast.config.schema import parse_size
from posecast.data.cache import load_recordings
from posecast.data.dancer.dance import dance
from posecast.evaluation.evaluate import evaluate
from posecast.export.engine import choose_engine
from posecast.model.checkpoint import load_run
from posecast.model.device import machine_profile
from posecast.model.predictor import Predictor
from posecast.model.rollout import predict
from posecast.model.threads import operator_threads

ENGINES = ("torch", "onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of rollouts by torch and by ONNX Runtime.")
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--data", type=Path, help="data set to score the runs on")
    parser.add_argument("--frames", type=int, default=200, help="frames of a rollout (default: %(default)s)")
    parser.add_argument("--futures", type=int, default=10, help="futures of a sampled rollout (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of a rollout (default: %(default)s)")
    options = parser.parse_args()
    print(machine_profile().sentence())
    print("\n| run | size | work | torch, ms a frame | ONNX Runtime, ms a frame | times as fast |")
    print("|---|---|---|---|---|---|")
    for run in options.runs:
        predictors = {}
        for engine in ENGINES:
            predictors[engine] = load_run(run)
            choose_engine(predictors[engine], engine)
            predictors[engine].in_bfloat16 = False
        for work, frames, rounds, call in works(predictors[ENGINES[0]], options):
            with operator_threads(machine_profile().operator_threads):
                seconds = times({name: lambda p=p, call=call: call(p) for name, p in predictors.items()}, rounds)
            torch_ms, onnx_ms = (1e3 * seconds[engine] / frames for engine in ENGINES)
            size = predictors[ENGINES[0]].config.size
            print(
                f"| {run.name} | {size} | {work} | {torch_ms:.1f} | {onnx_ms:.1f} | {torch_ms / onnx_ms:.2f} |",
                flush=True,
            )


def works(
    predictor: Predictor, options: argparse.Namespace
) -> list[tuple[str, int, int, Callable[[Predictor], object]]]:
    """Return name, number of frames, repetitions and function of each kind of work."""
    size = parse_size(predictor.config.size)
    recording = dance(options.frames, size=size).recording

    def roll_out(predictor: Predictor, futures: int) -> object:
        latent = "sample" if futures else "mean"
        frames = predict(predictor, recording.frames[0], recording.poses, latent=latent, futures=max(1, futures))
        return sum(len(rows) for rows in frames)

    all_works: list[tuple[str, int, int, Callable[[Predictor], object]]] = [
        ("mean rollout", options.frames, options.rounds, lambda predictor: roll_out(predictor, 0)),
        (
            f"{options.futures} futures",
            options.frames * options.futures,
            options.rounds,
            lambda predictor: roll_out(predictor, options.futures),
        ),
    ]
    if options.data:
        recordings = load_recordings(options.data, "val", size)
        frames = sum(len(recording) - 1 for recording in recordings) * (options.futures + 1)
        name = f"scores with {options.futures} futures"
        all_works.append((name, frames, 2, lambda p: evaluate(p, recordings, futures=options.futures)))
    return all_works


def times(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each call; they take turns, and a first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
