"""A disk that takes no more, at every place where posecast writes: one sentence, exit 1 or 2, nothing lost.

The kernel itself refuses: a process may not write beyond so many bytes of any file (RLIMIT_FSIZE), which reaches every
writer, Python's, torch's, safetensors' and FFmpeg's alike. What was there before must be there after, and the same
command must succeed once there is room. Run by hand: `python -m tests.faults`.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import TINY, prepare

LIMITS = (0, 300, 4_000, 30_000)
"""Bytes that a file may have: none, a header's, a small file's, not a large one's."""


@dataclass(frozen=True)
class Write:
    """A command, and what it writes to: free before, or holding an earlier result that must survive."""

    words: Callable[[Path], list[str]]
    """For a folder with what is needed; the output is `out` in it."""
    replaces: bool = False
    """Whether it is tried over its own earlier result, too."""


@dataclass
class Outcome:
    """What happened to one command under one limit."""

    status: int
    said: str
    failures: list[str] = field(default_factory=list)


def writes(home: Path) -> dict[str, Write]:
    """Every command that writes."""
    data, run, lab4 = (str(home / name) for name in ("data", "run", "lab4"))
    photo = str(next((home / "data" / "test" / "test_img" / "0").iterdir()))
    poses = str(home / "data" / "test" / "test_label" / "0")
    out = str(home / "out")

    def generate(name: str) -> Callable[[Path], list[str]]:
        words = ["generate", run, "--first-frame", photo, "--poses", poses, "--out", out + name]
        return lambda _: [*words, *(["--force"] if name else [])]

    def always(*words: str) -> Callable[[Path], list[str]]:
        return lambda _: list(words)

    return {
        "synth": Write(always("synth", out, "--sequences", "1", "--frames", "20", "--size", "16x16")),
        "train": Write(always("train", "--data", data, "--out", out, *TINY, "--steps", "2")),
        "train --resume": Write(
            lambda folder: ["train", "--data", data, "--out", str(folder / "stopped"), "--resume"], replaces=True
        ),
        "evaluate": Write(always("evaluate", run, "--data", data, "--futures", "1"), replaces=True),
        "generate to PNGs": Write(generate("")),
        "generate to GIF": Write(generate(".gif"), replaces=True),
        "generate to MP4": Write(generate(".mp4"), replaces=True),
        "generate to WebP": Write(generate(".webp"), replaces=True),
        "report": Write(always("report", run, "--out", out + ".html", "--force"), replaces=True),
        "submit": Write(always("submit", run, "--data", data, "--out", out)),
        "export-lab4": Write(always("export-lab4", lab4, "--out", out + ".ckpt")),
        "import-lab4": Write(always("import-lab4", str(home / "course.ckpt"), "--out", out, "--size", "16x16")),
        "extract": Write(
            always(
                "extract",
                str(home / "v.mp4"),
                out,
                "--size",
                "32x32",
                "--preview",
                "--keypoints",
                str(home / "keypoints"),
            )
        ),
        "experiment": Write(
            always(
                *("experiment", str(home / "grid.toml"), "--data", data, "--out", out, "--steps", "2"),
                *("--seeds", "1", "--futures", "1", *TINY),
            )
        ),
        "lab4 train": Write(always("lab4", "train", "--DR", data, "--save_root", out, *TEMPLATE)),
        "pack": Write(always("train", "--data", str(home / "unpacked"), "--out", out, *TINY, "--steps", "1")),
    }


def prepare_faults(home: Path) -> None:
    """Runs, finished and stopped, and what `chaos.prepare` makes."""
    from posecast.cli import main

    prepare(home)
    for name, more in (("run", TINY), ("lab4", LAB4)):
        words = ["train", "--data", str(home / "data"), "--out", str(home / name), *more, "--steps", "2"]
        assert main(words) == 0
    assert main(["evaluate", str(home / "run"), "--data", str(home / "data"), "--futures", "1"]) == 0
    assert main(["export-lab4", str(home / "lab4"), "--out", str(home / "course.ckpt")]) == 0
    stop_in_the_middle(home)


LAB4 = (
    "--recipe lab4 --frame-channels 8 --pose-channels 4 --latent-channels 4 --fusion-channels 8 --size 16x16 "
    "--clip-length 4"
).split()


TEMPLATE = (
    "--frame_H 16 --frame_W 16 --train_vi_len 4 --val_vi_len 8 --F_dim 8 --L_dim 4 --N_dim 4 --D_out_dim 8 "
    "--num_epoch 1"
).split()


