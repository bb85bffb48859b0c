"""Resumable states, log and locks of a run folder.

In: a run folder. Out: all that training needs to go on exactly. Nothing in a state is run: it is read with
`weights_only`. Next: `state.py` is what is saved; `resume.py` says what must not change.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from posecast.errors import InputError
from posecast.files import is_empty, read_json, remove_leftovers, write_bytes, write_json, write_text
from posecast.model.checkpoint import RUN_MARKER

KEPT_STATES = 2


LOCKS = (".lock", ".writer.lock")
"""Who trains into a run, and, where several processes train, which of them writes."""


WAIT_S = 60.0
"""How long a training waits for processes that a killed one left behind; these stop at their next update."""


@contextmanager
def training_lock(run: Path) -> Iterator[None]:
    """Keep other trainings out of a run folder; the lock ends with the process, however that ends.

    Half-written files that a killed process left behind are removed, for now nobody writes them. A folder that holds
    something else is not touched: whoever asked will be refused it. Raises InputError.
    """
    refused = run.is_symlink() or (run.exists() and not run.is_dir())
    if refused or not (is_empty(run, LOCKS) or (run / RUN_MARKER).exists()):
        yield
        return
    run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run / LOCKS[0], timeout=0):
            with writer_lock(run):  # nobody's any more, once it is to be had: what is read from now on stays
                remove_leftovers(run)
            yield
    except Timeout as error:
        raise InputError(f"Another posecast is training into {run}; wait for it, or name another folder.") from error


def writer_lock(run: Path) -> FileLock:
    """Held by that one of several processes which writes; it may outlive the one that began them for a moment."""
    return FileLock(run / LOCKS[1], timeout=WAIT_S)


def write_plan(run: Path, entries: Sequence[Sequence[int]]) -> None:
    """Record in config.json how many updates are planned now, where that has changed."""
    content = read_json(run / "config.json", "a run folder")
    planned = {"num_steps": entries[-1][1], "plan": [list(entry) for entry in entries]}
    if any(content.get(name) != value for name, value in planned.items()):
        write_json(run / "config.json", {**content, **planned})


def save_state(run: Path, state: Mapping[str, Any]) -> None:
    """state/step-N-DIGEST.pt: everything needed to go on exactly; the newest two are kept."""
    content = io.BytesIO()  # some megabytes; the digest in its name is known before the file has one
    torch.save(dict(state), content)
    digest = hashlib.blake2b(content.getbuffer(), digest_size=8).hexdigest()
    path = run / "state" / f"step-{state['step']:09d}-{digest}.pt"
    write_bytes(path, content.getbuffer())
    for same in path.parent.glob(f"step-{state['step']:09d}*.pt"):  # saved before this epoch was validated
        if same != path:
            same.unlink(missing_ok=True)
    for old in states(run)[:-KEPT_STATES]:
        old.unlink(missing_ok=True)


def is_finite(content: Any) -> bool:
    """Whether no tensor in nested mappings and lists holds NaN or infinity."""
    if isinstance(content, Tensor):
        return bool(torch.isfinite(content).all())
    if isinstance(content, Mapping):
        return all(is_finite(value) for value in content.values())
    return not isinstance(content, list | tuple) or all(is_finite(value) for value in content)


def load_state(run: Path, tell: Callable[[str], None] = lambda sentence: None) -> dict[str, Any] | None:
    """The newest whole state, None where nothing was saved; `tell` hears of damaged ones that were passed over.

    Raises InputError if all are damaged.
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
    """One saved state, None if it is not byte for byte what was written. Nothing in it is run."""
    try:
        content = path.read_bytes()
        if path.stem.split("-")[2:] != [hashlib.blake2b(content, digest_size=8).hexdigest()]:
            return None
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # whatever torch says of a file that is no state
        return None
    whole = isinstance(state, dict) and isinstance(state.get("standing"), dict) and isinstance(state.get("step"), int)
    return state if whole and isinstance(state["standing"].get("plan"), list) else None


def states(run: Path) -> list[Path]:
    """Saved states, oldest first."""
    return sorted((run / "state").glob("step-*.pt"), key=lambda path: (path.name.split("-")[1][:9], path.name))


def write_log(run: Path, entries: list[dict[str, Any]]) -> None:
    """Replace log.jsonl, one object per epoch, atomically."""
    write_text(run / "log.jsonl", "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries))
