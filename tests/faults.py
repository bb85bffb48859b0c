"""Disk faults in every command that writes: each must end with one error sentence and lose no existing file.

Faults: a *full* disk limits the size of every file (RLIMIT_FSIZE); a *failing* disk returns EIO from the Nth opened
file on; a *read-only* disk returns EROFS (`syscalls.py`); a *vanishing* output folder is moved away when the Nth file
is opened. Afterwards the same command must succeed on a working disk. On a *lacking* disk, which refuses to change
permissions and to flush, every command must succeed at once. Run by hand: `python -m tests.faults`.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos import TINY, prepare
from tests.syscalls import can_refuse, fail_writes, forbid_changes, lack_operations


class Fault(NamedTuple):
    """Kind of a disk fault, and the file size in bytes or the number of opened files from which it occurs."""

    kind: str
    amount: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount}"


FAULTS = (
    *(Fault("full", size) for size in (0, 300, 4_000, 30_000)),  # nothing, a header, a small file, part of a large file
    *(Fault("failing", number) for number in (0, 1, 3, 8)),
    Fault("read-only", 0),
    *(Fault("vanishing", number) for number in (1, 3, 8)),
    Fault("lacking", 0),
)


@dataclass(frozen=True)
class Write:
    """Command that writes, and its output: empty before, or with an earlier result that must survive."""

    words: Callable[[Path], list[str]]
    """Returns the command line for a folder with the inputs; the output is `out` in it."""
    replaces: bool = False
    """Whether the command runs with an earlier result of its own in place."""
    vanishes: str = "out"
    """Folder that a vanishing fault moves away."""


@dataclass
class Outcome:
    """Result of a command with a fault."""

    status: int
    output: str
    failures: list[str] = field(default_factory=list)


def writes(home: Path) -> dict[str, Write]:
    """Return all commands that write, by name."""
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
            lambda folder: ["train", "--data", data, "--out", str(folder / "stopped"), "--resume"],
            replaces=True,
            vanishes="stopped",
        ),
        "evaluate": Write(always("evaluate", run, "--data", data, "--futures", "1"), replaces=True, vanishes="run"),
        "generate to PNGs": Write(generate("")),
        "generate to GIF": Write(generate(".gif"), replaces=True),
        "generate to MP4": Write(generate(".mp4"), replaces=True),
        "generate to WebP": Write(generate(".webp"), replaces=True),
        "report": Write(always("report", run, "--out", out + ".html", "--force"), replaces=True, vanishes="run"),
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
        "pack": Write(
            always("train", "--data", str(home / "unpacked"), "--out", out, *TINY, "--steps", "1"), vanishes="unpacked"
        ),
    }


def prepare_faults(home: Path) -> None:
    """Write a finished run, a stopped run, and what `chaos.prepare` writes."""
    from posecast.cli.main import main

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
    """Train a run that is stopped after three of six updates."""
    import signal

    from posecast.config.overrides import build_config
    from posecast.data.cache import load_footage
    from posecast.errors import InterruptedTraining
    from posecast.training.state import TrainEvent
    from posecast.training.train import train

    def stop(event: TrainEvent) -> None:
        if event.train_state.step == 3:
            signal.raise_signal(signal.SIGTERM)

    tiny = {"size": "16x16", "widths": [8, 16], "blocks": 1, "clip_length": 4, "batch_size": 4, "latent_channels": 2}
    config = build_config("anchored", flags=tiny | {"steps": 6, "save_every_seconds": 0.0})
    try:
        train(config, load_footage((home / "data").resolve(), (16, 16)), home / "stopped", callback=stop)
    except InterruptedTraining:
        return
    raise AssertionError("training was not stopped")


def snapshot(home: Path) -> dict[str, str]:
    files = (path for path in home.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def child(words: list[str], fault: Fault | None, home: str, vanishes: str) -> None:
    """Run a command with a fault; its output goes to the pipe."""
    pipe = os.open(Path(home, PIPE), os.O_WRONLY)
    os.dup2(pipe, 1)
    os.dup2(pipe, 2)
    from posecast.cli.main import main

    if fault is not None:
        begin(fault, Path(home), vanishes)
    sys.exit(main(words))


def begin(fault: Fault, home: Path, vanishes: str) -> None:
    """Start a fault now, or when the Nth file is opened for writing."""
    if fault.kind == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.amount, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return
    starts = {
        "failing": fail_writes,
        "read-only": forbid_changes,
        "lacking": lack_operations,
        "vanishing": lambda: vanish(home / vanishes),
    }
    start = starts[fault.kind]
    if not fault.amount:
        start()
        return
    opened: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not arguments[2] & (os.O_WRONLY | os.O_RDWR) or len(opened) == fault.amount:
            return
        name = str(arguments[0])
        if name.startswith(str(home)) and not name.endswith(".lock"):
            opened.append(name)
            if len(opened) == fault.amount:
                start()

    sys.addaudithook(watch)


def vanish(folder: Path) -> None:
    """Move the folder away."""
    if folder.is_dir():
        folder.rename(folder.with_name("gone"))


def come_back(folder: Path) -> None:
    """Move the folder back."""
    gone = folder.with_name("gone")
    if gone.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        gone.rename(folder)


PIPE = "output"


class Disk:
    """Runs commands in forked child processes, with or without a fault."""

    def __init__(self, home: Path) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        self.home = home
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            ["posecast.training.train", "posecast.evaluation.evaluate_run", "posecast.video.extract"]
        )
        os.mkfifo(home / PIPE)

    def call(self, write: Write, fault: Fault | None, *more: str) -> tuple[int, str]:
        """Run a command; return its exit status and its output."""
        reading = os.open(self.home / PIPE, os.O_RDONLY | os.O_NONBLOCK)
        words = [*write.words(self.home), *more]
        try:
            process = self.context.Process(target=child, args=(words, fault, str(self.home), write.vanishes))
            process.start()
            output = b""
            while process.is_alive():
                process.join(0.02)
                output += drained(reading)
            output += drained(reading)
        finally:
            os.close(reading)
        assert process.exitcode is not None
        return process.exitcode, output.decode(errors="replace")


def drained(reading: int) -> bytes:
    """Read all that a pipe holds, without waiting for more."""
    content = b""
    while True:
        try:
            chunk = os.read(reading, 65536)
        except BlockingIOError:
            return content
        if not chunk:
            return content
        content += chunk


def tried(write: Write, disk: Disk, fault: Fault) -> Outcome:
    """Run a command with a fault and check what it leaves."""
    home = disk.home
    before = snapshot(home)
    status, output = disk.call(write, fault)
    outcome = Outcome(status, output)
    if status not in ((0,) if fault.kind == "lacking" else (0, 1, 2)):
        outcome.failures.append(f"exit status {status}")
    if "Traceback" in output:
        outcome.failures.append("a traceback: " + output[-600:])
    sentences = error_sentences(output)
    if status and len(sentences) != 1:
        outcome.failures.append(f"{len(sentences)} sentences: {output[-300:]}")
    after = snapshot(home)
    if fault.kind == "vanishing":  # the moved folder counts as the original one
        gone = {path: digest for path, digest in after.items() if path.startswith("gone/")}
        after |= {f"{write.vanishes}/{path.removeprefix('gone/')}": digest for path, digest in gone.items()}
    grown = ("stopped/", "unpacked/", "data/.posecast")
    changed = [path for path in before if after.get(path) != before[path] and not path.startswith(grown)]
    if status and changed:
        outcome.failures.append(f"changed {changed[:3]}")
    incomplete = [path for path in after if ".writing-" in path and path not in before]
    if incomplete and fault.kind != "vanishing":
        outcome.failures.append(f"left {incomplete[:3]}")
    return outcome


def error_sentences(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("posecast: ")]


def all_tried(home: Path, names: Sequence[str], faults: Sequence[Fault]) -> Iterator[tuple[str, list[Outcome]]]:
    """Run every command with every fault, each on a fresh copy of its inputs."""
    prepared = home / "prepared"
    prepared.mkdir()
    prepare_faults(prepared)
    for name in names or tuple(writes(prepared)):
        outcomes = []
        for fault in faults:
            place = home / "place"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(prepared, place)
            shutil.copytree(place / "data", place / "unpacked", ignore=shutil.ignore_patterns(".posecast"))
            disk, write = Disk(place), writes(place)[name]
            if write.replaces and name != "train --resume":
                status, output = disk.call(write, None)
                assert status == 0, (name, output)
            outcome = tried(write, disk, fault)
            come_back(place / write.vanishes)
            more = ["--force"] if name in FORCED else ["--resume"] if name in RESUMED else []
            status, output = disk.call(write, None, *more)
            if status != 0:
                outcome.failures.append(f"without the fault: status {status}, {output[-300:]}")
            outcomes.append(outcome)
        yield name, outcomes


RESUMED = ("lab4 train",)
FORCED = ("synth", "import-lab4", "train", "pack", "generate to PNGs", "submit", "export-lab4")
"""Commands whose second call must allow the replacement of a complete or partial result."""


def parsed(text: str) -> Fault:
    kind, _, amount = text.partition(":")
    return Fault(kind, int(amount or 0))


def show(name: str, faults: Sequence[Fault], outcomes: Sequence[Outcome], *, verbose: bool) -> None:
    """Print exit statuses and failures, and with `verbose` the error sentences."""
    statuses = ", ".join(f"{fault} {outcome.status}" for fault, outcome in zip(faults, outcomes, strict=True))
    print(f"{name}: exit status at {statuses}", flush=True)
    for fault, outcome in zip(faults, outcomes, strict=True):
        print("".join(f"  {fault}: {failure}\n" for failure in outcome.failures), end="")
        if verbose:
            print(f"  {fault}: {' '.join(error_sentences(outcome.output))}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Disk faults: one error sentence, nothing lost.")
    parser.add_argument("--only", nargs="+", default=[], help="only these commands")
    parser.add_argument("--faults", type=parsed, nargs="+", default=FAULTS, help="such as full:300 or failing:1")
    parser.add_argument("--verbose", action="store_true", help="show every error sentence")
    arguments = parser.parse_args()
    faults = [fault for fault in arguments.faults if can_refuse() or fault.kind in ("full", "vanishing")]
    num_commands = num_failures = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for name, outcomes in all_tried(Path(folder), arguments.only, faults):
            num_commands += 1
            num_failures += sum(len(outcome.failures) for outcome in outcomes)
            show(name, faults, outcomes, verbose=arguments.verbose)
    print(f"{num_commands} commands, {num_commands * len(faults)} faults, {num_failures} failures")
    sys.exit(num_failures > 0)


if __name__ == "__main__":
    main()
