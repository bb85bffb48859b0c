"""Speed of training and rollouts: a reference implementation of the course, the recipes lab4 and anchored.

In: numbers. Out: Markdown tables on the screen, and all measurements in OUT. The clips are of the synthetic dancer.
Arms take turns, round after round, so that a change of the machine's speed affects all of them; numbers are medians.
Run: `python benchmarks/speed.py --out speed.json`; `--ordinary` for the code paths of a machine with AVX2 and float32,
and with busy processes; `--growth` for scaling. Next: docs/explanation/training-speed.md.
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
from posecast.model.device import machine_profile, resolve_device
from posecast.model.lab4 import Lab4Networks
from posecast.model.rollout import predict, predict_together
from posecast.model.rollout_input import RolloutInput
from posecast.model.threads import operator_threads
from posecast.training.batches import Batch, build_cutter
from posecast.training.distributed import machine_facts, single_process
from posecast.training.loop import prepare_batch
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
"""Sizes with the settings of their networks: larger patches, then more scales."""
ORDINARY = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
NEIGHBOURS = (0, 1, 4)
"""Numbers of busy processes during the training."""
GROWTH = ("batch", "clip", "size", "processes", "frames")
BATCHES = {"cpu": (1, 2, 4, 8, 16, 64), "cuda": (1, 4, 16, 64, 256, 512)}
LONGEST_NAME = 90
"""Characters of an operator's name; names of kernels contain all their types."""
MATRIX_SIDE = {"cpu": 2048, "cuda": 16384}


def main() -> None:
    options = arguments()
    if options.ordinary and os.environ.get("ATEN_CPU_CAPABILITY") != "avx2":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ORDINARY)  # torch reads them on import
    if options.memory:
        print(json.dumps(peak_memory(options.memory, options)))
        return
    measured = measure(options)
    measured["start"] = start_up(options)
    if options.ordinary or options.neighbours:
        measured["neighbours"] = speed_with_neighbours(options)
    if options.out:
        write_json(options.out, measured)  # what follows takes long and may be interrupted
    if options.growth is not None:
        against = options.growth or GROWTH
        measured["growth"] = growth(options, against)
        if "frames" in against:
            measured["memory_of_frames"] = {str(n): memory_of(f"frames {n}", options) for n in (1_000, 100_000)}
        if options.out:
            write_json(options.out, measured)
    print(report(measured))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed of training and rollouts, and of a reference implementation.")
    parser.add_argument("--out", type=Path, help="a JSON file for all measurements")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="time of each measurement (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--size", default="32x64", help="size of the images (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=630, help="frames of each recording (default: %(default)s)")
    parser.add_argument("--growth", nargs="*", choices=GROWTH, help="also measure scaling, by all of these or some")
    parser.add_argument("--ordinary", action="store_true", help="use the code paths of a processor with AVX2 only")
    parser.add_argument("--neighbours", action="store_true", help="also with busy processes (implied by --ordinary)")
    parser.add_argument("--memory", help=argparse.SUPPRESS)  # an arm, measured in a separate process
    return parser.parse_args()


# The arms ---------------------------------------------------------------------------------------------------------


