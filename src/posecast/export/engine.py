"""Choice of what computes rollouts: torch, or ONNX Runtime with graphs that are kept in the user's cache.

In: a predictor and the name of an engine. Out: the predictor, with graphs that were checked on this machine or without.
Next: `checked_graphs.py` makes and checks the graphs, `model/onnx_rollout.py` rolls out with them.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from posecast.errors import InputError
from posecast.export.checked_graphs import metadata, write_checked
from posecast.export.parity import Parity
from posecast.model.onnx_rollout import MISSING, PARITY, Engine, OnnxRollout, graphs_folder
from posecast.model.predictor import Predictor

MOST_KEPT = 16
"""Runs whose graphs are kept; the oldest are removed."""


def choose_engine(predictor: Predictor, engine: Engine, tell: Callable[[str], None] | None = None) -> str:
    """Let a predictor roll out with an engine; it is changed in place.

    Args:
        predictor: Predictor on the device that it computes on.
        engine: torch; onnx, for which graphs are made and checked if none are kept; or auto for graphs that were
            checked on this machine before, if there are any and the predictor computes in float32 on a CPU.
        tell: Called with one sentence before graphs are made.

    Returns:
        Name and version of the engine.

    Raises:
        InputError: ONNX Runtime was chosen, and it is missing, or the predictor is on a GPU, or the graphs differ.
    """
    on_cpu = next(predictor.parameters()).device.type == "cpu"
    ours = f"torch {torch.__version__.partition('+')[0]}"
    if engine == "torch" or (engine == "auto" and (not on_cpu or predictor.in_bfloat16 or not is_installed())):
        return ours
    if not on_cpu:
        raise InputError("--engine onnx computes on the CPU; give --device cpu too, or leave --engine out.")
    check_installed()
    folder = kept_folder(predictor)
    if not (folder / PARITY).is_file():
        if engine == "auto":
            return ours
        if tell:
            tell("Making and checking graphs for ONNX Runtime (once for each run)")
        keep_graphs(predictor)
    predictor.in_bfloat16 = False
    predictor.engine = OnnxRollout(folder, predictor.latent_shape, predictor.pose_window, predictor.workers.count)
    return predictor.engine.version


def is_installed() -> bool:
    """Return whether the packages of the extra `export` are there."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


def check_installed() -> None:
    """Raise InputError unless the packages of the extra `export` are there."""
    if not is_installed():
        raise InputError(MISSING)


def kept_folder(predictor: Predictor) -> Path:
    """Return the folder for the graphs of a predictor, by all that they depend on; it may not exist."""
    about = json.dumps(metadata(predictor), sort_keys=True)
    return graphs_folder() / hashlib.sha256(about.encode()).hexdigest()[:32]


def keep_graphs(predictor: Predictor) -> tuple[Path, Parity]:
    """Write and check the graphs of a predictor in the cache, and remove the oldest ones there.

    Returns:
        The folder of the graphs, and their parity.
    """
    folder = kept_folder(predictor)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        parity = write_checked(predictor, temporary)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process was faster
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    kept = sorted((path for path in folder.parent.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in kept[:-MOST_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
    return folder, parity
