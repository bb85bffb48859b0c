"""How fast the machine trains and rolls out: the course's way, our lab4 recipe and the default, in one run.

In: numbers. Out: Markdown tables on the screen, and OUT with all that was measured. The dancer's clips are drawn
for it. Arms take turns, round after round, so that a machine that slows down slows all; figures are medians.
Run: `python benchmarks/speed.py --out speed.json`; `--ordinary` for an ordinary machine's code paths (AVX2 and float32)
and busy neighbours; `--growth` for how it grows. Next: docs/speed.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from posecast.config.recipes import RECIPES
from posecast.config.schema import Budget, Config, Lab4, parse_size
from posecast.data.clips import ClipCutter, ClipPlan
from posecast.data.dancer.dance import dance
from posecast.data.images import write_png
from posecast.data.prefetch import mapped_ahead, threads_ahead
from posecast.data.recordings import Footage, Recording
from posecast.files import write_json
from posecast.model.cuda_graphs import FIRST_CALLS
from posecast.model.device import machine_profile, resolve_device, resolve_precision
from posecast.model.lab4 import Lab4Networks
from posecast.model.rollout import RolloutInput, predict, predict_together
from posecast.model.threads import operator_threads
from posecast.training.batches import Batch, build_cutter
from posecast.training.distributed import machine_facts
from posecast.training.loop import prepared
from posecast.training.step import TrainStep
from posecast.training.train import chosen_threads, train
from posecast.video.writer import open_writer

COURSE_CLIP, COURSE_BATCH = 16, 2
SIZES: dict[str, dict[str, Any]] = {
    "32x64": {},
    "64x128": {"patch": 4},
    "128x256": {"patch": 4, "widths": (32, 64, 96, 128)},
    "256x512": {"patch": 4, "widths": (32, 64, 96, 128, 128)},
}
"""Sizes, and the networks for them: larger patches, then more scales."""
ORDINARY = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
NEIGHBOURS = (0, 1, 4)
"""Busy processes beside the training."""
GROWTH = ("batch", "clip", "size", "processes", "frames")
BATCHES = {"cpu": (1, 2, 4, 8, 16, 64), "cuda": (1, 4, 16, 64, 256, 512)}
LONGEST_NAME = 90
"""Of an operator; kernels are named after all their types."""
MATRIX_SIDE = {"cpu": 2048, "cuda": 16384}


def main() -> None:
    asked = arguments()
    if asked.ordinary and os.environ.get("ATEN_CPU_CAPABILITY") != "avx2":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ORDINARY)  # read when torch is imported
    if asked.memory:
        print(json.dumps(peak_memory(asked.memory, asked)))
        return
    found = measure(asked)
    found["start"] = start_up(asked)
    if asked.ordinary or asked.neighbours:
        found["neighbours"] = beside_neighbours(asked)
    if asked.out:
        write_json(asked.out, found)  # what follows takes long
    if asked.growth is not None:
        against = asked.growth or GROWTH
        found["growth"] = growth(asked, against)
        if "frames" in against:
            found["memory_of_frames"] = {str(n): memory_of(f"frames {n}", asked) for n in (1_000, 100_000)}
        if asked.out:
            write_json(asked.out, found)
    print(report(found))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed of training and rollouts, beside the course's way.")
    parser.add_argument("--out", type=Path, help="a JSON file for all that is measured")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all arms (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--size", default="32x64", help="of the pictures (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=630, help="of each recording (default: %(default)s)")
    parser.add_argument("--growth", nargs="*", choices=GROWTH, help="also how it grows, against all of these or some")
    parser.add_argument("--ordinary", action="store_true", help="with the code paths of a processor with AVX2 alone")
    parser.add_argument("--neighbours", action="store_true", help="also beside busy processes (--ordinary does so)")
    parser.add_argument("--memory", help=argparse.SUPPRESS)  # an arm, measured in a process of its own
    return parser.parse_args()


# The arms ---------------------------------------------------------------------------------------------------------


class CourseWay:
    """What a plain reading of the assignment does: our own reference of it, nothing of it is the package's way.

    Pictures are decoded whenever they are needed, every picture is encoded by itself, in float32 and the default
    memory order, one frame after the other.
    """

    def __init__(self, folder: Path, frames: int, device: str, size: tuple[int, int]) -> None:
        self.folder, self.frames, self.device = folder, frames, device
        self.threads = torch.get_num_threads()
        self.networks = Lab4Networks(Lab4(), size).to(device)
        self.networks.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.Adam(self.networks.parameters(), 1e-3)

    def picture(self, kind: str, number: int) -> Tensor:
        """Decoded anew each time."""
        pixels = np.asarray(Image.open(self.folder / f"{kind}{number}.png").convert("RGB"))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(255.0)

    def clip(self, kind: str, starts: Sequence[int]) -> Tensor:
        rows = [torch.stack([self.picture(kind, start + k) for k in range(COURSE_CLIP)]) for start in starts]
        return torch.stack(rows).to(self.device)

    def update(self, step: int, *, forced: bool) -> int:
        """One update; the number of frames predicted."""
        starts = np.random.default_rng(step).integers(0, self.frames - COURSE_CLIP, COURSE_BATCH).tolist()
        frames, poses = self.clip("frame", starts), self.clip("pose", starts)
        previous, loss = frames[:, 0], torch.zeros((), device=self.device)
        for t in range(1, COURSE_CLIP):
            current, pose = self.networks.encode_frame(frames[:, t]), self.networks.encode_condition(poses[:, t], ())
            mean, log_variance = self.networks.Gaussian_Predictor(torch.cat((*current, *pose), 1)).chunk(2, 1)
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance.clamp(-8.0, 8.0))
            painted = self.networks.decode(self.networks.encode_frame(previous), pose, z)
            kl = -0.5 * (1 + log_variance - mean.square() - log_variance.clamp(max=8.0).exp()).sum() / COURSE_BATCH
            loss = loss + nn.functional.mse_loss(painted, frames[:, t]) + 1e-6 * kl
            previous = frames[:, t] if forced else painted
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self.optimizer.step()
        loss.item()
        return COURSE_BATCH * (COURSE_CLIP - 1)

    @torch.no_grad()
    def rollout(self) -> Iterator[np.ndarray]:
        """A pose is decoded and encoded when it is reached."""
        self.networks.eval()
        frame = self.picture("frame", 0)[None].to(self.device)
        for t in range(1, self.frames):
            pose = self.networks.encode_condition(self.picture("pose", t)[None].to(self.device), ())
            z = torch.randn(1, *self.networks.latent_shape, device=self.device)
            frame = self.networks.decode(self.networks.encode_frame(frame), pose, z)
            yield frame.cpu().numpy()
        self.networks.train()


class OurWay:
    """A recipe as `posecast train` and `posecast generate` run it, its longest clips."""

    def __init__(self, config: Config, recordings: Sequence[Recording], device: str) -> None:
        self.config = config
        self.recordings = recordings
        accelerator = resolve_device(device)
        self.fabric = Fabric(accelerator=accelerator, devices=1, precision=resolve_precision("auto", accelerator))
        self.threads, self.shares = chosen_threads(accelerator)
        self.learners = {
            forced: TrainStep(self.fabric, forcing(config, forced), shares=self.shares) for forced in (False, True)
        }
        self.cutter: ClipCutter = build_cutter(config, Footage(list(recordings), [recordings[0]]))
        batch_size = config.training.batch_size
        self.batches: dict[bool, Iterator[Batch]] = {}
        self.plans = list(self.cutter.epoch(64 * batch_size, batch_size, 0, 0))

    def plan(self, step: int) -> ClipPlan:
        return self.plans[step % len(self.plans)]

    def prepare(self, step: int) -> Batch:
        return self.learners[False].batches.prepare(self.cutter, self.plan(step), step=step, epoch=0)

    def update(self, step: int, *, forced: bool) -> int:
        """One update as `train` makes it: on a GPU its clips were cut meanwhile."""
        if forced not in self.batches:
            learner = self.learners[forced]
            prepare = functools.partial(prepared, learner, self.cutter, 0)
            numbered = ((number, self.plan(number)) for number in itertools.count())
            self.batches[forced] = mapped_ahead(prepare, numbered, threads_ahead(self.fabric))
        batch = next(self.batches[forced])
        return self.learners[forced].update(batch, rate=self.config.training.learning_rate).num_predictions

    def parts(self, step: int) -> dict[str, float]:
        """Seconds of one update by its parts; clips as far as the update waits for them."""
        learner, marks = self.learners[False], [self.now()]
        batch = next(self.batches[False])
        marks.append(self.now())
        _, gradients = learner.passes(batch)
        marks.append(self.now())
        learner.apply_gradients(gradients)
        marks.append(self.now())
        return dict(zip(("clips", "both passes", "optimiser"), np.diff(marks).tolist(), strict=True))

    def operators(self) -> dict[str, float]:
        """Share of an update's time by operator, on a GPU by kernel, those of a percent and more, the largest first."""
        on_gpu = self.fabric.device.type == "cuda"
        activity = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
        learner, batch = (
            TrainStep(self.fabric, self.config),
            self.prepare(0),
        )  # the profiler follows one thread
        learner.update(batch, rate=1e-3)
        with torch.profiler.profile(activities=[activity]) as seen:
            for _ in range(3):
                learner.update(batch, rate=1e-3)
            self.now()
        own: Counter[str] = Counter()
        for event in seen.key_averages():
            name = event.key.removeprefix("aten::")[:LONGEST_NAME]
            own[name] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
        shown = {name: time / own.total() for name, time in own.most_common() if time >= 0.01 * own.total()}
        return {**shown, "all others": 1.0 - sum(shown.values())}

    def flops(self) -> int:
        """Of one update's forward and backward passes: products only, one multiplication and addition are two."""
        learner, batch = TrainStep(self.fabric, self.config), self.prepare(0)
        with FlopCounterMode(display=False) as counter:
            learner.passes(batch)
        return counter.get_total_flops()

    def rollout(self, sequences: int = 1) -> Iterator[np.ndarray]:
        predictor = self.learners[False].smoothed
        first = self.recordings[0]
        if sequences == 1:
            return predict(predictor, first.frames[0], first.poses)
        given = [RolloutInput(one.frames[0], one.poses) for one in list(self.recordings)[:sequences]]
        return predict_together(predictor, given)

    def now(self) -> float:
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def forcing(config: Config, forced: bool) -> Config:
    rate = 1.0 if forced else 0.0
    return dataclasses.replace(config, training=dataclasses.replace(config.training, teacher_forcing=rate))