class CourseWay:
    """A straightforward implementation of the assignment, without the optimisations of the package.

    Images are decoded whenever they are needed, and encoded one by one, in float32 and the default memory order.
    """

    def __init__(self, folder: Path, frames: int, device: str, size: tuple[int, int]) -> None:
        self.folder, self.frames, self.device = folder, frames, device
        self.threads = torch.get_num_threads()
        self.networks = Lab4Networks(Lab4(), size).to(device)
        self.networks.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.Adam(self.networks.parameters(), 1e-3)

    def image(self, kind: str, number: int) -> Tensor:
        pixels = np.asarray(Image.open(self.folder / f"{kind}{number}.png").convert("RGB"))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(255.0)

    def clip(self, kind: str, starts: Sequence[int]) -> Tensor:
        rows = [torch.stack([self.image(kind, start + k) for k in range(COURSE_CLIP)]) for start in starts]
        return torch.stack(rows).to(self.device)

    def update(self, step: int, *, forced: bool) -> int:
        """Make an update; return the number of frames predicted."""
        starts = np.random.default_rng(step).integers(0, self.frames - COURSE_CLIP, COURSE_BATCH).tolist()
        frames, poses = self.clip("frame", starts), self.clip("pose", starts)
        previous, loss = frames[:, 0], torch.zeros((), device=self.device)
        for t in range(1, COURSE_CLIP):
            current, pose = self.networks.encode_frame(frames[:, t]), self.networks.encode_condition(poses[:, t], ())
            mean, log_variance = self.networks.Gaussian_Predictor(torch.cat((*current, *pose), 1)).chunk(2, 1)
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance.clamp(-8.0, 8.0))
            decoded = self.networks.decode(self.networks.encode_frame(previous), pose, z)
            kl = -0.5 * (1 + log_variance - mean.square() - log_variance.clamp(max=8.0).exp()).sum() / COURSE_BATCH
            loss = loss + nn.functional.mse_loss(decoded, frames[:, t]) + 1e-6 * kl
            previous = frames[:, t] if forced else decoded
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self.optimizer.step()
        loss.item()
        return COURSE_BATCH * (COURSE_CLIP - 1)

    @torch.no_grad()
    def rollout(self) -> Iterator[np.ndarray]:
        """Yield the predicted frames; each pose map is decoded and encoded when it is needed."""
        self.networks.eval()
        frame = self.image("frame", 0)[None].to(self.device)
        for t in range(1, self.frames):
            pose = self.networks.encode_condition(self.image("pose", t)[None].to(self.device), ())
            z = torch.randn(1, *self.networks.latent_shape, device=self.device)
            frame = self.networks.decode(self.networks.encode_frame(frame), pose, z)
            yield frame.cpu().numpy()
        self.networks.train()


class OurWay:
    """A recipe as `posecast train` and `posecast generate` run it, with its longest clips."""

    def __init__(self, config: Config, recordings: Sequence[Recording], device: str) -> None:
        self.config = config
        self.recordings = recordings
        accelerator = resolve_device(device)
        self.fabric = single_process(accelerator)
        self.threads, self.shares = chosen_threads(accelerator)
        self.train_steps = {
            forced: TrainStep(self.fabric, forcing(config, forced), shares=self.shares) for forced in (False, True)
        }
        self.cutter: ClipCutter = build_cutter(config, Footage(list(recordings), [recordings[0]]))
        batch_size = config.training.batch_size
        self.batches: dict[bool, Iterator[Batch]] = {}
        self.plans = list(self.cutter.epoch(64 * batch_size, batch_size, 0, 0))

    def plan(self, step: int) -> ClipPlan:
        return self.plans[step % len(self.plans)]

    def prepare(self, step: int) -> Batch:
        return self.train_steps[False].batches.prepare(self.cutter, self.plan(step), step=step, epoch=0)

    def update(self, step: int, *, forced: bool) -> int:
        """Make an update as `train` does: on a GPU, its clips are cut during the update before."""
        if forced not in self.batches:
            train_step = self.train_steps[forced]
            prepare = functools.partial(prepare_batch, train_step, self.cutter, 0)
            numbered = ((number, self.plan(number)) for number in itertools.count())
            self.batches[forced] = mapped_ahead(prepare, numbered, threads_ahead(self.fabric))
        batch = next(self.batches[forced])
        return self.train_steps[forced].update(batch, rate=self.config.training.learning_rate).num_predictions

    def parts(self, step: int) -> dict[str, float]:
        """Return the seconds of each part of an update; for clips, the time that the update waits for them."""
        train_step, marks = self.train_steps[False], [self.now()]
        batch = next(self.batches[False])
        marks.append(self.now())
        _, gradients = train_step.passes(batch)
        marks.append(self.now())
        train_step.apply_gradients(gradients)
        marks.append(self.now())
        return dict(zip(("clips", "both passes", "optimiser"), np.diff(marks).tolist(), strict=True))

    def operators(self) -> dict[str, float]:
        """Return the share of an update's time of each operator or GPU kernel with at least 1 %, largest first."""
        on_gpu = self.fabric.device.type == "cuda"
        activity = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
        # One share, because the profiler follows one thread.
        train_step, batch = TrainStep(self.fabric, self.config), self.prepare(0)
        train_step.update(batch, rate=1e-3)
        with torch.profiler.profile(activities=[activity]) as profile:
            for _ in range(3):
                train_step.update(batch, rate=1e-3)
            self.now()
        own: Counter[str] = Counter()
        for event in profile.key_averages():
            name = event.key.removeprefix("aten::")[:LONGEST_NAME]
            own[name] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
        shown = {name: time / own.total() for name, time in own.most_common() if time >= 0.01 * own.total()}
        return {**shown, "all others": 1.0 - sum(shown.values())}

    def flops(self) -> int:
        """Return the operations of an update's forward and backward pass; a multiplication with addition counts two."""
        train_step, batch = TrainStep(self.fabric, self.config), self.prepare(0)
        with FlopCounterMode(display=False) as counter:
            train_step.passes(batch)
        return counter.get_total_flops()

    def rollout(self, sequences: int = 1) -> Iterator[np.ndarray]:
        predictor = self.train_steps[False].smoothed
        first = self.recordings[0]
        if sequences == 1:
            return predict(predictor, first.frames[0], first.poses)
        given = [RolloutInput(recording.frames[0], recording.poses) for recording in list(self.recordings)[:sequences]]
        return predict_together(predictor, given)

    def now(self) -> float:
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def forcing(config: Config, forced: bool) -> Config:
    rate = 1.0 if forced else 0.0
    return dataclasses.replace(config, training=dataclasses.replace(config.training, teacher_forcing=rate))


