"""One process or several, begun and ended as one.

In: what every process is to do. Out: nothing, or one sentence about why they ended. Knows no training.
Next: `train.py`, which is what they do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from posecast.errors import InputError, InterruptedTraining, TrainingFailed
from posecast.model.device import available_cores, machine_profile, processor_name
from posecast.training.checkpoints import writer_lock
from posecast.training.signals import forwarding_signals

if TYPE_CHECKING:  # it takes longer to import than torch, and a rollout does without
    from lightning_fabric import Fabric

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it says besides is for developers


class Processes(DDPStrategy):
    """Several processes by DDP; each asks itself to stop when the one that began them ends, however that ends.

    torch has the system do so too, but only after a process has imported all it needs, which takes seconds.
    """

    def __init__(self) -> None:
        super().__init__(start_method="spawn")

    def setup_environment(self) -> None:
        """Watch the parent, then meet the other processes: a wait which SIGTERM ends and SIGINT would not."""
        threading.Thread(target=_stop_with_parent, daemon=True).start()
        super().setup_environment()


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def launch(fabric: Fabric, task: Callable[[Fabric], None], run: Path) -> None:
    """Run the task in every process. Raises InterruptedTraining after a signal, TrainingFailed if a process ends."""
    with forwarding_signals(fabric.world_size) as caught:
        try:
            fabric.launch(partial(_here, task=task, run=run))
        except Exception as error:
            if caught:
                raise InterruptedTraining(caught[0]) from None
            if isinstance(error, ProcessExitedException | ProcessRaisedException):
                raise TrainingFailed(reason_of(error)) from None
            raise


def reason_of(error: ProcessExitedException | ProcessRaisedException) -> str:
    """One sentence about a process of several that ended."""
    if isinstance(error, ProcessExitedException):
        ended = f"signal {error.signal_name}" if error.signal_name else f"exit status {error.exit_code}"
        return f"Process {error.error_index} of the training ended by {ended}, and so all did; go on with --resume."
    last = str(error).strip().splitlines()[-1]
    kind, _, said = last.partition(": ")
    if kind.endswith((InputError.__name__, TrainingFailed.__name__)):
        return said
    return f"A process of the training ended ({last[:300]}), and so all did; go on with --resume."


def _here(fabric: Fabric, task: Callable[[Fabric], None], run: Path) -> None:
    """What every process does: the task, then leave the group of processes in good order."""
    try:
        # If the process that began this one is killed, this one stops by itself, but after a moment: whoever resumes
        # the run meanwhile waits for that.
        writes = fabric.world_size > 1 and fabric.global_rank == 0
        with writer_lock(run) if writes else contextlib.nullcontext():
            task(fabric)
    finally:
        if torch.distributed.is_initialized():
            # gloo's threads may still hold tensors of the last exchange and need the interpreter's lock to drop
            # them. Whoever takes the group apart holds that lock and joins those threads, so let them finish first.
            time.sleep(0.3)
            torch.distributed.destroy_process_group()


def machine_facts(fabric: Fabric, shares: int = 1) -> dict[str, Any]:
    """What config.json says of the machine; processes, threads and shares are restored on resuming."""
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


def any_of(fabric: Fabric, *wishes: bool) -> list[bool]:
    """Each wish, if any process has it: what one process does at an update, all must do at that update."""
    if fabric.world_size == 1:
        return list(wishes)
    votes = torch.tensor([float(wish) for wish in wishes], device=fabric.device)
    total = fabric.all_reduce(votes, reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    return [bool(vote) for vote in total]
