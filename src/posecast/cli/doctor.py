"""What posecast finds on this machine, as one page to read and to paste into a bug report.

In: nothing. Out: sections of lines, and advice. Measures; names no person, host or folder. Next: `model/device.py`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from platformdirs import user_cache_path

import posecast
from posecast.config.recipes import RECIPES
from posecast.config.schema import Config
from posecast.data.dancer.dance import dance
from posecast.data.recordings import Footage, Recording
from posecast.evaluation.evaluate import mean_rollout
from posecast.model.device import (
    THREAD_LIMIT,
    MachineProfile,
    available_cores,
    cores_are_free,
    machine_profile,
    resolve_precision,
)
from posecast.model.threads import operator_threads
from posecast.training.batches import build_cutter
from posecast.training.budget import measure_update, stages
from posecast.training.step import TrainStep
from posecast.training.train import chosen_threads

LIBRARIES = ("torch", "lightning-fabric", "numpy", "av", "pillow", "cyclopts", "rich", "safetensors", "torchmetrics")
EXTRAS = {"video": ("mediapipe", "finds poses in a video"), "tensorboard": ("tensorboard", "curves while training")}
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve", "bf16")
"""Of a processor, as Linux names them, that matter for products of matrices."""
COURSE_FRAMES = 23_410
LAB4_GFLOP = 25.3
"""Of a predicted frame of the course's networks, forward and backward (docs/speed.md)."""
LEAST_MEMORY_GIB, LEAST_DISK_GIB = 2.0, 2.0


@dataclass(frozen=True)
class Diagnosis:
    """Sections of (name, finding), and sentences of advice."""

    sections: dict[str, list[tuple[str, str]]]
    advice: list[str]


def diagnose(tell: Callable[[str], None] = lambda sentence: None) -> Diagnosis:
    """Look at software, processor, GPU, memory and disk, and measure an update and a rollout of the default recipe."""
    tell("Measuring this machine, about 15 s")
    profile = machine_profile()
    free = cores_are_free(min(available_cores(), THREAD_LIMIT))
    advice: list[str] = []
    sections = {
        "software": software(advice),
        "processor": processor(profile, free, advice),
        "GPU": gpu(advice),
        "memory and disk": space(advice),
        "what to expect": expectations(profile),
    }
    return Diagnosis(sections, advice)


