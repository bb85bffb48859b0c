"""Processes of a training: start, end, and the values that they exchange.

In: a task that every process runs. Out: its end, or one sentence about why it ended early; sums, rows and votes of all
processes. Next: `train.py` has the task; `step.py` and `loop.py` exchange values.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import platform
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from posecast.errors import InputError, InterruptedTraining, TrainingFailed
from posecast.model.device import Precision, available_cores, machine_profile, processor_name, resolve_precision
from posecast.system.output import protect_output
from posecast.training.checkpoints import writer_lock
from posecast.training.signals import forwarding_signals

LAUNCHERS = (
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ("torchrun", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"),
    ("mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
)
"""A launcher of tasks, its variable for their number, and one that is set only in a task that it started."""

INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""Variables for the network interface; without them torch listens where the name of this machine leads."""

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its other messages are for developers


class OwnProcesses(LightningEnvironment):
    """Processes that this one starts on this machine, whatever the variables of a scheduler say."""

    @property
    def creates_processes_externally(self) -> bool:
        """Return False, whether or not LOCAL_RANK is set."""
        return False

    @property
    def main_address(self) -> str:
        """Return the address of this machine, which no other one reaches."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Return no port, whether or not MASTER_PORT is set, because the processes meet by a file."""
        return 0

    def node_rank(self) -> int:
        """Return 0, since there is one machine."""
        return 0


class Processes(DDPStrategy):
    """Several processes by DDP; each stops when its parent process ends for any reason.

    torch asks the operating system for the same, but only after a process has imported everything, which takes
    seconds. The processes find each other by a file, since torch's server for that asks a name server for 127.0.0.1.
    """

    def __init__(self, meeting_place: str) -> None:
        """Create the strategy, which starts new processes rather than copies of this one; the file must not exist."""
        super().__init__(start_method="spawn")
        self.meeting_place = meeting_place

    def setup_environment(self) -> None:
        """Watch the parent, then wait for the other processes; SIGTERM ends that wait, and SIGINT would not."""
        threading.Thread(target=_stop_with_parent, daemon=True).start()
        protect_output()
        for name in INTERFACES:
            os.environ.pop(name, None)
            if loopback := {"lo", "lo0"} & {interface for _, interface in socket.if_nameindex()}:
                os.environ[name] = loopback.pop()
        file_store = torch.distributed.FileStore  # pyright: ignore[reportPrivateImportUsage]
        uses_cuda = self.root_device.type == "cuda"
        torch.distributed.init_process_group(
            "nccl" if uses_cuda else "gloo",
            store=file_store(self.meeting_place, self.num_processes),
            rank=self.local_rank,
            world_size=self.num_processes,
            device_id=self.root_device if uses_cuda else None,
        )
        super().setup_environment()


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def check_single_task() -> None:
    """Raise InputError if a launcher started this process as one of several tasks, each of which would train alone."""
    for launcher, variable, rank in LAUNCHERS:
        count = os.environ.get(variable, "")
        if count.isdecimal() and int(count) > 1 and rank in os.environ:
            raise InputError(
                f"{launcher} has started {count} tasks ({variable}); expected one, which starts the processes of a "
                f"training itself. Start one task, and train with --devices {count}."
            )


def single_process(accelerator: str, precision: Precision = "auto") -> Fabric:
    """Return the Fabric of the present process alone, whatever the variables of a scheduler say."""
    resolved = resolve_precision(precision, accelerator)
    return Fabric(accelerator=accelerator, devices=1, precision=resolved, plugins=[OwnProcesses()])


