"""SIGKILL at random times: an interrupted command, repeated, must end as if it had never been killed.

In: numbers of kills. Out: a summary line for each scenario, and exit status 1 if an outcome differs by a byte.
Scenarios: training in one and in two processes, packing, an experiment and an extraction. Processes are forked from a
server that has imported everything, so that kills hit the work and not the imports.
Run: `make chaos`, or `python -m tests.chaos --kills 60 --seed 0`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

TINY = "--size 16x16 --widths 8 16 --blocks 1 --clip-length 4 --batch-size 4 --latent-channels 2".split()
OFTEN = "--clips-per-epoch 24 --save-every-seconds 0 --validate-every 1".split()
TIMES = ("seconds", "frames_per_second")
MAX_KILLS_PER_RUN = 5
OUTPUT = Path(tempfile.gettempdir(), f"chaos-output-{os.getuid()}.txt")
"""Output of the last attempt, shown if it failed."""


@dataclass(frozen=True)
class Scenario:
    """Command that can be killed and repeated."""

    name: str
    words: Callable[[Path], list[str]]
    """Returns the command line, given the output folder."""
    outcome: Callable[[Path], dict[str, Any]]
    """Returns what must be equal, read from the output folder."""
    parent_only: bool = False
    """Whether only the parent process is killed, not its child processes."""


@dataclass
class Tally:
    """Kills and runs of a scenario, and the differences found."""

    kills: int = 0
    runs: int = 0
    different: list[str] = field(default_factory=list)

    def line(self, scenario: str) -> str:
        verdict = "all identical" if not self.different else f"{len(self.different)} DIFFERENT"
        return f"{scenario}: {self.kills} kills over {self.runs} runs, {verdict}"


# Outcomes -------------------------------------------------------------------------------------------------


def outcome_of_run(run: Path) -> dict[str, Any]:
    """Return digests of weights and of the last state, and the log and scores without times."""
    from posecast.files import read_json_lines
    from posecast.model.checkpoint import digest_of
    from posecast.training.checkpoints import load_state

    entries = read_json_lines(run / "log.jsonl")
    state = load_state(run)
    assert state is not None
    outcome: dict[str, Any] = {
        "weights": digest(run / "model.safetensors"),
        "log": [{key: value for key, value in entry.items() if key not in TIMES} for entry in entries],
        "state": digest_of(state["weights"]),
        "step": state["step"],
        "samples": sorted(path.name for path in (run / "samples").glob("*.*")),
        "leftovers": sorted(path.name for path in run.rglob(".writing-*")),
    }
    if (run / "scores.json").exists():
        outcome["scores"] = json.loads((run / "scores.json").read_text())
    return outcome


def differences(expected: Any, actual: Any, where: str = "") -> list[str]:
    """Describe each value in which two outcomes differ."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        pairs = [(f"{where}/{key}", expected.get(key), actual.get(key)) for key in expected | actual]
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = [(f"{where}/{index}", *pair) for index, pair in enumerate(zip(expected, actual, strict=True))]
    else:
        return [] if expected == actual else [f"{where} was {str(expected)[:200]}, now {str(actual)[:200]}"]
    return [difference for place, before, after in pairs for difference in differences(before, after, place)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def outcome_of_experiment(folder: Path) -> dict[str, Any]:
    runs = sorted(path.parent for path in (folder / "out").rglob("config.json"))
    return {str(run.relative_to(folder)): outcome_of_run(run) for run in runs}


def outcome_of_files(folder: Path) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(folder)): digest(path) for path in files}


# Scenarios ---------------------------------------------------------------------------------------------------


def prepare(home: Path) -> None:
    """Write what the scenarios need: a data set, a video with keypoints, a grid."""
    from posecast.cli.main import main
    from posecast.data.dancer.dance import dance
    from posecast.data.pose_maps import SKELETON
    from posecast.video.writer import open_writer

    assert main(["synth", str(home / "data"), "--sequences", "2", "--frames", "60", "--size", "16x16"]) == 0
    # Packed in advance except for the packing scenario, so that kills hit the work of each scenario.
    assert main(["train", "--data", str(home / "data"), "--out", str(home / "first"), *TINY, "--steps", "1"]) == 0
    filmed = dance(80, seed=1, size=(96, 160))
    with open_writer(home / "v.mp4", fps=20) as video:
        for frame in filmed.recording.frames:
            video.write(frame)
    (home / "keypoints").mkdir()
    rows = {joint.name: index for index, joint in enumerate(SKELETON)}
    for number, points in enumerate(filmed.keypoints):
        triples = [(*points[rows[name], :2].tolist(), 1.0) if name in rows else (0, 0, 0) for name in OPENPOSE]
        content = {"people": [{"pose_keypoints_2d": [value for triple in triples for value in triple]}]}
        (home / "keypoints" / f"v_{number:06d}_keypoints.json").write_text(json.dumps(content))
    (home / "grid.toml").write_text(
        'recipe = "anchored"\n[settings.low]\nlearning_rate = 1e-4\n[settings.high]\nlearning_rate = 1e-3\n'
    )


OPENPOSE = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_toe - left_heel right_toe - "
    "right_heel"
).split()


