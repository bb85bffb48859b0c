"""SIGKILL at random instants, again and again: what was begun must end as if it had never been killed.

In: numbers of kills. Out: one summary line, and a failure if any outcome differs by a byte. What is killed: training in
one process and in two, packing, an experiment, an extraction. Children are forked from a server that has imported
everything, so that kills fall into the work and not into its imports.
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
MOST_KILLS_OF_ONE = 5
SAID = Path(tempfile.gettempdir(), f"chaos-said-{os.getuid()}.txt")
"""What the last attempt said, to be shown if it failed."""


@dataclass(frozen=True)
class Scenario:
    """Something that can be killed and called again."""

    name: str
    words: Callable[[Path], list[str]]
    """The command, for a folder that holds what it needs and takes what it makes."""
    outcome: Callable[[Path], dict[str, Any]]
    """What must be the same, read off that folder."""
    parent_only: bool = False
    """Whether only the process that was begun is killed, not those that it began."""


@dataclass
class Tally:
    """What was survived."""

    kills: int = 0
    runs: int = 0
    different: list[str] = field(default_factory=list)

    def line(self, scenario: str) -> str:
        verdict = "all identical" if not self.different else f"{len(self.different)} DIFFERENT"
        return f"{scenario}: {self.kills} kills over {self.runs} runs, {verdict}"


# What is compared -------------------------------------------------------------------------------------------------


def outcome_of_run(run: Path) -> dict[str, Any]:
    """Weights byte for byte, the log and scores but for times, the last state's weights."""
    from posecast.files import read_json_lines
    from posecast.model.checkpoint import digest_of
    from posecast.training.checkpoints import load_state

    entries = read_json_lines(run / "log.jsonl")
    state = load_state(run)
    assert state is not None
    found: dict[str, Any] = {
        "weights": digest(run / "model.safetensors"),
        "log": [{key: value for key, value in entry.items() if key not in TIMES} for entry in entries],
        "state": digest_of(state["weights"]),
        "step": state["step"],
        "samples": sorted(path.name for path in (run / "samples").glob("*.*")),
        "leftovers": sorted(path.name for path in run.rglob(".writing-*")),
    }
    if (run / "scores.json").exists():
        found["scores"] = json.loads((run / "scores.json").read_text())
    return found


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Each place where two outcomes differ, with what stands in either."""
    if isinstance(expected, dict) and isinstance(found, dict):
        inside = [(f"{where}/{key}", expected.get(key), found.get(key)) for key in expected | found]
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        inside = [(f"{where}/{at}", *pair) for at, pair in enumerate(zip(expected, found, strict=True))]
    else:
        return [] if expected == found else [f"{where} was {str(expected)[:200]}, now {str(found)[:200]}"]
    return [one for place, then, now in inside for one in differences(then, now, place)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def outcome_of_experiment(folder: Path) -> dict[str, Any]:
    runs = sorted(path.parent for path in (folder / "out").rglob("config.json"))
    return {str(run.relative_to(folder)): outcome_of_run(run) for run in runs}


def outcome_of_files(folder: Path) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(folder)): digest(path) for path in files}


# What is killed ---------------------------------------------------------------------------------------------------


def prepare(home: Path) -> None:
    """What the scenarios need: a data set, a video with keypoints, a grid."""
    from posecast.cli.main import main
    from posecast.data.dancer.dance import dance
    from posecast.data.pose_maps import SKELETON
    from posecast.video.writer import open_writer

    assert main(["synth", str(home / "data"), "--sequences", "2", "--frames", "60", "--size", "16x16"]) == 0
    # Packed beforehand, but for the scenario that packs: kills shall fall into what each is about.
    assert main(["train", "--data", str(home / "data"), "--out", str(home / "first"), *TINY, "--steps", "1"]) == 0
    shown = dance(80, seed=1, size=(96, 160))
    with open_writer(home / "v.mp4", fps=20) as video:
        for frame in shown.recording.frames:
            video.write(frame)
    (home / "keypoints").mkdir()
    order = [name for name in OPENPOSE if name != "-"]
    rows = {joint.name: index for index, joint in enumerate(SKELETON)}
    for number, points in enumerate(shown.keypoints):
        flat = [
            v for name in OPENPOSE for v in ((*points[rows[name], :2].tolist(), 1.0) if name in order else (0, 0, 0))
        ]
        content = {"people": [{"pose_keypoints_2d": flat}]}
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
    """By name; the second value of the mapping's use is how many kills each gets."""
    data = str(home / "data")
    train = ["train", "--data", data, "--resume", *TINY, *OFTEN, "--precision", "32-true"]

    def packing(out: Path) -> list[str]:
        return ["pack", data, str(out)]  # not a command: see `child`

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
    """One attempt, in a session of its own, so that all its processes can be killed together."""
    os.setsid()
    said = os.open(SAID, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    from posecast.video import tracking as sighting

    sighting.SAVE_EVERY_S = 0.0
    if words[0] == "pack":
        pack(Path(words[1]), Path(words[2]))
        return
    from posecast.cli.main import main

    sys.exit(main(words))


def pack(data: Path, out: Path) -> None:
    """Pack the pictures of a data set, as training does first; `out` links to them, so that its pack is its own."""
    from posecast.data.cache import load_recordings

    out.mkdir(exist_ok=True)
    if not (out / "train").exists():
        (out / "train").symlink_to(data / "train")
    load_recordings(out, "train", (24, 40), threads=1)


# Killing ----------------------------------------------------------------------------------------------------------


class Killer:
    """Begins attempts and kills them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        os.environ["OMP_NUM_THREADS"] = "1"  # the server's threads do not come with a fork, and would be waited for
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            ["posecast.training.train", "posecast.evaluation.evaluate_run", "posecast.video.extract"]
        )

    def attempt(self, words: list[str], kill_after_s: float | None, *, parent_only: bool = False) -> tuple[bool, float]:
        """Whether it ended by itself, and after how long."""
        process = self.context.Process(target=child, args=(words,))
        began = time.monotonic()
        process.start()
        process.join(kill_after_s)
        took = time.monotonic() - began
        if process.exitcode is None:
            assert process.pid is not None
            try:
                (os.kill if parent_only else os.killpg)(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has not come to its session yet
                process.kill()
            process.join()
            return False, took
        if process.exitcode != 0:
            raise RuntimeError(f"{' '.join(words)} ended with status {process.exitcode}: {SAID.read_text()[-500:]}")
        return True, took

    def torment(self, scenario: Scenario, home: Path, kills: int) -> Tally:
        """Kill it so often, in as many runs as that takes, and compare each run's end with one never killed."""
        whole = home / f"{scenario.name}-whole"
        whole.mkdir()
        _, length_s = self.attempt(scenario.words(whole), None)
        expected, tally = scenario.outcome(whole), Tally()
        while tally.kills < kills:
            out = home / f"{scenario.name}-{tally.runs}"
            out.mkdir()
            mine = 0
            while True:
                may_kill = tally.kills < kills and mine < MOST_KILLS_OF_ONE
                after_s = float(self.rng.uniform(0.0, 1.0)) * length_s if may_kill else None
                ended, _ = self.attempt(scenario.words(out), after_s, parent_only=scenario.parent_only)
                if ended:
                    break
                mine, tally.kills = mine + 1, tally.kills + 1
            tally.runs += 1
            found = scenario.outcome(out)
            tally.different += [f"{out.name}: {one}" for one in differences(expected, found)]
        return tally


def survive(kills: dict[str, int], seed: int = 0) -> dict[str, Tally]:
    """So many kills of each scenario named; what became of it."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        home = Path(folder)
        prepare(home)
        killer = Killer(seed)
        known = scenarios(home)
        return {name: killer.torment(known[name], home, count) for name, count in kills.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="SIGKILL at random instants; everything must end the same.")
    parser.add_argument("--kills", type=int, default=60, help="how many in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the instants (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], help="these scenarios")
    asked = parser.parse_args()
    shares = {"training in two processes": 2, "training in two processes, the parent killed": 1}
    shares |= {"packing": 2, "experiment": 1, "extraction": 2, "training": 4}
    shares = {name: shares[name] for name in asked.only or shares}
    kills = {name: max(1, asked.kills * share // sum(shares.values())) for name, share in shares.items()}
    tallies = survive(kills, asked.seed)
    for name, tally in tallies.items():
        print(tally.line(name))
        for one in tally.different:
            print(f"  {one}")
    total = Tally(
        sum(tally.kills for tally in tallies.values()),
        sum(tally.runs for tally in tallies.values()),
        [one for tally in tallies.values() for one in tally.different],
    )
    print(total.line("in all"))
    sys.exit(bool(total.different))


if __name__ == "__main__":
    main()