def build_arms(folder: Path, options: argparse.Namespace) -> dict[str, CourseWay | OurWay]:
    size = parse_size(options.size)
    recordings = [dance(options.frames, seed=seed, size=size).recording for seed in range(5)]
    for number in range(options.frames):
        Image.fromarray(recordings[0].frames[number]).save(folder / f"frame{number}.png")
        Image.fromarray(recordings[0].poses[number]).save(folder / f"pose{number}.png")
    lab4, ours = (dataclasses.replace(RECIPES[name], size=options.size) for name in ("lab4", "anchored"))
    return {
        "the course's way": CourseWay(folder, options.frames, resolve_device(options.device), size),
        "lab4": OurWay(lab4, recordings, options.device),
        "default": OurWay(ours, recordings, options.device),
    }


# Measuring --------------------------------------------------------------------------------------------------------


@dataclass
class Figures:
    """Measurements of an arm, one number per round: predicted frames per second, or milliseconds."""

    trained: list[float] = field(default_factory=list)
    forced: list[float] = field(default_factory=list)
    rolled: list[float] = field(default_factory=list)
    rolled_five: list[float] = field(default_factory=list)
    first_frame_ms: list[float] = field(default_factory=list)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all arms in turns; return medians with the lowest and highest round."""
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        arms = build_arms(Path(folder), options)
        figures = {name: Figures() for name in arms}
        peaks: dict[str, list[float]] = {"bfloat16": [], "float32": []}
        parts: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
        for turn in range(-1, options.rounds):  # the first round warms up and is not counted
            seconds = options.seconds if turn >= 0 else min(0.5, options.seconds)
            for kind, values in peaks.items():
                values += [matrix_peak(getattr(torch, kind), options)] * (turn >= 0)
            for name, arm in arms.items():
                with operator_threads(arm.threads):
                    round_figures = measure_round(arm, turn + 1, seconds)
                if turn >= 0:
                    for figure, value in round_figures.items():
                        getattr(figures[name], figure).append(value)
                    if isinstance(arm, OurWay):
                        with operator_threads(arm.threads):
                            parts[name] += [arm.parts(step) for step in range(3)]
                print(".", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        ours = {name: arm for name, arm in arms.items() if isinstance(arm, OurWay)}
        fabric = ours["default"].fabric
        return {
            "machine": machine_facts(fabric, ours["default"].shares),
            "size": options.size,
            "rounds": options.rounds,
            "matrix_flops": {kind: statistics.median(values) for kind, values in peaks.items()},
            "arms": {name: spread(measured) for name, measured in figures.items()},
            "parts": {
                name: {part: share(updates, part) for part in updates[0]} for name, updates in parts.items() if updates
            },
            "flops_per_prediction": {name: arm.flops() / predictions(arm.config) for name, arm in ours.items()},
            "operators": ours["default"].operators(),
            "peak_memory_mb": {name: memory_of(name, options) for name in arms},
        }


def speed_with_neighbours(options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the default recipe's trained frames/s by number of busy processes: median, lowest, highest."""
    recordings = [dance(options.frames, seed=seed, size=parse_size(options.size)).recording for seed in range(3)]
    arm = OurWay(dataclasses.replace(RECIPES["anchored"], size=options.size), recordings, options.device)
    rates: dict[str, list[float]] = {str(count): [] for count in NEIGHBOURS}
    with operator_threads(arm.threads):
        arm.update(0, forced=False)
        for turn in range(options.rounds):
            for count in NEIGHBOURS:
                busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
                try:
                    time.sleep(1.0)
                    trained = per_second(lambda step: arm.update(step, forced=False), turn, 2 * options.seconds)
                    rates[str(count)].append(trained)
                finally:
                    for process in busy:
                        process.kill()
                        process.wait()
    return {count: [statistics.median(values), min(values), max(values)] for count, values in rates.items()}


