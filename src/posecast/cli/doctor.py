"""Diagnosis of this machine, as one page that can be pasted into a bug report.

Out: sections of lines, and advice. The page names no person, host or folder.
Next: `model/device.py`, which measures the speeds; `tables.py`, which prints the page.
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

import posecast
from posecast.config.recipes import RECIPES
from posecast.config.schema import Config
from posecast.data.dancer.dance import dance
from posecast.data.recordings import Footage, Recording
from posecast.evaluation.evaluate import mean_rollout
from posecast.model.device import THREAD_LIMIT, MachineProfile, available_cores, machine_profile
from posecast.model.machine_speed import cores_are_free
from posecast.model.threads import operator_threads
from posecast.system.drives import cache_folder, user_cache
from posecast.training.batches import build_cutter
from posecast.training.budget import measure_update
from posecast.training.distributed import single_process
from posecast.training.plan import stages
from posecast.training.step import TrainStep
from posecast.training.train import chosen_threads

LIBRARIES = ("torch", "lightning-fabric", "numpy", "av", "pillow", "cyclopts", "rich", "safetensors", "torchmetrics")
EXTRAS = {
    "video": ("mediapipe", "finds poses in a video"),
    "export": ("onnxruntime", "exports runs, and rolls out faster"),
    "tensorboard": ("tensorboard", "curves while training"),
}
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve", "bf16")
"""Processor features, as Linux names them, that matter for matrix products."""
COURSE_FRAMES = 23_410
LAB4_GFLOP = 25.3
"""Cost of a predicted frame of the course's networks, forward and backward (docs/explanation/training-speed.md)."""
LEAST_MEMORY_GIB, LEAST_DISK_GIB = 2.0, 2.0

Lines = list[tuple[str, str]]
"""Pairs of a name and a value."""


@dataclass(frozen=True)
class Diagnosis:
    """Lines of each section, and sentences of advice."""

    sections: dict[str, Lines]
    advice: list[str]


def diagnose(notify: Callable[[str], None]) -> Diagnosis:
    """Examine software and hardware, and measure an update and a rollout of the default recipe."""
    notify("Measuring this machine, about 15 s")
    profile = machine_profile()
    is_free = cores_are_free(min(available_cores(), THREAD_LIMIT))
    advice: list[str] = []
    sections = {
        "software": software(advice),
        "processor": processor(profile, is_free, advice),
        "GPU": gpu(advice),
        "memory and disk": space(advice),
        "what to expect": expectations(profile),
    }
    return Diagnosis(sections, advice)