def build_arms(folder: Path, asked: argparse.Namespace) -> dict[str, CourseWay | OurWay]:
    size = parse_size(asked.size)
    recordings = [dance(asked.frames, seed=seed, size=size).recording for seed in range(5)]
    for number in range(asked.frames):
        Image.fromarray(recordings[0].frames[number]).save(folder / f"frame{number}.png")
        Image.fromarray(recordings[0].poses[number]).save(folder / f"pose{number}.png")
    lab4, ours = (dataclasses.replace(RECIPES[name], size=asked.size) for name in ("lab4", "anchored"))
    return {
        "the course's way": CourseWay(folder, asked.frames, resolve_device(asked.device), size),
        "lab4": OurWay(lab4, recordings, asked.device),
        "default": OurWay(ours, recordings, asked.device),
    }


# Measuring --------------------------------------------------------------------------------------------------------


@dataclass
class Figures:
    """What was measured of one arm, one number a round."""

    trained: list[float] = field(default_factory=list)
    forced: list[float] = field(default_factory=list)
    rolled: list[float] = field(default_factory=list)
    rolled_five: list[float] = field(default_factory=list)
    first_frame_ms: list[float] = field(default_factory=list)


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """All arms, in turns; medians, with the lowest and highest round."""
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        arms = build_arms(Path(folder), asked)
        figures = {name: Figures() for name in arms}
        peaks: dict[str, list[float]] = {"bfloat16": [], "float32": []}
        parts: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
        for turn in range(-1, asked.rounds):  # the first round warms up and is not counted
            for kind, seen in peaks.items():
                seen += [matrix_peak(getattr(torch, kind), asked)] * (turn >= 0)
            for name, arm in arms.items():
                with operator_threads(arm.threads):
                    one = one_round(arm, turn + 1, asked.seconds if turn >= 0 else min(0.5, asked.seconds))
                if turn >= 0:
                    for what, value in one.items():
                        getattr(figures[name], what).append(value)
                    if isinstance(arm, OurWay):
                        with operator_threads(arm.threads):
                            parts[name] += [arm.parts(step) for step in range(3)]
                print(".", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        ours = {name: arm for name, arm in arms.items() if isinstance(arm, OurWay)}
        fabric = ours["default"].fabric
        return {
            "machine": machine_facts(fabric, ours["default"].shares),
            "size": asked.size,
            "rounds": asked.rounds,
            "matrix_flops": {kind: statistics.median(seen) for kind, seen in peaks.items()},
            "arms": {name: spread(one) for name, one in figures.items()},
            "parts": {name: {part: share(seen, part) for part in seen[0]} for name, seen in parts.items() if seen},
            "flops_per_prediction": {name: arm.flops() / predictions(arm.config) for name, arm in ours.items()},
            "operators": ours["default"].operators(),
            "peak_memory_mb": {name: memory_of(name, asked) for name in arms},
        }


def beside_neighbours(asked: argparse.Namespace) -> dict[str, list[float]]:
    """Frames/s that the default recipe trains beside so many busy processes, in turns: median, lowest, highest."""
    recordings = [dance(asked.frames, seed=seed, size=parse_size(asked.size)).recording for seed in range(3)]
    arm = OurWay(dataclasses.replace(RECIPES["anchored"], size=asked.size), recordings, asked.device)
    seen: dict[str, list[float]] = {str(count): [] for count in NEIGHBOURS}
    with operator_threads(arm.threads):
        arm.update(0, forced=False)
        for turn in range(asked.rounds):
            for count in NEIGHBOURS:
                busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
                try:
                    time.sleep(1.0)
                    trained = per_second(lambda step: arm.update(step, forced=False), turn, 2 * asked.seconds)
                    seen[str(count)].append(trained)
                finally:
                    for process in busy:
                        process.kill()
                        process.wait()
    return {count: [statistics.median(values), min(values), max(values)] for count, values in seen.items()}


def one_round(arm: CourseWay | OurWay, turn: int, seconds: float) -> dict[str, float]:
    found = {
        "trained": per_second(lambda step: arm.update(step, forced=False), turn, seconds),
        "forced": per_second(lambda step: arm.update(step, forced=True), turn, seconds),
    }
    found["first_frame_ms"], found["rolled"] = rolled(arm.rollout, 1, seconds)
    if isinstance(arm, OurWay):
        _, found["rolled_five"] = rolled(lambda: arm.rollout(5), 5, seconds)
    return found


def per_second(work: Callable[[int], int], turn: int, seconds: float) -> float:
    """Predictions a second; an update reports a number from the device, so it is over when it returns."""
    done, start = 0, time.perf_counter()
    step = 16 * turn
    while (passed := time.perf_counter() - start) < seconds or not done:
        done += work(step)
        step += 1
    return done / passed


def rolled(begin: Callable[[], Iterator[np.ndarray]], sequences: int, seconds: float) -> tuple[float, float]:
    """Milliseconds to the first predicted frame, and frames a second from then on (of all sequences together)."""
    start = time.perf_counter()
    frames = begin()
    next(frames)
    second = next(frames, None)
    assert second is not None
    first_ms = 1e3 * (time.perf_counter() - start)
    done, start = 0, time.perf_counter()
    for _ in frames:
        done += sequences
        if time.perf_counter() - start > seconds:
            break
    return first_ms, done / (time.perf_counter() - start)


def matrix_peak(kind: torch.dtype, asked: argparse.Namespace) -> float:
    """Floating point operations a second of a product: the best of three.

    Large, but where a processor only emulates the arithmetic: there that would take minutes.
    """
    device = resolve_device(asked.device)
    slow = device == "cpu" and kind == torch.bfloat16 and not machine_profile().bfloat16
    side = 256 if slow else MATRIX_SIDE[device]
    one, other = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        product = one @ other
        product[0, 0].item()
        best = max(best, 2.0 * side**3 / (time.perf_counter() - start))
    return best


def predictions(config: Config) -> int:
    return config.training.batch_size * (config.training.clip_length - 1)


def share(seen: list[dict[str, float]], part: str) -> float:
    """Of an update's time, the median over updates."""
    return statistics.median(one[part] / sum(one.values()) for one in seen)


def spread(figures: Figures) -> dict[str, list[float]]:
    """Median, lowest and highest of each figure that was measured."""
    return {
        name: [statistics.median(seen), min(seen), max(seen)]
        for name, seen in dataclasses.asdict(figures).items()
        if seen
    }


def memory_of(name: str, asked: argparse.Namespace) -> float:
    """Megabytes at the most in a process that trains three updates and rolls out a second of frames."""
    words = [sys.executable, __file__, "--memory", name, "--device", asked.device, "--size", asked.size]
    words += ["--frames", str(asked.frames)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def peak_memory(name: str, asked: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        arms = build_arms(Path(folder), asked)
        if name.startswith("frames "):
            write_long_video(arms["default"], int(name.split()[1]), Path(folder, "long.mp4"))
        else:
            for step in range(3):
                arms[name].update(step, forced=False)
            rolled(arms[name].rollout, 1, 1.0)
    if resolve_device(asked.device) == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss begins with what the parent process had
        (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def write_long_video(arm: CourseWay | OurWay, count: int, path: Path) -> None:
    """Roll out so many frames into a video; one pose map stands for all, so that it is the rollout that has memory."""
    assert isinstance(arm, OurWay)
    first = arm.recordings[0]
    poses = np.broadcast_to(first.poses[0], (count, *first.poses[0].shape))
    with open_writer(path, fps=25) as video:
        for frames in predict(arm.learners[False].smoothed, first.frames[0], poses):
            video.write(frames[0])


# Starting ---------------------------------------------------------------------------------------------------------


def start_up(asked: argparse.Namespace) -> dict[str, float]:
    """Seconds from a command's start to its end: the help, and a video of two frames."""
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        data, run = Path(folder, "data"), Path(folder, "run")
        posecast = [sys.executable, "-m", "posecast"]
        made = dance(64, seed=0, size=parse_size(asked.size)).recording
        config = dataclasses.replace(RECIPES["anchored"], size=asked.size, budget=Budget(steps=1))
        train(config, Footage([made], [made]), run)
        data.mkdir()
        for number in range(2):
            write_png(data / f"{number}.png", made.poses[number])
        write_png(Path(folder, "me.png"), made.frames[0])
        words = ["generate", run, "--first-frame", Path(folder, "me.png"), "--poses", data]
        words += ["--out", Path(folder, "me.mp4"), "--force"]
        commands = {"posecast --help": ["--help"], "posecast generate, two frames": words}
        return {name: seconds_of([*posecast, *map(str, said)], asked.rounds) for name, said in commands.items()}


def seconds_of(words: list[str], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


# How it grows -----------------------------------------------------------------------------------------------------


def growth(asked: argparse.Namespace, against: Sequence[str]) -> dict[str, dict[str, float]]:
    """Predictions trained a second, default recipe, one setting changed at a time."""
    device = resolve_device(asked.device)
    recipe = dataclasses.replace(RECIPES["anchored"], size=asked.size)

    def changed(**knobs: Any) -> Config:
        return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **knobs))

    tried = {
        "batch": {str(b): changed(batch_size=b) for b in BATCHES[device]},
        "clip": {str(t): changed(clip_length=t, batch_size=4) for t in (2, 4, 8, 16, 32)},
        "size": {size: larger(recipe, size, **networks) for size, networks in SIZES.items()},
    }
    found: dict[str, dict[str, float]] = {}
    for what in (name for name in tried if name in against):
        found[what] = {}
        for value, config in tried[what].items():
            recordings = [dance(96, seed=seed, size=parse_size(config.size)).recording for seed in range(3)]
            arm = OurWay(config, recordings, asked.device)
            for step in range(FIRST_CALLS + 2 if device == "cuda" else 1):
                arm.update(step, forced=False)
            rounds = [
                per_second(lambda step, arm=arm: arm.update(step, forced=False), turn, asked.seconds / 2)
                for turn in range(3)
            ]
            found[what][value] = statistics.median(rounds)
            print(".", end="", file=sys.stderr, flush=True)
    if "processes" in against:
        most = torch.cuda.device_count() if device == "cuda" else 2
        found["processes"] = {str(count): trained_by(count, asked) for count in range(1, most + 1)}
    print(file=sys.stderr)
    return found


def larger(recipe: Config, size: str, **networks: Any) -> Config:
    return dataclasses.replace(recipe, size=size, networks=dataclasses.replace(recipe.networks, **networks))


def trained_by(processes: int, asked: argparse.Namespace) -> float:
    """What `posecast train --devices N` logs, the machine's threads shared out among its processes."""
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        data, run = Path(folder, "data"), Path(folder, "run")
        threads = max(1, torch.get_num_threads() // processes)
        posecast = ["env", f"OMP_NUM_THREADS={threads}", sys.executable, "-m", "posecast"]
        subprocess.run([*posecast, "synth", data, "--frames", "320"], check=True, capture_output=True)
        budget = ["--steps", "120", "--validation-frames", "32", "--validate-every", "100"]
        words = ["train", "--data", data, "--out", run, *budget, "--devices", str(processes), "--device", asked.device]
        subprocess.run([*posecast, *words], check=True, capture_output=True)
        entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        return statistics.median(entry["frames_per_second"] for entry in entries[1:] or entries)


# Saying it --------------------------------------------------------------------------------------------------------


def report(found: dict[str, Any]) -> str:
    """The figures as Markdown tables."""
    machine, peaks = {"shares": 1, "cores": "?", "code_paths": "?", **found["machine"]}, found["matrix_flops"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, code paths {machine['code_paths']}; {found['size']}, "
        f"{machine['device']}, {machine['shares']} shares of {machine['threads']} threads, {machine['precision']}, "
        f"torch {machine['torch']}; matrix peak {peaks['bfloat16'] / 1e9:.0f} GFLOP/s in bfloat16, "
        f"{peaks['float32'] / 1e9:.0f} in float32; medians of {found['rounds']} rounds (lowest to highest)",
        "",
        "| frames/s | " + " | ".join(found["arms"]) + " |",
        "|---|" + "---|" * len(found["arms"]),
    ]
    titles = {
        "trained": "trained, no teacher forcing",
        "forced": "trained, teacher forcing",
        "rolled": "rolled out, one sequence",
        "rolled_five": "rolled out, five at once",
        "first_frame_ms": "milliseconds to the first frame",
    }
    course = found["arms"]["the course's way"]
    for key, title in titles.items():
        cells = []
        for arm in found["arms"].values():
            if key not in arm:
                cells.append("")
                continue
            base = course["rolled" if key == "rolled_five" else key]
            ratio = arm[key][0] / base[0]
            times = "" if arm is course or key == "first_frame_ms" else f", **{ratio:.1f}x**"
            cells.append(f"{arm[key][0]:,.1f} ({arm[key][1]:,.1f} to {arm[key][2]:,.1f}){times}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    kind = "bfloat16" if machine["precision"] == "bf16-mixed" else "float32"
    share_of_peak = f"share of the {kind} peak"
    rows: dict[str, list[str]] = {"GFLOP a prediction, forward and backward": [], share_of_peak: []}
    rows |= {f"time: {part}": [] for part in next(iter(found["parts"].values()))}
    for name, arm in found["arms"].items():
        # The course's way computes what lab4 does, but encodes no frame for more than one clip's step.
        flops = found["flops_per_prediction"].get(name)
        rows["GFLOP a prediction, forward and backward"].append(f"{flops / 1e9:.2f}" if flops else "")
        rows[share_of_peak].append(f"{100 * flops * arm['trained'][0] / peaks[kind]:.0f} %" if flops else "")
        for part in next(iter(found["parts"].values())):
            seen = found["parts"].get(name)
            rows[f"time: {part}"].append(f"{100 * seen[part]:.1f} %" if seen else "")
    rows["peak memory, MB"] = [f"{found['peak_memory_mb'][name]:,.0f}" for name in found["arms"]]
    lines += [f"| {title} | " + " | ".join(cells) + " |" for title, cells in rows.items()]
    lines += ["", "| operator, default recipe | share of an update's time |", "|---|---|"]
    lines += [f"| `{name}` | {100 * part:.1f} % |" for name, part in found["operators"].items()]
    lines += ["", "| start | seconds |", "|---|---|"]
    lines += [f"| `{name}` | {seconds:.2f} |" for name, seconds in found["start"].items()]
    if "neighbours" in found:
        quiet = found["neighbours"]["0"][0]
        lines += [
            "",
            "| busy processes beside it | frames/s trained, default recipe | of the quiet machine's |",
            "|---|---|---|",
        ]
        for count, (median, low, high) in found["neighbours"].items():
            lines.append(f"| {count} | {median:,.1f} ({low:,.1f} to {high:,.1f}) | {100 * median / quiet:.0f} % |")
    if "memory_of_frames" in found:
        lines += ["", "| frames rolled out into a video | peak memory, MB |", "|---|---|"]
        lines += [f"| {int(count):,} | {peak:,.0f} |" for count, peak in found["memory_of_frames"].items()]
    for what, values in found.get("growth", {}).items():
        lines += ["", f"| {what} | " + " | ".join(values) + " |", "|---|" + "---|" * len(values)]
        lines.append("| trained frames/s | " + " | ".join(f"{v:,.0f}" for v in values.values()) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