def measure_round(arm: CourseWay | OurWay, turn: int, seconds: float) -> dict[str, float]:
    figures = {
        "trained": per_second(lambda step: arm.update(step, forced=False), turn, seconds),
        "forced": per_second(lambda step: arm.update(step, forced=True), turn, seconds),
    }
    figures["first_frame_ms"], figures["rolled"] = rolled(arm.rollout, 1, seconds)
    if isinstance(arm, OurWay):
        _, figures["rolled_five"] = rolled(lambda: arm.rollout(5), 5, seconds)
    return figures


def per_second(work: Callable[[int], int], turn: int, seconds: float) -> float:
    """Return predictions per second. An update reads a number from the device, so it is complete when it returns."""
    done, start = 0, time.perf_counter()
    step = 16 * turn
    while (passed := time.perf_counter() - start) < seconds or not done:
        done += work(step)
        step += 1
    return done / passed


def rolled(begin: Callable[[], Iterator[np.ndarray]], sequences: int, seconds: float) -> tuple[float, float]:
    """Return milliseconds to the first predicted frame, and frames per second after it, of all sequences together."""
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


def matrix_peak(kind: torch.dtype, options: argparse.Namespace) -> float:
    """Return the floating point operations per second of a product of matrices, the best of three.

    The matrices are large, except where a processor emulates the arithmetic and would take minutes.
    """
    device = resolve_device(options.device)
    slow = device == "cpu" and kind == torch.bfloat16 and not machine_profile().bfloat16
    side = 256 if slow else MATRIX_SIDE[device]
    left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        product = left @ right
        product[0, 0].item()
        best = max(best, 2.0 * side**3 / (time.perf_counter() - start))
    return best


def predictions(config: Config) -> int:
    return config.training.batch_size * (config.training.clip_length - 1)


def share(updates: list[dict[str, float]], part: str) -> float:
    """Return the median over updates of a part's share of the time."""
    return statistics.median(seconds[part] / sum(seconds.values()) for seconds in updates)


def spread(figures: Figures) -> dict[str, list[float]]:
    """Return median, lowest and highest value of each figure that was measured."""
    return {
        name: [statistics.median(values), min(values), max(values)]
        for name, values in dataclasses.asdict(figures).items()
        if values
    }