def software(advice: list[str]) -> Lines:
    """Return the versions of the libraries and the state of the extras."""
    lines = [
        ("posecast", posecast.__version__),
        ("Python", f"{platform.python_version()} ({sys.implementation.name})"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
    ]
    lines += [(name, importlib.metadata.version(name)) for name in LIBRARIES]
    for extra, (module, purpose) in EXTRAS.items():
        is_installed = importlib.util.find_spec(module) is not None
        state = "installed" if is_installed else f"not installed: pip install 'posecast[{extra}]'"
        lines.append((f"extra {extra}", state))
        if not is_installed and extra == "video":
            advice.append(
                f"posecast[{extra}] is not installed; it {purpose}, with Python 3.11 or 3.12. Else: --keypoints."
            )
    return lines


def processor(profile: MachineProfile, is_free: bool, advice: list[str]) -> Lines:
    """Return the processor's name, its measured speed and the choices that follow from it."""
    num_cores = os.cpu_count() or 1
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    if not is_free:
        advice.append(
            "Other programs use the processor: training makes fewer updates in the same --minutes, and the speeds "
            "above are too low."
        )
    if profile.cores < num_cores:
        advice.append(f"posecast may use {profile.cores} of {num_cores} cores; a container or a scheduler limits it.")

    def speeds(float32: float, bfloat16: float) -> str:
        return f"float32 {float32:.0f}, bfloat16 {bfloat16:.0f} GFLOP/s per thread"

    shared = f"clips of an update divided among {profile.shares}"
    return [
        ("name", profile.processor),
        ("cores", f"{profile.cores} usable of {num_cores}; {'free' if is_free else 'busy'}{load}"),
        ("features", ", ".join(features()) or "unknown"),
        ("code paths", torch.backends.cpu.get_cpu_capability()),
        ("convolutions", speeds(profile.float32_gflops, profile.bfloat16_gflops)),
        ("matrices", speeds(profile.float32_product_gflops, profile.bfloat16_product_gflops)),
        ("arithmetic", "bfloat16, measured to be faster" if profile.bfloat16 else "float32, measured to be faster"),
        ("threads", shared if profile.shares > 1 else f"{profile.operator_threads} in operators"),
    ]


def features() -> list[str]:
    """Return those of `FEATURES` that the processor has; empty on other systems than Linux."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace").lower()
    except OSError:
        return []
    flags = {flag for line in text.splitlines() if line.startswith(("flags", "features")) for flag in line.split()}
    return [feature for feature in FEATURES if feature in flags]


def gpu(advice: list[str]) -> Lines:
    """Return the GPUs, or the reason why none is used."""
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return [(device.name, f"{device.total_memory / 2**30:.0f} GiB") for device in devices]
    if torch.backends.mps.is_available():
        advice.append("Apple's GPU is available but untested with posecast; --device mps uses it.")
        return [("mps", "available, used only with --device mps")]
    if torch.version.cuda is None:
        return [("none", "this torch is built for CPUs")]
    advice.append("This torch is built for NVIDIA GPUs but found none; a build for CPUs is a tenth of its size.")
    return [("none", f"this torch is built for CUDA {torch.version.cuda} but found no GPU or no driver")]


def space(advice: list[str]) -> Lines:
    """Return the free memory, the free disk space and the state of the user's cache folder."""
    lines = []
    memory_gib = free_memory_gib()
    if memory_gib is not None:
        lines.append(("free memory", f"{memory_gib:.1f} GiB"))
        if memory_gib < LEAST_MEMORY_GIB:
            advice.append(
                f"Only {memory_gib:.1f} GiB of memory are free; the default recipe needs about 1, lab4 about 3."
            )
    disk_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    lines.append(("free disk here", f"{disk_gib:.1f} GiB"))
    if disk_gib < LEAST_DISK_GIB:
        advice.append(f"Only {disk_gib:.1f} GiB of disk are free here; a run and its data need a few hundred MB.")
    is_writable = user_cache() is not None
    lines.append(("user's cache", "writable" if is_writable else "not writable"))
    if not is_writable:
        kept = "in the temporary folder" if os.access(cache_folder(), os.W_OK) else "nowhere"
        advice.append(f"The user's cache folder is not writable; the measurements of this machine are kept {kept}.")
    return lines


def free_memory_gib() -> float | None:
    """Return the memory that programs can still allocate; None on other systems than Linux."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) / 2**20
    except (OSError, ValueError):
        pass
    return None


def expectations(profile: MachineProfile) -> Lines:
    """Return the measured speed of the default recipe, and estimates for the demo and the course's data set."""
    config = RECIPES["anchored"]
    update_s, frame_s = measure_recipe(config, dance(96, size=(32, 64)).recording)
    trained = config.training.batch_size * (config.training.clip_length - 1) / update_s
    lab4 = profile.threads * profile.float32_gflops * (1.5 if profile.bfloat16 else 0.8) / LAB4_GFLOP
    return [
        ("default recipe", f"{trained:.0f} frames/s trained, {1 / frame_s:.0f} frames/s rolled out"),
        ("posecast demo", f"6 minutes, about {round(290 / update_s, -1):,.0f} updates"),
        ("the course's frames", f"{COURSE_FRAMES / trained / 60:.0f} min per epoch of {COURSE_FRAMES:,} frames"),
        ("with --recipe lab4", f"about {COURSE_FRAMES / lab4 / 60:.0f} min per epoch (computed, not measured)"),
    ]


def measure_recipe(config: Config, recording: Recording) -> tuple[float, float]:
    """Return the seconds of an update, and of a frame of a rollout, on the CPU."""
    threads, shares = chosen_threads("cpu")
    with operator_threads(threads):
        train_step = TrainStep(single_process("cpu"), config, shares=shares)
        try:
            cutter = build_cutter(config, Footage([recording], [recording]))
            update_s = measure_update(train_step, cutter, *stages(config.training)[-1])
            start = time.monotonic()
            mean_rollout(train_step.smoothed, recording)
            return update_s, (time.monotonic() - start) / (len(recording) - 1)
        finally:
            train_step.workers.close()
