"""Files of a training run: resumable states, log, plan and locks.

In: a run folder. Out: everything needed to resume training exactly. States are read with `weights_only`, so nothing
in them is executed. Next: `state.py` and `step.py` have the content of a state.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from torch import Tensor

from posecast.errors import InputError
from posecast.files import is_empty, read_bytes, read_json, remove_leftovers, write_bytes, write_json, write_text
from posecast.model.checkpoint import RUN_MARKER
from posecast.system.drives import locked

KEPT_STATES = 2
MAX_STATE_BYTES = 2**34
"""Largest file of a state that is read."""
LOCKS = (".lock", ".writer.lock")
"""Locks of the training, and, if it has several processes, of the one that writes."""
WAIT_S = 60.0
"""Longest wait for the processes of a killed training, which stop at their next update."""


@contextmanager
def training_lock(run: Path) -> Iterator[None]:
    """Keep other trainings out of a run folder within the block; the lock ends with the process in any case.

    Half-written files of a killed process are removed. A folder that holds something else is neither locked nor
    changed; the caller refuses it.

    Raises:
        InputError: Another training has the lock.
    """
    no_folder = run.is_symlink() or (run.exists() and not run.is_dir())
    if no_folder or not (is_empty(run, LOCKS) or (run / RUN_MARKER).exists()):
        yield
        return
    run.mkdir(parents=True, exist_ok=True)
    try:
        with locked(run / LOCKS[0], timeout=0):
            with writer_lock(run):  # waits until no process of a killed training writes any more
                remove_leftovers(run)
            yield
    except Timeout as error:
        raise InputError(f"Another posecast is training into {run}; wait for it, or name another folder.") from error


def writer_lock(run: Path) -> AbstractContextManager[None]:
    """Return the lock of the process that writes, which may live a moment longer than its parent process."""
    return locked(run / LOCKS[1], timeout=WAIT_S)


def write_plan(run: Path, entries: Sequence[Sequence[int]]) -> None:
    """Record the plan in config.json."""
    write_facts(run, {"num_steps": entries[-1][1], "plan": [list(entry) for entry in entries]})


def write_facts(run: Path, facts: Mapping[str, Any]) -> None:
    """Record facts in config.json if they have changed."""
    content = read_json(run / "config.json", "a run folder")
    if any(content.get(name) != value for name, value in facts.items()):
        write_json(run / "config.json", {**content, **facts})


def save_state(run: Path, state: Mapping[str, Any]) -> None:
    """Write state/step-N-DIGEST.pt, everything needed to resume exactly, and remove all but the newest states."""
    content = io.BytesIO()  # the digest, part of the file's name, is of the complete content
    torch.save(dict(state), content)
    digest = hashlib.blake2b(content.getbuffer(), digest_size=8).hexdigest()
    path = run / "state" / f"step-{state['step']:09d}-{digest}.pt"
    write_bytes(path, content.getbuffer())
    for earlier in path.parent.glob(f"step-{state['step']:09d}*.pt"):  # saved before the epoch was validated
        if earlier != path:
            earlier.unlink(missing_ok=True)
    for old in states(run)[:-KEPT_STATES]:
        old.unlink(missing_ok=True)


def is_finite(content: Any) -> bool:
    """Return whether no tensor in nested mappings and sequences has NaN or infinity."""
    if isinstance(content, Tensor):
        return bool(torch.isfinite(content).all())
    if isinstance(content, Mapping):
        return all(is_finite(value) for value in content.values())
    return not isinstance(content, list | tuple) or all(is_finite(value) for value in content)


def load_state(run: Path, tell: Callable[[str], None] = lambda sentence: None) -> dict[str, Any] | None:
    """Load the newest intact state of a run.

    Args:
        run: Folder of the run.
        tell: Called with a sentence about each damaged state that is skipped.

    Returns:
        The state, or None if none was saved.

    Raises:
        InputError: All states are damaged.
    """
    paths = states(run)
    for path in reversed(paths):
        state = read_state(path)
        if state is not None:
            return state
        tell(f"{path} is damaged; going on from the one before it.")
    if paths:
        raise InputError(f"Every state in {run}/state is damaged; start again in a new folder.")
    return None


def read_state(path: Path) -> dict[str, Any] | None:
    """Read a state; return None if the file is not byte for byte what was written, or is no state."""
    try:
        content = read_bytes(path, MAX_STATE_BYTES)
        if path.stem.split("-")[2:] != [hashlib.blake2b(content, digest_size=8).hexdigest()]:
            return None
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # torch raises errors of many kinds
        return None
    valid = isinstance(state, dict) and isinstance(state.get("standing"), dict) and isinstance(state.get("step"), int)
    return state if valid and isinstance(state["standing"].get("plan"), list) else None


def states(run: Path) -> list[Path]:
    """Return the paths of the saved states, oldest first."""
    return sorted((run / "state").glob("step-*.pt"), key=lambda path: (path.name.split("-")[1][:9], path.name))


def write_log(run: Path, entries: list[dict[str, Any]]) -> None:
    """Replace log.jsonl, one JSON object per epoch, atomically."""
    write_text(run / "log.jsonl", "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries))