def software(advice: list[str]) -> list[tuple[str, str]]:
    """Versions, and what extras are there or need."""
    found = [
        ("posecast", posecast.__version__),
        ("Python", f"{platform.python_version()} ({sys.implementation.name})"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
    ]
    found += [(name, importlib.metadata.version(name)) for name in LIBRARIES]
    for extra, (module, purpose) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        found.append((f"extra {extra}", "installed" if there else f"not installed: pip install 'posecast[{extra}]'"))
        if not there and extra == "video":
            advice.append(
                f"posecast[{extra}] is not installed; it {purpose}. Without it, give keypoints made elsewhere."
            )
    return found


def processor(profile: MachineProfile, free: bool, advice: list[str]) -> list[tuple[str, str]]:
    """Describe the processor, its measured speed and the choices that follow."""
    total = os.cpu_count() or 1
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    if not free:
        advice.append(
            "Other programs use the processor: training learns less in the same --minutes, and the speeds are lower."
        )
    if profile.cores < total:
        advice.append(f"posecast may use {profile.cores} of {total} cores; a container or a scheduler limits it.")

    def speeds(float32: float, bfloat16: float) -> str:
        return f"float32 {float32:.0f}, bfloat16 {bfloat16:.0f} GFLOP/s a thread"

    shared = f"clips shared out among {profile.shares}"
    return [
        ("name", profile.processor),
        ("cores", f"{profile.cores} usable of {total}; {'free' if free else 'busy'}{load}"),
        ("features", ", ".join(features()) or "unknown"),
        ("code paths", torch.backends.cpu.get_cpu_capability()),
        ("convolutions", speeds(profile.float32_gflops, profile.bfloat16_gflops)),
        ("matrices", speeds(profile.float32_product_gflops, profile.bfloat16_product_gflops)),
        ("arithmetic", "bfloat16, measured to be faster" if profile.bfloat16 else "float32, measured to be faster"),
        ("threads", shared if profile.shares > 1 else f"{profile.operator_threads} in operators"),
    ]


def features() -> list[str]:
    """The processor's features that matter, where the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace").lower()
    except OSError:
        return []
    flags = {flag for line in text.splitlines() if line.startswith(("flags", "features")) for flag in line.split()}
    return [feature for feature in FEATURES if feature in flags]


def gpu(advice: list[str]) -> list[tuple[str, str]]:
    """GPUs, or why none is used."""
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return [(one.name, f"{one.total_memory / 2**30:.0f} GiB") for one in devices]
    if torch.backends.mps.is_available():
        advice.append("Apple's GPU is there but was never tried with posecast; --device mps tries it.")
        return [("mps", "there, used only with --device mps")]
    if torch.version.cuda is None:
        return [("none", "this torch is built for CPUs")]
    advice.append("This torch is built for NVIDIA GPUs and found none; a CPU build is a tenth of its size.")
    return [("none", f"this torch is built for CUDA {torch.version.cuda}, and found no GPU or no driver")]


def space(advice: list[str]) -> list[tuple[str, str]]:
    """Free memory, and free disk here and in the user's cache."""
    found = []
    memory = free_memory_gib()
    if memory is not None:
        found.append(("free memory", f"{memory:.1f} GiB"))
        if memory < LEAST_MEMORY_GIB:
            advice.append(f"Only {memory:.1f} GiB of memory are free; the default recipe needs about 1, lab4 about 3.")
    disk = shutil.disk_usage(Path.cwd()).free / 2**30
    found.append(("free disk here", f"{disk:.1f} GiB"))
    if disk < LEAST_DISK_GIB:
        advice.append(f"Only {disk:.1f} GiB of disk are free here; a run and its data need some hundred MB.")
    cache = user_cache_path("posecast")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        writable = os.access(cache, os.W_OK)
    except OSError:
        writable = False
    found.append(("user's cache", "can be written" if writable else "cannot be written"))
    if not writable:
        advice.append("The user's cache folder cannot be written, so this machine is measured again at every start.")
    return found


def free_memory_gib() -> float | None:
    """Memory that programs may still take, where the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) / 2**20
    except (OSError, ValueError):
        pass
    return None


def expectations(profile: MachineProfile) -> list[tuple[str, str]]:
    """Frames a second of the default recipe, and what follows for the demo and the course's footage."""
    config = RECIPES["anchored"]
    moves = dance(96, size=(32, 64)).recording
    update_s, frame_s = measured(config, moves)
    trained = config.training.batch_size * (config.training.clip_length - 1) / update_s
    lab4 = profile.threads * profile.float32_gflops * (1.5 if profile.bfloat16 else 0.8) / LAB4_GFLOP
    return [
        ("default recipe", f"{trained:.0f} frames/s trained, {1 / frame_s:.0f} frames/s rolled out"),
        ("posecast demo", f"6 minutes, about {round(290 / update_s, -1):,.0f} updates"),
        ("the course's frames", f"{COURSE_FRAMES / trained / 60:.0f} min an epoch of {COURSE_FRAMES:,} frames"),
        ("with --recipe lab4", f"about {COURSE_FRAMES / lab4 / 60:.0f} min an epoch (computed, not measured)"),
    ]


def measured(config: Config, moves: Recording) -> tuple[float, float]:
    """Seconds of an update, and of a frame rolled out."""
    fabric = Fabric(accelerator="cpu", devices=1, precision=resolve_precision("auto", "cpu"))
    threads, shares = chosen_threads("cpu")
    with operator_threads(threads):
        learner = TrainStep(fabric, config, shares=shares)
        try:
            cutter = build_cutter(config, Footage([moves], [moves]))
            update_s = measure_update(learner, cutter, *stages(config.training)[-1])
            start = time.monotonic()
            mean_rollout(learner.smoothed, moves)
            return update_s, (time.monotonic() - start) / (len(moves) - 1)
        finally:
            learner.workers.close()
