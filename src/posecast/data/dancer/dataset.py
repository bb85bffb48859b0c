"""The synthetic dancer as a data set on disk, in the course's layout.

In: numbers. Out: train, val and test folders, hidden.npz with what the poses do not tell, synth.json.
Next: `dance.py` draws, `folder_dataset.py` writes.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import posecast
from posecast.data.dancer.dance import Dance, hidden_arrays, synthesise
from posecast.data.folder_dataset import write_recordings, write_test_sequences
from posecast.data.recordings import PoseSequence
from posecast.files import claim_folder, write_bytes, write_json

MARKER = "synth.json"
WRITTEN = (MARKER, "hidden.npz", "train", "val", "test", ".posecast")


@dataclass(frozen=True)
class Choreography:
    """What determines a synthetic data set, byte for byte."""

    sequences: int = 3
    frames: int = 630
    size: tuple[int, int] = (32, 64)
    seed: int = 0
    look: int = 0
    hidden: float = 1.0
    looks: int = 1


def write_synthetic(
    out: Path,
    choreography: Choreography,
    *,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Write training recordings, one for val, and val's poses as test 0; returns val's ceiling in dB.

    The ceiling is the PSNR that a prediction of the mean over the hidden factors could at most reach.
    """
    claim_folder(out, marker=MARKER, ours=WRITTEN, force=force)
    c = choreography
    train, val = synthesise(c.sequences, c.frames, c.size, c.seed, c.look, c.hidden, c.looks)
    # The marker comes first: an interrupted write can be replaced with --force.
    write_json(out / MARKER, {"posecast": posecast.__version__, **dataclasses.asdict(c)})
    following = write_recordings(out, "train", [dance.recording for dance in train], progress=progress)
    write_recordings(out, "val", [val.recording], first_number=following, progress=progress)
    names = [f"frame{following + k:06d}" for k in range(len(val.recording))]
    first = PoseSequence("0", val.recording.frames[0], val.recording.poses, names)
    write_test_sequences(out, [first], progress=progress)
    arrays = hidden_of(train, val)
    table = io.BytesIO()
    np.savez(table, **arrays)  # pyright: ignore[reportArgumentType]
    write_bytes(out / "hidden.npz", table.getbuffer())
    return float(arrays["val0_ceiling_psnr_db"])


def hidden_of(train: list[Dance], val: Dance) -> dict[str, np.ndarray]:
    """hidden.npz: for each recording (train0, train1, ..., val0) its factors and its ceiling."""
    named = {f"train{number}": dance for number, dance in enumerate(train)} | {"val0": val}
    return {
        f"{name}_{factor}": values for name, dance in named.items() for factor, values in hidden_arrays(dance).items()
    }
