"""What `check` remembers of a picture, and what it sees by comparing neighbours.

In: a file; a recording's files. Out: a `Picture`, which is small; findings about cuts, jumps and size.
Knows no data set. Next: `check.py`, which looks at all of them.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from posecast.data.folder_dataset import RecordingFiles, runs
from posecast.data.images import read_picture
from posecast.errors import Finding, InputError, some

CUT = 0.08
"""A frame that differs from the one before by this share of the full scale, and by far more than usual, is a cut."""
LEAP = 0.4
"""Nobody moves by this share of their height from one frame to the next."""
SMALL = 0.35
"""A person whose pose is usually drawn lower than this share of the picture."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What `check` remembers of a picture; a damaged one has the size (0, 0)."""

    damage: str = ""
    size: tuple[int, int] = (0, 0)
    is_blank: bool = False
    kind: str = ""
    digest: bytes = b""
    small: bytes = b""
    """The picture in 8x8 grey pixels, to see jumps by."""
    drawn: tuple[float, float, float] | None = None
    """Of a pose map: how high what is drawn is, and its middle, across and down, all in shares of the height."""


def look(path: Path) -> Picture:
    """Open a picture and note what `check` asks of it."""
    try:
        pixels = read_picture(path)
        with Image.open(path) as file:
            kind = f"{file.format} {file.mode}"
    except (InputError, OSError) as error:
        return Picture(str(error))
    is_blank = bool((pixels == pixels[0, 0]).all())
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
    small = Image.fromarray(pixels).convert("L").resize((8, 8), Image.Resampling.BOX).tobytes()
    drawn = None if is_blank else _drawn(pixels)
    return Picture("", (pixels.shape[0], pixels.shape[1]), is_blank, kind, digest, small, drawn)


def _drawn(pixels: np.ndarray) -> tuple[float, float, float] | None:
    """How high what is drawn on white is, and its middle; None where there is no white paper or nothing on it."""
    ink = (pixels < 200).any(-1)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows) or ink.mean() > 0.5:
        return None
    height = len(pixels)
    middle = (columns[0] + columns[-1] + 1) / 2 / height, (rows[0] + rows[-1] + 1) / 2 / height
    return (float(rows[-1] + 1 - rows[0]) / height, *middle)


def find_jumps(where: str, recording: RecordingFiles, pictures: dict[Path, Picture]) -> list[Finding]:
    """Where the picture or the pose jumps from one frame to the next, and a person who is small throughout."""
    remarks, cuts, leaps = [], [], []
    changes: list[float] = []
    for before, frame in itertools.pairwise(recording.frames):
        one, other = (np.frombuffer(pictures[each.image].small, np.uint8).astype(float) for each in (before, frame))
        if len(one) and len(other):
            differs = float(np.abs(one - other).mean()) / 255
            if len(changes) >= 5 and differs > max(CUT, 6 * float(np.median(changes[-25:]))):
                cuts.append(frame.number)
                changes = []
            else:
                changes.append(differs)
        drawn = [pictures[each.label].drawn for each in (before, frame)]
        if drawn[0] and drawn[1] and max(abs(drawn[0][k] - drawn[1][k]) for k in (1, 2)) > LEAP * drawn[0][0]:
            leaps.append(frame.number)
    if cuts:
        message = (
            f"{where}: the picture changes at once, as at a cut: {ranges(cuts)}. Leave a gap in the numbers there."
        )
        remarks.append(Finding("cuts", message))
    if leaps:
        message = f"{where}: the pose jumps, as where an estimator errs: {ranges(leaps)}."
        remarks.append(Finding("pose jumps", message))
    heights = [found.drawn[0] for frame in recording.frames if (found := pictures[frame.label]).drawn]
    if heights and np.median(heights) < SMALL:
        share = 100 * float(np.median(heights))
        message = f"{where}: the person fills {share:.0f} % of the picture's height; a closer crop shows more."
        remarks.append(Finding("small person", message))
    return remarks


def ranges(numbers: list[int]) -> str:
    """3-5, 9 (4 in all)."""
    rising = runs(sorted(numbers), lambda number: ("", number))
    ranges = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in rising]
    return f"{some(ranges)} ({len(numbers)} in all)"