def launch(
    task: Callable[[Fabric], None],
    run: Path,
    *,
    accelerator: str,
    devices: int,
    precision: Literal["32-true", "bf16-mixed"],
) -> None:
    """Run a task in one process or several.

    Args:
        task: Work of each process; it is pickled for several.
        run: Folder that the first process writes to.
        accelerator: "cpu", "cuda" or "mps".
        devices: Number of processes; a single one is the present process.
        precision: Arithmetic.

    Raises:
        InterruptedTraining: A signal ended the processes.
        TrainingFailed: One of several processes failed.
    """
    several = devices > 1
    meeting = tempfile.TemporaryDirectory(ignore_cleanup_errors=True) if several else contextlib.nullcontext("")
    with forwarding_signals(devices) as caught, meeting as folder:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            strategy=Processes(f"{folder}/processes") if several else "auto",
            precision=precision,
            plugins=[OwnProcesses()],
        )
        try:
            fabric.launch(partial(_run_task, task=task, run=run))
        except Exception as error:
            if caught:
                raise InterruptedTraining(caught[0]) from None
            if isinstance(error, ProcessExitedException | ProcessRaisedException):
                raise TrainingFailed(_reason_of(error)) from None
            raise


def _reason_of(error: ProcessExitedException | ProcessRaisedException) -> str:
    """Return one sentence about why one of several processes ended."""
    if isinstance(error, ProcessExitedException):
        ended = f"signal {error.signal_name}" if error.signal_name else f"exit status {error.exit_code}"
        return f"Process {error.error_index} of the training ended by {ended}, so all ended; go on with --resume."
    last_line = str(error).strip().splitlines()[-1]
    kind, _, message = last_line.partition(": ")
    if kind.endswith((InputError.__name__, TrainingFailed.__name__)):
        return message
    return f"A process of the training ended ({last_line[:300]}), so all ended; go on with --resume."


def _run_task(fabric: Fabric, task: Callable[[Fabric], None], run: Path) -> None:
    """Run the task in one process, then leave the group of processes."""
    try:
        # If its parent is killed, this process stops a moment later; a training that resumes the run waits for that.
        writes = fabric.world_size > 1 and fabric.global_rank == 0
        with writer_lock(run) if writes else contextlib.nullcontext():
            task(fabric)
    finally:
        if torch.distributed.is_initialized():
            # gloo's threads may still hold tensors of the last exchange and need the interpreter's lock to release
            # them. Destroying the group holds that lock while it joins the threads, so let them finish first.
            time.sleep(0.3)
            torch.distributed.destroy_process_group()


def machine_facts(fabric: Fabric, shares: int = 1) -> dict[str, Any]:
    """Return the facts about the machine for config.json; processes, threads and shares are restored on resuming.

    Args:
        fabric: Device, precision and processes.
        shares: Number of shares that the clips of an update are divided into.
    """
    return {
        "device": str(fabric.device),
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
        "shares": shares,
        "precision": str(fabric._precision.precision),
        "processor": processor_name(),
        "cores": available_cores(),
        "code_paths": torch.backends.cpu.get_cpu_capability(),
        "measured": dataclasses.asdict(machine_profile()) if fabric.device.type == "cpu" else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def any_of(fabric: Fabric, *flags: bool) -> list[bool]:
    """Return for each flag whether any process has set it, so that all processes act at the same update."""
    if fabric.world_size == 1:
        return list(flags)
    votes = torch.tensor([float(flag) for flag in flags], device=fabric.device)
    return [bool(vote) for vote in _summed(fabric, votes)]


def gather_rows(fabric: Fabric, rows: Tensor) -> Tensor:
    """Return the rows of every process, which must have equally many, in the order of the ranks."""
    if fabric.world_size == 1:
        return rows
    places = rows.new_zeros(fabric.world_size, *rows.shape)
    places[fabric.global_rank] = rows
    return _summed(fabric, places).flatten(0, 1)


def sum_over_processes_(fabric: Fabric, tensors: list[Tensor]) -> None:
    """Replace each tensor by its sum over all processes."""
    if fabric.world_size == 1:
        return
    total = _summed(fabric, torch.cat([tensor.flatten() for tensor in tensors]))
    for tensor, part in zip(tensors, total.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def _summed(fabric: Fabric, tensor: Tensor) -> Tensor:
    total = fabric.all_reduce(tensor, reduce_op="sum")
    assert isinstance(total, Tensor)
    return total