def scenarios(home: Path) -> dict[str, Scenario]:
    """Return the scenarios by name."""
    data = str(home / "data")
    train = ["train", "--data", data, "--resume", *TINY, *OFTEN, "--precision", "32-true"]

    def packing(out: Path) -> list[str]:
        return ["pack", data, str(out)]  # not a command of posecast, see `child`

    return {
        "training": Scenario("training", lambda out: [*train, "--out", str(out), "--steps", "48"], outcome_of_run),
        "training in two processes": Scenario(
            "training in two processes",
            lambda out: [*train, "--out", str(out), "--steps", "24", "--devices", "2"],
            outcome_of_run,
        ),
        "training in two processes, the parent killed": Scenario(
            "training in two processes, the parent killed",
            lambda out: [*train, "--out", str(out), "--steps", "24", "--devices", "2"],
            outcome_of_run,
            parent_only=True,
        ),
        "packing": Scenario("packing", packing, outcome_of_files),
        "experiment": Scenario(
            "experiment",
            lambda out: [
                *("experiment", str(home / "grid.toml"), "--data", data, "--out", str(out / "out"), "--steps", "12"),
                *("--seeds", "1", "--futures", "1", *TINY, *OFTEN),
            ],
            outcome_of_experiment,
        ),
        "extraction": Scenario(
            "extraction",
            lambda out: [
                *("extract", str(home / "v.mp4"), str(out / "mine"), "--size", "32x32", "--preview"),
                *("--keypoints", str(home / "keypoints")),
            ],
            outcome_of_files,
        ),
    }


def child(words: list[str]) -> None:
    """Run one attempt in its own session, so that all its processes can be killed together."""
    os.setsid()
    output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from posecast.video import tracking

    tracking.SAVE_EVERY_S = 0.0
    if words[0] == "pack":
        pack(Path(words[1]), Path(words[2]))
        return
    from posecast.cli.main import main

    sys.exit(main(words))


def pack(data: Path, out: Path) -> None:
    """Pack the images of a data set, as training does first; `out` links to them and gets its own pack."""
    from posecast.data.cache import load_recordings

    out.mkdir(exist_ok=True)
    if not (out / "train").exists():
        (out / "train").symlink_to(data / "train")
    load_recordings(out, "train", (24, 40), threads=1)


# Killing ----------------------------------------------------------------------------------------------------------


class Killer:
    """Runs attempts and kills them at random times."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        os.environ["OMP_NUM_THREADS"] = "1"  # a fork has none of the server's threads but would wait for them
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            ["posecast.training.train", "posecast.evaluation.evaluate_run", "posecast.video.extract"]
        )

    def attempt(self, words: list[str], kill_after_s: float | None, *, parent_only: bool = False) -> tuple[bool, float]:
        """Run a command; return whether it ended before it was killed, and the elapsed seconds."""
        process = self.context.Process(target=child, args=(words,))
        began = time.monotonic()
        process.start()
        process.join(kill_after_s)
        elapsed_s = time.monotonic() - began
        if process.exitcode is None:
            assert process.pid is not None
            try:
                (os.kill if parent_only else os.killpg)(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # killed before it had its own session
                process.kill()
            process.join()
            return False, elapsed_s
        if process.exitcode != 0:
            raise RuntimeError(f"{' '.join(words)} ended with status {process.exitcode}: {OUTPUT.read_text()[-500:]}")
        return True, elapsed_s

    def torment(self, scenario: Scenario, home: Path, kills: int) -> Tally:
        """Kill a scenario `kills` times, in several runs, and compare each outcome with that of an undisturbed run."""
        undisturbed = home / f"{scenario.name}-undisturbed"
        undisturbed.mkdir()
        _, length_s = self.attempt(scenario.words(undisturbed), None)
        expected, tally = scenario.outcome(undisturbed), Tally()
        while tally.kills < kills:
            out = home / f"{scenario.name}-{tally.runs}"
            out.mkdir()
            kills_of_run = 0
            while True:
                may_kill = tally.kills < kills and kills_of_run < MAX_KILLS_PER_RUN
                after_s = float(self.rng.uniform(0.0, 1.0)) * length_s if may_kill else None
                ended, _ = self.attempt(scenario.words(out), after_s, parent_only=scenario.parent_only)
                if ended:
                    break
                kills_of_run += 1
                tally.kills += 1
            tally.runs += 1
            tally.different += [f"{out.name}: {line}" for line in differences(expected, scenario.outcome(out))]
        return tally


def survive(kills: dict[str, int], seed: int = 0) -> dict[str, Tally]:
    """Kill each named scenario the given number of times; return the tallies."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        home = Path(folder)
        prepare(home)
        killer = Killer(seed)
        by_name = scenarios(home)
        return {name: killer.torment(by_name[name], home, count) for name, count in kills.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="SIGKILL at random times; every outcome must be the same.")
    parser.add_argument("--kills", type=int, default=60, help="total number of kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the times (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], help="only these scenarios")
    arguments = parser.parse_args()
    shares = {"training in two processes": 2, "training in two processes, the parent killed": 1}
    shares |= {"packing": 2, "experiment": 1, "extraction": 2, "training": 4}
    shares = {name: shares[name] for name in arguments.only or shares}
    kills = {name: max(1, arguments.kills * share // sum(shares.values())) for name, share in shares.items()}
    tallies = survive(kills, arguments.seed)
    for name, tally in tallies.items():
        print(tally.line(name))
        for line in tally.different:
            print(f"  {line}")
    total = Tally(
        sum(tally.kills for tally in tallies.values()),
        sum(tally.runs for tally in tallies.values()),
        [line for tally in tallies.values() for line in tally.different],
    )
    print(total.line("in all"))
    sys.exit(bool(total.different))


if __name__ == "__main__":
    main()
