"""Statistics of single images, and comparisons of neighbouring frames.

In: an image file; a recording's files. Out: an `ImageStats`, which is small; findings about cuts, jumps and size.
Next: `check.py`, which collects them for a data set.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from posecast.data.folder_dataset import RecordingFiles, consecutive_runs
from posecast.data.images import read_image_file
from posecast.errors import Finding, InputError, join_limited

CUT = 0.08
"""A cut differs from the frame before by more than this share of the full scale, and by far more than usual."""
POSE_JUMP = 0.4
"""Movement from one frame to the next, as a share of the person's height, that no person makes."""
SMALL_PERSON = 0.35
"""Share of the image height; a person whose median height is lower counts as small."""


@dataclass(frozen=True, slots=True)
class ImageStats:
    """Statistics of an image; a damaged one has the size (0, 0)."""

    damage: str = ""
    size: tuple[int, int] = (0, 0)
    is_blank: bool = False
    kind: str = ""
    digest: bytes = b""
    small: bytes = b""
    """The image as 8x8 grey pixels, to detect cuts."""
    drawn: tuple[float, float, float] | None = None
    """Of a pose map: height of what is drawn, and its centre's x and y, all as shares of the image height."""


def measure_image(path: Path) -> ImageStats:
    """Read an image file and measure it; a file that cannot be read gives its error as `damage`."""
    try:
        file = read_image_file(path)
    except InputError as error:
        return ImageStats(str(error))
    pixels = file.pixels
    is_blank = bool((pixels == pixels[0, 0]).all())
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
    small = Image.fromarray(pixels).convert("L").resize((8, 8), Image.Resampling.BOX).tobytes()
    drawn = None if is_blank else _drawn(pixels)
    return ImageStats("", file.size, is_blank, file.kind, digest, small, drawn)


def _drawn(pixels: np.ndarray) -> tuple[float, float, float] | None:
    """Return height and centre of what is drawn on white; None if the image is not white or nothing is drawn."""
    ink = (pixels < 200).any(-1)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows) or ink.mean() > 0.5:
        return None
    height = len(pixels)
    middle = (columns[0] + columns[-1] + 1) / 2 / height, (rows[0] + rows[-1] + 1) / 2 / height
    return (float(rows[-1] + 1 - rows[0]) / height, *middle)


def find_jumps(where: str, recording: RecordingFiles, stats: dict[Path, ImageStats]) -> list[Finding]:
    """Find cuts, jumps of the pose, and a person who is small throughout; remarks begin with `where`."""
    remarks, cuts, pose_jumps = [], [], []
    differences: list[float] = []
    for before, frame in itertools.pairwise(recording.frames):
        small = [np.frombuffer(stats[files.image].small, np.uint8).astype(float) for files in (before, frame)]
        if len(small[0]) and len(small[1]):
            difference = float(np.abs(small[0] - small[1]).mean()) / 255
            if len(differences) >= 5 and difference > max(CUT, 6 * float(np.median(differences[-25:]))):
                cuts.append(frame.number)
                differences = []
            else:
                differences.append(difference)
        drawn = [stats[files.label].drawn for files in (before, frame)]
        if drawn[0] and drawn[1] and max(abs(drawn[0][k] - drawn[1][k]) for k in (1, 2)) > POSE_JUMP * drawn[0][0]:
            pose_jumps.append(frame.number)
    if cuts:
        message = f"{where}: the image changes abruptly, as at a cut: {ranges(cuts)}. Leave a gap in the numbers there."
        remarks.append(Finding("cuts", message))
    if pose_jumps:
        message = f"{where}: the pose jumps, as after an error of a pose estimator: {ranges(pose_jumps)}."
        remarks.append(Finding("pose jumps", message))
    heights = [drawn[0] for frame in recording.frames if (drawn := stats[frame.label].drawn)]
    if heights and np.median(heights) < SMALL_PERSON:
        share = 100 * float(np.median(heights))
        message = f"{where}: the person fills {share:.0f} % of the image height; a closer crop shows more."
        remarks.append(Finding("small person", message))
    return remarks


def ranges(numbers: list[int]) -> str:
    """Write numbers as ranges and their count, such as "3-5, 9 (4 in all)"."""
    runs = consecutive_runs(sorted(numbers), lambda number: ("", number))
    ranges = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"{join_limited(ranges)} ({len(numbers)} in all)"
