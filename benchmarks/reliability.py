"""Cost of saving, resource growth over a long run, and time to report a week's log.

In: numbers. Out: one Markdown table. Run: `python benchmarks/reliability.py`. Next: docs/explanation/reliability.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

from posecast.config.overrides import build_config
from posecast.config.recipes import RECIPES
from posecast.data.dancer.dance import dance
from posecast.data.recordings import Footage
from posecast.reporting.run_report import write_report
from posecast.training.state import TrainEvent
from posecast.training.train import train

TINY = {"size": "16x16", "widths": [8, 16], "blocks": 1, "clip_length": 4, "batch_size": 4, "latent_channels": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of saving, growth over a long run, report of a week's log.")
    parser.add_argument("--steps", type=int, default=10_000, help="updates of the long run (default: %(default)s)")
    options = parser.parse_args()
    rows = saving() | growing(options.steps) | opening()
    print("| quantity | measured |\n|---|---|")
    print("\n".join(f"| {quantity} | {measured} |" for quantity, measured in rows.items()))


def saving() -> dict[str, str]:
    """Measure how much longer an update of the default recipe takes if the state is saved after it."""
    recipe = RECIPES["anchored"]
    recordings = [dance(96, seed=seed, size=(32, 64)).recording for seed in range(3)]
    footage = Footage(recordings[:2], [recordings[2]])
    times: dict[float, float] = {}
    for every_s in (1e6, 0.0):
        training = dataclasses.replace(recipe.training, save_every_seconds=every_s, validate_every=10**6)
        config = dataclasses.replace(recipe, training=training, budget=dataclasses.replace(recipe.budget, steps=60))
        config = dataclasses.replace(config, budget=dataclasses.replace(config.budget, minutes=None, epochs=None))
        moments: list[float] = []

        def watch(event: TrainEvent, moments: list[float] = moments) -> None:
            if event.update is not None:
                moments.append(time.monotonic())

        with tempfile.TemporaryDirectory(prefix="saving-") as folder:
            train(config, footage, Path(folder, "run"), callback=watch)
            megabytes = max(path.stat().st_size for path in Path(folder, "run", "state").iterdir()) / 1e6
        gaps = [after - before for before, after in itertools.pairwise(moments[20:])]
        times[every_s] = statistics.median(gaps)
    seconds = times[0.0] - times[1e6]
    share = 100 * seconds / recipe.training.save_every_seconds
    return {
        "an update, and with saving after it": f"{1000 * times[1e6]:.0f} ms, {1000 * times[0.0]:.0f} ms",
        f"saving a state of {megabytes:.0f} MB once a minute": f"{share:.2f} % of the time",
    }


def growing(num_steps: int) -> dict[str, str]:
    """Measure memory, open files and threads early and late in a tiny run with 200 validations."""
    measured: list[tuple[int, float, int, int]] = []

    def watch(event: TrainEvent) -> None:
        if event.update is not None and event.train_state.step % (num_steps // 20) == 0:
            measured.append(
                (event.train_state.step, resident_mb(), len(os.listdir("/proc/self/fd")), threading.active_count())
            )

    recording = dance(24, seed=0, size=(16, 16)).recording
    per_epoch = max(1, num_steps // 200)
    settings = {"steps": num_steps, "clips_per_epoch": 4 * per_epoch, "validate_every": 1, "save_every_seconds": 1.0}
    with tempfile.TemporaryDirectory(prefix="growing-") as folder:
        train(
            build_config("anchored", flags=TINY | settings),
            Footage([recording], [recording]),
            Path(folder, "run"),
            callback=watch,
        )
        epochs = len(Path(folder, "run", "log.jsonl").read_text().splitlines())
    early, late = measured[1], measured[-1]
    return {
        f"memory after {early[0]:,} and {late[0]:,} updates": f"{early[1]:.0f} MB, {late[1]:.0f} MB",
        "validations by then": f"{epochs}",
        "open files then": f"{early[2]}, {late[2]}",
        "threads then": f"{early[3]}, {late[3]}",
    }


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def opening() -> dict[str, str]:
    """Measure the report of a run whose log has an epoch for every minute of a week."""
    recording = dance(24, seed=0, size=(16, 16)).recording
    with tempfile.TemporaryDirectory(prefix="opening-") as folder:
        run = Path(folder, "run")
        train(build_config("anchored", flags=TINY | {"steps": 4}), Footage([recording], [recording]), run)
        entry = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
        lines = [json.dumps(entry | {"epoch": k, "step": 4 * k}) for k in range(7 * 24 * 60)]
        (run / "log.jsonl").write_text("\n".join(lines) + "\n")
        began = time.monotonic()
        write_report([run], Path(folder, "page.html"))
        seconds = time.monotonic() - began
        kilobytes = Path(folder, "page.html").stat().st_size / 1000
        shutil.rmtree(run)
    return {f"report of a log of {len(lines):,} epochs": f"{seconds:.1f} s, {kilobytes:.0f} KB"}


if __name__ == "__main__":
    main()
