"""Rollouts by ONNX Runtime, from graphs that `posecast export` wrote.

In: a folder of graphs, rollout inputs, a generator of noise per row. Out: a generator of batches of frames, one per
time step, as from `rollout_batches.py`, whose noise it draws alike. Next: `export/graphs.py` writes the graphs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from posecast.data.clips import as_images, pose_windows
from posecast.errors import InputError
from posecast.model.device import profile_key
from posecast.model.draws import step_noise
from posecast.model.rollout_input import RolloutInput
from posecast.system.drives import cache_folder

GRAPHS = ("anchor", "condition", "begin", "step")
"""Names of the graphs; networks without an anchor have no `anchor`, those without a memory of z no `begin`."""
POSES_AHEAD = 64
"""Pose maps encoded in one batch."""
ROWS_AT_ONCE = 32
"""Frames decoded in one batch where time steps do not depend on each other."""
MISSING = "ONNX Runtime is not installed; pip install 'posecast[export]'."

Engine = Literal["auto", "torch", "onnx"]
PARITY = "parity.json"
"""File beside the graphs: how closely their frames equal those of torch."""
Arrays = list[np.ndarray]


def import_runtime() -> Any:
    """Import ONNX Runtime with its telemetry off: the wheels for Linux send reports to their maker otherwise.

    Raises:
        InputError: It is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when it is imported
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(MISSING) from error
    return onnxruntime


class OnnxRollout:
    """Graphs of one run, ready to compute.

    Args:
        folder: Folder of the graphs.
        latent_shape: Shape of the z of one frame.
        pose_window: Pose maps on each side of the current one.
        threads: Threads that compute.
    """

    def __init__(self, folder: Path, latent_shape: tuple[int, ...], pose_window: int, threads: int = 1) -> None:
        onnxruntime = import_runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.latent_shape, self.pose_window = latent_shape, pose_window
        self.version = f"onnxruntime {onnxruntime.__version__}"
        self.sessions = {
            path.stem: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for path in (folder / f"{name}.onnx" for name in GRAPHS)
            if path.exists()
        }
        self.feedback = any(node.name == "previous" for node in self.sessions["step"].get_inputs())

    def run(self, graph: str, *inputs: np.ndarray) -> Arrays:
        """Compute a graph from its inputs, in their order."""
        session = self.sessions[graph]
        names = [node.name for node in session.get_inputs()]
        arrays = [np.ascontiguousarray(values) for values in inputs]
        return [np.asarray(values) for values in session.run(None, dict(zip(names, arrays, strict=True)))]

    def frames(
        self, inputs: Sequence[RolloutInput], generators: Sequence[torch.Generator] | None, length: int
    ) -> Iterator[Tensor]:
        """Yield frames 2..length of all sequences, one row per future; see `rollout_together`."""
        num_futures = len(generators) // len(inputs) if generators else 1
        num_rows = len(inputs) * num_futures

        def noise() -> np.ndarray:
            if generators:
                return step_noise(generators, self.latent_shape).numpy()
            return np.zeros((num_rows, *self.latent_shape), np.float32)

        anchors = [self._anchor(sequence) for sequence in inputs]
        frame = np.repeat(np.concatenate([images(sequence.first_frame) for sequence in inputs]), num_futures, 0)
        memory = self._begin(inputs, anchors, frame, noise, num_futures)
        ahead = max(1, POSES_AHEAD // len(inputs))
        together = 1 if self.feedback or memory else max(1, ROWS_AT_ONCE // num_rows)
        for start in range(1, length, ahead):
            instants = np.arange(start, min(start + ahead, length))
            conditions = self._conditions(inputs, anchors, instants, num_futures)
            while steps := list(islice(conditions, together)):
                previous = [frame] if self.feedback else []
                noises = np.concatenate([noise() for _ in steps])
                condition = [np.concatenate(scale) for scale in zip(*steps, strict=True)]
                frame, *memory = self.run("step", *memory, *previous, noises, *condition)
                yield from torch.from_numpy(frame).split(num_rows)

    def _begin(
        self,
        inputs: Sequence[RolloutInput],
        anchors: Sequence[Arrays],
        frame: np.ndarray,
        noise: Callable[[], np.ndarray],
        num_futures: int,
    ) -> Arrays:
        """Return the memory of z after the first frame; empty where z has no memory."""
        if "begin" not in self.sessions:
            return []
        [condition] = self._conditions(inputs, anchors, np.zeros(1, int), num_futures)
        return self.run("begin", frame, noise(), *condition)

    def _anchor(self, sequence: RolloutInput) -> Arrays:
        """Return the features of a sequence's anchor."""
        if "anchor" not in self.sessions:
            return []
        frame, pose = sequence.anchor or (sequence.first_frame, sequence.poses[0])
        return self.run("anchor", images(frame), images(pose))

    def _conditions(
        self, inputs: Sequence[RolloutInput], anchors: Sequence[Arrays], instants: np.ndarray, num_futures: int
    ) -> Iterator[Arrays]:
        """Yield the conditions of each time step, one row per future of each sequence."""
        encoded = [
            self.run("condition", pose_windows(sequence.poses, instants, self.pose_window).numpy(), *anchor)
            for sequence, anchor in zip(inputs, anchors, strict=True)
        ]
        for step in range(len(instants)):
            rows = zip(*([scale[step : step + 1] for scale in scales] for scales in encoded), strict=True)
            yield [np.repeat(np.concatenate(row), num_futures, 0) for row in rows]


def graphs_folder() -> Path:
    """Return the folder in the user's cache for graphs that were made and checked with the present versions here."""
    onnxruntime = import_runtime()
    versions = hashlib.sha256(f"{onnxruntime.__version__} {profile_key()}".encode()).hexdigest()[:16]
    return cache_folder() / f"graphs-{versions}"


def images(pixels: np.ndarray) -> np.ndarray:
    """Return one image `[H, W, 3]` as a float batch `[1, 3, H, W]` of values in [0, 1]."""
    return as_images(np.asarray(pixels)[None]).contiguous().numpy()
