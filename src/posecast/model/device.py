"""Device, arithmetic and threads of this machine.

In: the name of a device. Out: the device and precision to compute with, and a `MachineProfile`, measured once and kept
in the user's cache. Next: `machine_speed.py` measures; `threads.py` shares work among the threads chosen here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from posecast.errors import InputError
from posecast.files import write_json
from posecast.model.machine_speed import (
    CLEARLY_FASTER,
    MOST_THREADS,
    choose_threads,
    convolution_gflops,
    cores_are_free,
    product_gflops,
)
from posecast.model.threads import operator_threads
from posecast.system.drives import cache_folder

Precision = Literal["auto", "32-true", "bf16-mixed"]
FORMAT = 1
"""Raised whenever the meaning of a kept profile changes."""
THREAD_LIMIT = torch.get_num_threads()
"""Operator threads that torch starts with, from the cores it detects or from OMP_NUM_THREADS."""
PATH_VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Environment variables that select the code paths of a processor."""


@dataclass(frozen=True)
class MachineProfile:
    """Measurements of a machine, and the choices that follow from them."""

    processor: str
    cores: int
    """Cores that this process may use."""
    float32_gflops: float
    """A convolution's forward and backward pass on one thread."""
    bfloat16_gflops: float
    float32_product_gflops: float
    """A product of matrices on one thread."""
    bfloat16_product_gflops: float
    bfloat16: bool
    """Whether both are clearly faster in bfloat16 than in float32."""
    operator_threads: int
    """Threads inside each operator, for work that cannot be divided into shares."""
    shares: int
    """Threads that each work on a share of a batch with one operator thread; 1 where operators are clearly faster."""
    quiet: bool
    """Whether the cores were free during the measurement."""

    @property
    def threads(self) -> int:
        """Largest number of threads that compute at the same time."""
        return max(self.operator_threads, self.shares)

    def sentence(self) -> str:
        """Return the profile as one line for people."""
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        arithmetic = (
            f"float32 {self.float32_gflops:.0f}, bfloat16 {self.bfloat16_gflops:.0f} GFLOP/s a thread: "
            f"{'bfloat16' if self.bfloat16 else 'float32'}"
        )
        sharing = f"clips shared among {self.shares} threads" if self.shares > 1 else "operators share their work"
        busy = "" if self.quiet else "; other programs were busy while it was measured"
        return f"{self.processor}, {cores}; {arithmetic}; {sharing}{busy}"


def resolve_device(device: str) -> str:
    """Return the device to compute on.

    Args:
        device: cpu, cuda or mps; auto for cuda where it is available, else cpu.

    Raises:
        InputError: This machine does not have the device.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if not available.get(device):
        names = ", ".join(name for name, is_available in available.items() if is_available)
        raise InputError(f"The device {device!r} is not available; this machine has {names}.")
    return device


def resolve_precision(precision: Precision, accelerator: str) -> Literal["32-true", "bf16-mixed"]:
    """Return the precision to compute with, by the names of Lightning Fabric.

    Args:
        precision: auto for bfloat16 where a GPU supports it, or where it was measured to be faster on this CPU.
        accelerator: cpu, cuda or mps.
    """
    if precision != "auto":
        return precision
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if accelerator == "cpu" and machine_profile().bfloat16 else "32-true"


def available_cores() -> int:
    """Return the number of cores that this process may use, by its affinity and its container's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(affinity, _cgroup_quota())))


def _cgroup_quota() -> float:
    """Return the cores that a Linux container is limited to, infinity without a limit."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return float(quota) / float(period) if quota != "max" else math.inf
    return math.inf


def processor_name() -> str:
    """Return the manufacturer's name of the processor, or its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return " ".join(line.partition(":")[2].split())
    if platform.system() == "Darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    return platform.processor() or platform.machine()


_measured: dict[str, MachineProfile] = {}


def machine_profile(tell: Callable[[str], None] | None = None) -> MachineProfile:
    """Return this machine's profile: from memory, from the user's cache, or measured in a few seconds.

    A profile that was measured while other programs were busy is not kept on disk.

    Args:
        tell: Called with one sentence before a measurement.
    """
    key = profile_key()
    if key not in _measured:
        path = profile_path(key)
        profile = _read(path)
        if profile is None:
            if tell:
                tell("Measuring this machine (once, some seconds)")
            profile = measure_machine()
            if profile.quiet:
                with contextlib.suppress(OSError):  # without a cache, each process measures again
                    write_json(path, {"format": FORMAT, **dataclasses.asdict(profile)})
        _measured[key] = profile
    return _measured[key]


@contextlib.contextmanager
def fixed_choices(**choices: int | bool) -> Iterator[None]:
    """Compute with given choices instead of the measured ones inside the context, in all threads of this process.

    Args:
        **choices: Values for the fields `operator_threads`, `shares` and `bfloat16` of the profile.
    """
    key, measured = profile_key(), machine_profile()
    _measured[key] = dataclasses.replace(measured, **choices)
    try:
        yield
    finally:
        _measured[key] = measured


def profile_key() -> str:
    """Return a digest of what a profile depends on: processor, cores, code paths and library versions."""
    facts = (
        FORMAT,
        processor_name(),
        torch.backends.cpu.get_cpu_capability(),
        available_cores(),
        THREAD_LIMIT,
        torch.__version__,
        torch.backends.mkldnn.is_available(),
        *(os.environ.get(name, "") for name in PATH_VARIABLES),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def profile_path(key: str) -> Path:
    """Return the path of a profile in the cache folder."""
    return cache_folder() / f"machine-{key}.json"


def _read(path: Path) -> MachineProfile | None:
    """Return a kept profile, None where there is none or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            return None
        profile = MachineProfile(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    counts = (profile.cores, profile.operator_threads, profile.shares)
    is_valid = all(isinstance(count, int) and 1 <= count <= 4096 for count in counts)
    return profile if is_valid and isinstance(profile.bfloat16, bool) else None


def measure_machine() -> MachineProfile:
    """Measure float32 and bfloat16, and the ways to share a batch among threads."""
    limit = min(available_cores(), THREAD_LIMIT, MOST_THREADS)
    quiet = cores_are_free(limit)
    with operator_threads(1):
        convolutions = {kind: convolution_gflops(kind) for kind in (torch.float32, torch.bfloat16)}
        products = {kind: product_gflops(kind) for kind in (torch.float32, torch.bfloat16)}
    bfloat16 = all(
        speeds[torch.bfloat16] > CLEARLY_FASTER * speeds[torch.float32] for speeds in (convolutions, products)
    )
    if quiet:
        operators, shares = choose_threads(limit, torch.bfloat16 if bfloat16 else torch.float32)
    else:  # trials would measure the other programs
        operators, shares = limit, limit
    return MachineProfile(
        processor=processor_name(),
        cores=available_cores(),
        float32_gflops=convolutions[torch.float32],
        bfloat16_gflops=convolutions[torch.bfloat16],
        float32_product_gflops=products[torch.float32],
        bfloat16_product_gflops=products[torch.bfloat16],
        bfloat16=bfloat16,
        operator_threads=operators,
        shares=shares,
        quiet=quiet,
    )