def memory_of(name: str, options: argparse.Namespace) -> float:
    """Return the peak memory, in megabytes, of a process that makes three updates and rolls out for a second."""
    words = [sys.executable, __file__, "--memory", name, "--device", options.device, "--size", options.size]
    words += ["--frames", str(options.frames)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def peak_memory(name: str, options: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        arms = build_arms(Path(folder), options)
        if name.startswith("frames "):
            write_long_video(arms["default"], int(name.split()[1]), Path(folder, "long.mp4"))
        else:
            for step in range(3):
                arms[name].update(step, forced=False)
            rolled(arms[name].rollout, 1, 1.0)
    if resolve_device(options.device) == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, ru_maxrss starts at the value of the parent process
        (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def write_long_video(arm: CourseWay | OurWay, count: int, path: Path) -> None:
    """Roll out `count` frames into a video; one pose map is repeated, so that only the rollout needs memory."""
    assert isinstance(arm, OurWay)
    first = arm.recordings[0]
    poses = np.broadcast_to(first.poses[0], (count, *first.poses[0].shape))
    with open_writer(path, fps=25) as video:
        for frames in predict(arm.train_steps[False].smoothed, first.frames[0], poses):
            video.write(frames[0])


# Starting ---------------------------------------------------------------------------------------------------------


def start_up(options: argparse.Namespace) -> dict[str, float]:
    """Return the seconds that commands take in all: the help, and a video of two frames."""
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        data, run = Path(folder, "data"), Path(folder, "run")
        posecast = [sys.executable, "-m", "posecast"]
        recording = dance(64, seed=0, size=parse_size(options.size)).recording
        config = dataclasses.replace(RECIPES["anchored"], size=options.size, budget=Budget(steps=1))
        train(config, Footage([recording], [recording]), run)
        data.mkdir()
        for number in range(2):
            write_png(data / f"{number}.png", recording.poses[number])
        write_png(Path(folder, "me.png"), recording.frames[0])
        words = ["generate", run, "--first-frame", Path(folder, "me.png"), "--poses", data]
        words += ["--out", Path(folder, "me.mp4"), "--force"]
        commands = {"posecast --help": ["--help"], "posecast generate, two frames": words}
        return {name: seconds_of([*posecast, *map(str, args)], options.rounds) for name, args in commands.items()}


def seconds_of(words: list[str], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


# Scaling ----------------------------------------------------------------------------------------------------------


def growth(options: argparse.Namespace, against: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return predictions trained per second by the default recipe, with one setting changed at a time."""
    device = resolve_device(options.device)
    recipe = dataclasses.replace(RECIPES["anchored"], size=options.size)

    def changed(**settings: Any) -> Config:
        return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **settings))

    variants = {
        "batch": {str(b): changed(batch_size=b) for b in BATCHES[device]},
        "clip": {str(t): changed(clip_length=t, batch_size=4) for t in (2, 4, 8, 16, 32)},
        "size": {size: larger(recipe, size, **networks) for size, networks in SIZES.items()},
    }
    rates: dict[str, dict[str, float]] = {}
    for setting in (name for name in variants if name in against):
        rates[setting] = {}
        for value, config in variants[setting].items():
            recordings = [dance(96, seed=seed, size=parse_size(config.size)).recording for seed in range(3)]
            arm = OurWay(config, recordings, options.device)
            for step in range(FIRST_CALLS + 2 if device == "cuda" else 1):
                arm.update(step, forced=False)
            rounds = [
                per_second(lambda step, arm=arm: arm.update(step, forced=False), turn, options.seconds / 2)
                for turn in range(3)
            ]
            rates[setting][value] = statistics.median(rounds)
            print(".", end="", file=sys.stderr, flush=True)
    if "processes" in against:
        max_processes = torch.cuda.device_count() if device == "cuda" else 2
        rates["processes"] = {str(count): trained_by(count, options) for count in range(1, max_processes + 1)}
    print(file=sys.stderr)
    return rates


def larger(recipe: Config, size: str, **networks: Any) -> Config:
    return dataclasses.replace(recipe, size=size, networks=dataclasses.replace(recipe.networks, **networks))


def trained_by(processes: int, options: argparse.Namespace) -> float:
    """Return the frames/s that `posecast train --devices N` logs, with the threads divided among the processes."""
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        data, run = Path(folder, "data"), Path(folder, "run")
        threads = max(1, torch.get_num_threads() // processes)
        posecast = ["env", f"OMP_NUM_THREADS={threads}", sys.executable, "-m", "posecast"]
        subprocess.run([*posecast, "synth", data, "--frames", "320"], check=True, capture_output=True)
        budget = ["--steps", "120", "--validation-frames", "32", "--validate-every", "100"]
        words = ["train", "--data", data, "--out", run, *budget]
        words += ["--devices", str(processes), "--device", options.device]
        subprocess.run([*posecast, *words], check=True, capture_output=True)
        entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        return statistics.median(entry["frames_per_second"] for entry in entries[1:] or entries)


# Reporting --------------------------------------------------------------------------------------------------------


def report(measured: dict[str, Any]) -> str:
    """Return the measurements as Markdown tables."""
    machine, peaks = {"shares": 1, "cores": "?", "code_paths": "?", **measured["machine"]}, measured["matrix_flops"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, code paths {machine['code_paths']}; {measured['size']}, "
        f"{machine['device']}, {machine['shares']} shares of {machine['threads']} threads, {machine['precision']}, "
        f"torch {machine['torch']}; matrix peak {peaks['bfloat16'] / 1e9:.0f} GFLOP/s in bfloat16, "
        f"{peaks['float32'] / 1e9:.0f} in float32; medians of {measured['rounds']} rounds (lowest to highest)",
        "",
        "| frames/s | " + " | ".join(measured["arms"]) + " |",
        "|---|" + "---|" * len(measured["arms"]),
    ]
    titles = {
        "trained": "trained, no teacher forcing",
        "forced": "trained, teacher forcing",
        "rolled": "rolled out, one sequence",
        "rolled_five": "rolled out, five at once",
        "first_frame_ms": "milliseconds to the first frame",
    }
    course = measured["arms"]["the course's way"]
    for key, title in titles.items():
        cells = []
        for arm in measured["arms"].values():
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
    gflop = "GFLOP per prediction, forward and backward"
    rows: dict[str, list[str]] = {gflop: [], share_of_peak: []}
    rows |= {f"time: {part}": [] for part in next(iter(measured["parts"].values()))}
    for name, arm in measured["arms"].items():
        # For the reference implementation operations are not counted.
        flops = measured["flops_per_prediction"].get(name)
        rows[gflop].append(f"{flops / 1e9:.2f}" if flops else "")
        rows[share_of_peak].append(f"{100 * flops * arm['trained'][0] / peaks[kind]:.0f} %" if flops else "")
        for part in next(iter(measured["parts"].values())):
            shares = measured["parts"].get(name)
            rows[f"time: {part}"].append(f"{100 * shares[part]:.1f} %" if shares else "")
    rows["peak memory, MB"] = [f"{measured['peak_memory_mb'][name]:,.0f}" for name in measured["arms"]]
    lines += [f"| {title} | " + " | ".join(cells) + " |" for title, cells in rows.items()]
    lines += ["", "| operator, default recipe | share of an update's time |", "|---|---|"]
    lines += [f"| `{name}` | {100 * part:.1f} % |" for name, part in measured["operators"].items()]
    lines += ["", "| start | seconds |", "|---|---|"]
    lines += [f"| `{name}` | {seconds:.2f} |" for name, seconds in measured["start"].items()]
    if "neighbours" in measured:
        idle = measured["neighbours"]["0"][0]
        lines += [
            "",
            "| busy processes | frames/s trained, default recipe | share of the idle machine's |",
            "|---|---|---|",
        ]
        for count, (median, low, high) in measured["neighbours"].items():
            lines.append(f"| {count} | {median:,.1f} ({low:,.1f} to {high:,.1f}) | {100 * median / idle:.0f} % |")
    if "memory_of_frames" in measured:
        lines += ["", "| frames rolled out into a video | peak memory, MB |", "|---|---|"]
        lines += [f"| {int(count):,} | {peak:,.0f} |" for count, peak in measured["memory_of_frames"].items()]
    for setting, values in measured.get("growth", {}).items():
        lines += ["", f"| {setting} | " + " | ".join(values) + " |", "|---|" + "---|" * len(values)]
        lines.append("| trained frames/s | " + " | ".join(f"{v:,.0f}" for v in values.values()) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
