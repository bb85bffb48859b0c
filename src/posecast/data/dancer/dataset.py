"""Data set of the synthetic dancer, in the course's folder layout.

In: a `Choreography`. Out: folders train, val and test, hidden.npz with the hidden factors, and synth.json.
Next: `dance.py`, which renders; `folder_dataset.py`, which writes.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import posecast
from posecast.data.dancer.dance import Dance, hidden_arrays, synthesise
from posecast.data.folder_dataset import write_recordings, write_test_sequences
from posecast.data.prefetch import Progress
from posecast.data.recordings import PoseSequence
from posecast.files import claim_folder, write_bytes, write_json

MARKER = "synth.json"
WRITTEN = (MARKER, "hidden.npz", "train", "val", "test", ".posecast")


@dataclass(frozen=True)
class Choreography:
    """Complete specification of a synthetic data set; it determines every byte.

    Attributes:
        sequences: Number of training recordings.
        frames: Length of every recording.
        size: Height and width of the frames.
        seed: Seed of motions and hidden factors.
        look: Number of the first dancer.
        hidden: Scale of the factors that the poses do not determine; 0 for none.
        looks: Number of dancers in the training recordings.
    """

    sequences: int = 3
    frames: int = 630
    size: tuple[int, int] = (32, 64)
    seed: int = 0
    look: int = 0
    hidden: float = 1.0
    looks: int = 1


def write_synthetic(
    out: Path, choreography: Choreography, *, force: bool = False, progress: Progress | None = None
) -> float:
    """Write training recordings, a recording for val, and its poses as test sequence 0.

    Args:
        out: A new or empty folder.
        choreography: Specification of the data set.
        force: Replace an earlier synthetic data set in `out`.
        progress: Called with the number of written images of a split and their total.

    Returns:
        The ceiling of val in dB, see `dance.ceiling_psnr_db`.

    Raises:
        InputError: `out` may not be filled, or the specification is out of range.
    """
    claim_folder(out, marker=MARKER, ours=WRITTEN, force=force)
    c = choreography
    train, val = synthesise(c.sequences, c.frames, c.size, c.seed, c.look, c.hidden, c.looks)
    # The marker is written first, so that --force can replace a data set whose writing was interrupted.
    write_json(out / MARKER, {"posecast": posecast.__version__, **dataclasses.asdict(c)})
    val_number = write_recordings(out, "train", [dance.recording for dance in train], progress=progress)
    write_recordings(out, "val", [val.recording], first_number=val_number, progress=progress)
    names = [f"frame{val_number + k:06d}" for k in range(len(val.recording))]
    test = PoseSequence("0", val.recording.frames[0], val.recording.poses, names)
    write_test_sequences(out, [test], progress=progress)
    arrays = _hidden_arrays(train, val)
    archive = io.BytesIO()
    np.savez(archive, **arrays)  # pyright: ignore[reportArgumentType]
    write_bytes(out / "hidden.npz", archive.getbuffer())
    return float(arrays["val0_ceiling_psnr_db"])


def _hidden_arrays(train: list[Dance], val: Dance) -> dict[str, np.ndarray]:
    """Return the content of hidden.npz: factors and ceiling of each recording (train0, train1, ..., val0)."""
    named = {f"train{index}": dance for index, dance in enumerate(train)} | {"val0": val}
    return {
        f"{name}_{factor}": values for name, dance in named.items() for factor, values in hidden_arrays(dance).items()
    }
