"""Devices, arithmetic and threads, chosen by measuring the machine instead of by what its processor claims.

In: the name of a device. Out: `MachineProfile`, measured once and kept in the user's cache. Knows no model.
Next: `threads.py` shares work out among the threads chosen here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from platformdirs import user_cache_path
from torch import Tensor, nn

from posecast.errors import InputError
from posecast.files import write_json
from posecast.model.threads import Workers, operator_threads

Precision = Literal["auto", "32-true", "bf16-mixed"]
FORMAT = 1
"""Raised whenever a kept profile comes to mean something else."""
CLEARLY_FASTER = 1.15
"""A choice that rounds otherwise, or takes more threads, must be faster by this factor."""
TRIAL_SECONDS = 0.25
"""What one trial of one choice may take."""
ROUNDS = 5
MOST_THREADS = 16
"""An update of a few small clips gives no more of them enough to do."""
THREAD_LIMIT = torch.get_num_threads()
"""Operator threads that torch began with, by the cores it sees or by OMP_NUM_THREADS; later changes are ours."""
FREE_SHARE = 0.85
"""A core is free if a thread on it computes for at least this share of the time."""
PATH_VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Environment variables that choose a processor's code paths."""


@dataclass(frozen=True)
class MachineProfile:
    """What was measured on a machine, and the choices that follow from it."""

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
    """Threads inside each operator where work cannot be shared out."""
    shares: int
    """Threads that work on shares of a batch, one operator thread each; 1 where operators share better."""
    quiet: bool
    """Whether the cores were free while it was measured."""

    @property
    def threads(self) -> int:
        """Threads at work at once."""
        return max(self.operator_threads, self.shares)

    def sentence(self) -> str:
        """Return the profile as one line for people."""
        arithmetic = (
            f"float32 {self.float32_gflops:.0f}, bfloat16 {self.bfloat16_gflops:.0f} GFLOP/s a thread: "
            f"{'bfloat16' if self.bfloat16 else 'float32'}"
        )
        sharing = f"clips shared among {self.shares} threads" if self.shares > 1 else "operators share their work"
        busy = "" if self.quiet else "; other programs were busy while it was measured"
        return f"{self.processor}, {count_of(self.cores, 'core')}; {arithmetic}; {sharing}{busy}"


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not 1.

    >>> count_of(1, "core"), count_of(2, "core")
    ('1 core', '2 cores')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def resolve_device(device: str) -> str:
    """Return auto, cpu, cuda or mps as what is there. Raises InputError."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if not available.get(device):
        there = ", ".join(name for name, present in available.items() if present)
        raise InputError(f"The device {device!r} is not there; this machine has {there}.")
    return device


def resolve_precision(precision: Precision, accelerator: str) -> Any:
    """Return the arithmetic to use: on a CPU bfloat16 where it was measured to be faster."""
    if precision != "auto":
        return precision
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if accelerator == "cpu" and machine_profile().bfloat16 else "32-true"


def available_cores() -> int:
    """Return how many cores this process may use: its affinity, and its container's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(affinity, _cgroup_quota())))


def _cgroup_quota() -> float:
    """Return the cores that a Linux container is limited to, infinity without a limit."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return float(quota) / float(period) if quota != "max" else math.inf
    return math.inf


def processor_name() -> str:
    """Return the processor's name as its maker gives it, or its architecture."""
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
    """Return this machine's profile: from memory, from the user's cache, or measured now in a few seconds.

    `tell` hears that it is measured. A profile measured beside busy programs is used, and not kept on disk.
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
                with contextlib.suppress(OSError):  # a profile that cannot be kept is measured again
                    write_json(path, {"format": FORMAT, **dataclasses.asdict(profile)})
        _measured[key] = profile
    return _measured[key]


def profile_key() -> str:
    """Return what a profile holds for: processor, cores, code paths and library versions."""
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
    """Return the file that keeps a profile."""
    return user_cache_path("posecast") / f"machine-{key}.json"


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
    whole = all(isinstance(count, int) and 1 <= count <= 4096 for count in counts)
    return profile if whole and isinstance(profile.bfloat16, bool) else None


def measure_machine() -> MachineProfile:
    """Measure products in float32 and bfloat16, and the ways to share a batch out among threads."""
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
    else:  # a passing neighbour must not decide; any number of threads can work on shares
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


def cores_are_free(count: int) -> bool:
    """Return whether `count` threads each get a core to themselves, by the processor time that they are given."""
    matrix = torch.ones(256, 256)

    def given_share(_: int) -> float:
        began, used = time.perf_counter(), time.thread_time()
        while time.perf_counter() - began < TRIAL_SECONDS:
            torch.mm(matrix, matrix)
        return (time.thread_time() - used) / (time.perf_counter() - began)

    with Workers(count) as crew, operator_threads(1):
        return min(crew.map(given_share, range(count))) > FREE_SHARE


def product_gflops(kind: torch.dtype, side: int = 256) -> float:
    """Return GFLOP/s of a product of square matrices on this thread's operator threads."""
    a, b = (torch.randn(side, side, generator=torch.Generator().manual_seed(n)).to(kind) for n in (0, 1))
    return 2e-9 * side**3 / min(_seconds(lambda: a @ b))