def stop_in_the_middle(home: Path) -> None:
    """A run that was stopped after three of six updates."""
    import signal

    from posecast.data.packed import load_footage
    from posecast.errors import InterruptedTraining
    from posecast.settings import build_config
    from posecast.standing import Status
    from posecast.training import train

    def stop(status: Status) -> None:
        if status.standing.step == 3:
            signal.raise_signal(signal.SIGTERM)

    tiny = {"size": "16x16", "widths": [8, 16], "blocks": 1, "clip_length": 4, "batch_size": 4, "latent_channels": 2}
    config = build_config("anchored", flags=tiny | {"steps": 6, "save_every_seconds": 0.0})
    try:
        train(config, load_footage((home / "data").resolve(), (16, 16)), home / "stopped", watcher=stop)
    except InterruptedTraining:
        return
    raise AssertionError("it was not stopped")


def snapshot(home: Path) -> dict[str, str]:
    files = (path for path in home.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def child(words: list[str], limit: int | None, pipe: str) -> None:
    """Run a command that may write so many bytes to any file."""
    said = os.open(pipe, os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    from posecast.cli import main

    sys.exit(main(words))


class Disk:
    """Runs commands in forked children, on a disk of a given size."""

    def __init__(self, home: Path) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        self.home, self.pipe = home, home / "said"
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["posecast.training", "posecast.scoring", "posecast.extraction"])
        os.mkfifo(self.pipe)

    def call(self, words: list[str], limit: int | None) -> tuple[int, str]:
        """Exit status, and what was said."""
        reading = os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            process = self.context.Process(target=child, args=(words, limit, str(self.pipe)))
            process.start()
            said = b""
            while process.is_alive():
                process.join(0.02)
                said += drained(reading)
            said += drained(reading)
        finally:
            os.close(reading)
        assert process.exitcode is not None
        return process.exitcode, said.decode(errors="replace")


def drained(reading: int) -> bytes:
    found = b""
    while True:
        try:
            piece = os.read(reading, 65536)
        except BlockingIOError:
            return found
        if not piece:
            return found
        found += piece


def tried(name: str, write: Write, disk: Disk, limit: int) -> Outcome:
    """One command on a disk that is too small, then on one that is not."""
    home = disk.home
    before = snapshot(home)
    status, said = disk.call(write.words(home), limit)
    outcome = Outcome(status, said)
    if status not in (0, 1, 2):
        outcome.failures.append(f"exit status {status}")
    if "Traceback" in said:
        outcome.failures.append("a traceback: " + said[-600:])
    sentences = [line for line in said.splitlines() if line.startswith("posecast: ")]
    if status and len(sentences) != 1:
        outcome.failures.append(f"{len(sentences)} sentences: {said[-300:]}")
    after = snapshot(home)
    grown = ("stopped/", "unpacked/", "data/.posecast")
    changed = [path for path in before if after.get(path) != before[path] and not path.startswith(grown)]
    if status and changed:
        outcome.failures.append(f"changed {changed[:3]}")
    halves = [path for path in after if ".writing-" in path and path not in before]
    if halves:
        outcome.failures.append(f"left {halves[:3]}")
    return outcome


def all_tried(home: Path, names: Sequence[str], limits: Sequence[int]) -> dict[str, list[Outcome]]:
    """Every command under every limit, each on a fresh copy of what it needs."""
    import shutil

    prepared = home / "prepared"
    prepared.mkdir()
    prepare_faults(prepared)
    found: dict[str, list[Outcome]] = {}
    for name in names or tuple(writes(prepared)):
        found[name] = []
        for limit in limits:
            place = home / "place"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(prepared, place)
            shutil.copytree(place / "data", place / "unpacked", ignore=shutil.ignore_patterns(".posecast"))
            disk, write = Disk(place), writes(place)[name]
            if write.replaces and name != "train --resume":
                status, said = disk.call(write.words(place), None)
                assert status == 0, (name, said)
            outcome = tried(name, write, disk, limit)
            again, said = disk.call(
                write.words(place) + (["--force"] if name in FORCED else ["--resume"] if name in RESUMED else []), None
            )
            if again != 0:
                outcome.failures.append(f"with room again: status {again}, {said[-300:]}")
            found[name].append(outcome)
    return found


RESUMED = ("lab4 train",)
FORCED = ("synth", "import-lab4", "train", "pack", "generate to PNGs", "submit", "export-lab4")
"""Where something whole may be there already, or begun, so that the second call must say that it may be replaced."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A disk that takes no more: one sentence, nothing lost.")
    parser.add_argument("--only", nargs="+", default=[], help="these commands")
    parser.add_argument("--bytes", type=int, nargs="+", default=LIMITS, help="what a file may have")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        found = all_tried(Path(folder), asked.only, asked.bytes)
    for name, outcomes in found.items():
        statuses = ", ".join(f"{limit}: {one.status}" for limit, one in zip(asked.bytes, outcomes, strict=True))
        print(f"{name}: exit status at bytes {statuses}")
        print("".join(f"  {failure}\n" for one in outcomes for failure in one.failures), end="")
    num_failures = sum(len(one.failures) for outcomes in found.values() for one in outcomes)
    print(f"{len(found)} commands, {sum(map(len, found.values()))} full disks, {num_failures} failures")
    sys.exit(num_failures > 0)


if __name__ == "__main__":
    main()
