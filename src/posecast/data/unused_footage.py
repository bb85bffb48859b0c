"""Training recordings that are too short to be used, stated in sentences; if all are, training is refused instead.

In: a data set and the lengths of clips. Out: a sentence for each reason, with the number of recordings and frames.
Next: `clips.py`, which cuts clips; `recordings.py`, which holds out tails.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from posecast.config.schema import Training
from posecast.data.folder_dataset import list_split
from posecast.data.recordings import tail_length
from posecast.errors import InputError


def unused_footage(root: Path, training: Training) -> list[str]:
    """Return a sentence for each reason for which training recordings are not used.

    Args:
        root: The data set; nothing is returned if it cannot be listed, which is an error elsewhere.
        training: Settings, of which the shortest clip length counts.
    """
    try:
        recordings, _ = list_split(root, "train")
    except InputError:
        return []
    lengths = [len(recording.frames) for recording in recordings]
    without_tail, kept = split_off_tails(root, lengths)
    return [note for note in (without_tail, shorter_than_clips(kept, min(training.clip_lengths))) if note]


def split_off_tails(root: Path, lengths: Sequence[int]) -> tuple[str | None, list[int]]:
    """Return a sentence on recordings that no tail can be held out of, and the lengths without tails.

    With a folder val there are no tails.
    """
    if os.path.isdir(root / "val"):
        return None, list(lengths)
    kept = [length - tail_length(length) for length in lengths if length - tail_length(length) >= 2]
    dropped = [length for length in lengths if length - tail_length(length) < 2]
    sentence = f"{_share(dropped, lengths)} too short to hold out a tail for validation and left out; give a val split."
    return sentence if dropped and kept else None, kept


def shorter_than_clips(lengths: Sequence[int], clip_length: int) -> str | None:
    """Return a sentence on recordings that are shorter than the shortest clip; None if none or all are."""
    short = [length for length in lengths if length < clip_length]
    sentence = (
        f"{_share(short, lengths)} shorter than a clip of {clip_length} frames and never trained on; "
        "give longer recordings or a smaller --clip-length."
    )
    return sentence if 0 < len(short) < len(lengths) else None


def _share(some: Sequence[int], lengths: Sequence[int]) -> str:
    """Return the beginning of a sentence about some of the recordings."""
    verb = "is" if len(some) == 1 else "are"
    return f"{len(some)} of {len(lengths)} training recordings ({sum(some)} of {sum(lengths)} frames) {verb}"