def convolution_gflops(kind: torch.dtype) -> float:
    """Return GFLOP/s of a 3x3 convolution's forward and backward pass on this thread's operator threads."""
    work = TrialWork(kind, layers=1)
    return 1e-9 * work.flops / min(_seconds(lambda: work.pass_over(work.pictures)))


def _seconds(function: Callable[[], object], seconds: float = TRIAL_SECONDS) -> Iterator[float]:
    """Yield how long a call takes, again and again for `seconds`, at least twice; the first call is not counted."""
    ends = time.perf_counter() + seconds
    function()
    for repetition in range(10_000):
        start = time.perf_counter()
        function()
        yield time.perf_counter() - start
        if repetition > 0 and time.perf_counter() > ends:
            return


class TrialWork:
    """What an update does, in small: convolutions and activations, forward and backward, over eight pictures."""

    def __init__(self, kind: torch.dtype, layers: int = 4, width: int = 64) -> None:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randn(8, width, 16, 32, generator=generator)
        self.pictures = pictures.contiguous(memory_format=torch.channels_last)
        self.kind = kind
        self.layers = nn.Sequential(*(nn.Conv2d(width, width, 3, padding=1) for _ in range(layers)))
        self.layers.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        # Forward, and the gradients of pictures and kernels.
        self.flops = 3 * layers * 2 * 9 * width**2 * pictures.shape[0] * math.prod(pictures.shape[2:])

    def pass_over(self, pictures: Tensor) -> list[Tensor]:
        """Return the gradients of pictures and kernels."""
        seen = pictures.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.kind == torch.bfloat16):
            x = seen
            for layer in self.layers:
                x = nn.functional.silu(layer(x))
        return list(torch.autograd.grad(x.float().square().mean(), [seen, *self.layers.parameters()]))


def choose_threads(limit: int, kind: torch.dtype) -> tuple[int, int]:
    """Return the operator threads, and the shares of a batch, with which an update in small is soonest done.

    On many cores neither is all of them: small operators on 64 threads are slower than on eight.
    """
    counts = [count for count in (1, 2, 3, 4, 6, 8, 12, MOST_THREADS) if count < limit] + [limit]
    if counts == [1]:
        return 1, 1
    work = TrialWork(kind)
    with contextlib.ExitStack() as stack:
        crews = {count: stack.enter_context(Workers(count)) for count in counts if count <= len(work.pictures)}
        trials: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):  # in turns, so that a neighbour disturbs all choices alike
            for count in counts:
                with operator_threads(count):
                    took = _seconds(lambda: work.pass_over(work.pictures), TRIAL_SECONDS / ROUNDS)
                    trials.setdefault(("operators", count), []).extend(took)
            for count, crew in crews.items():
                parts = work.pictures.tensor_split(count)
                with operator_threads(1):
                    took = _seconds(lambda: crew.map(work.pass_over, parts), TRIAL_SECONDS / ROUNDS)  # noqa: B023
                    trials.setdefault(("shares", count), []).extend(took)
    operators = fewest(trials, "operators")
    shares = fewest(trials, "shares")
    # Shared-out clips wait for nobody inside an operator, so they win unless operators are clearly faster.
    times = {choice: statistics.median(took) for choice, took in trials.items()}
    if times["operators", operators] * CLEARLY_FASTER < times["shares", shares]:
        shares = 1
    return operators, shares


def fewest(trials: Mapping[tuple[str, int], Sequence[float]], way: str) -> int:
    """Return the smallest number of threads that is nearly as fast as the fastest, by median."""
    times = {count: statistics.median(took) for (name, count), took in trials.items() if name == way}
    return min(count for count, took in times.items() if took <= 1.05 * min(times.values()))
