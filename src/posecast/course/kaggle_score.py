"""Score of a submission, computed as the course's Kaggle board computes it.

In: submission.csv, the true frames, and optionally the board's split into parts. Out: a `Grade`, the PSNR of each
frame that counts. Imports no torch.
Next: `submission_rows.py`, which reads submissions; `cli/tables.py`, which prints the grade.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from posecast.course.submission_rows import open_text, read_ids, read_rows
from posecast.data.folder_dataset import entries, numbered_files
from posecast.data.images import read_image
from posecast.data.prefetch import Progress, in_threads
from posecast.errors import InputError

LAST_FRAME = 600
"""The board counts frames 1 to 600 of each sequence; frame 0 is given."""
SMALLEST_MSE = 1 / 12
"""Mean squared error of rounding to 8 bits, on the scale 0 to 255; smaller errors count as this one."""
LIMIT_DB = 10 * math.log10(255**2 / SMALLEST_MSE)
"""PSNR of a submission that equals the truth."""
PARTS = ("Public", "Private", "Ignored")


@dataclass(frozen=True)
class SequenceGrade:
    """PSNR in dB of the frames of one sequence that count, and of its first frame in their place (copied)."""

    name: str
    psnr_db: np.ndarray = field(repr=False)
    copied_psnr_db: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Grade:
    """Score of a submission; all frames that count have the same weight."""

    sequences: tuple[SequenceGrade, ...]
    parts: Mapping[str, np.ndarray] = field(repr=False)
    """PSNR in dB of the frames of each part that count, by the part's name; empty if the split is unknown."""

    @property
    def psnr_db(self) -> float:
        """Mean over all frames that count."""
        return float(np.concatenate([sequence.psnr_db for sequence in self.sequences]).mean())

    @property
    def copied_psnr_db(self) -> float:
        """Mean over all frames that count, for copies of the first frames."""
        return float(np.concatenate([sequence.copied_psnr_db for sequence in self.sequences]).mean())


def grade(
    submission: Path,
    truth: Path,
    *,
    size: tuple[int, int] = (32, 64),
    parts: Path | None = None,
    last_frame: int = LAST_FRAME,
    progress: Progress | None = None,
) -> Grade:
    """Score a submission.

    PSNR of a frame is 10 log10(255^2 / MSE), with the MSE over colours and pixels on 0 to 255, at least 1/12.

    Args:
        submission: The submission.csv, with its rows in any order, plain, gzipped or zipped.
        truth: Folder of the true frames (`list_truth`).
        size: Height and width of the submitted frames.
        parts: CSV with the part of each row (`read_parts`).
        last_frame: Last frame of a sequence that counts.
        progress: Called with the number of frames done and their total.

    Raises:
        InputError: If a file is wrong; the message names the row.
    """
    sequences = list_truth(truth)
    paths = [path for frames in sequences.values() for path in frames]
    numbers = np.concatenate([np.arange(len(frames)) for frames in sequences.values()])
    part_of = read_parts(parts, len(paths)) if parts else None

    def read_values(path: Path) -> np.ndarray:
        return read_image(path, size).transpose(2, 0, 1).ravel().astype(np.float64)

    rows = read_ids(submission, len(paths), size)
    true_values = in_threads(read_values, [paths[row] for row in rows], progress)
    psnr, copied = np.empty(len(paths)), np.empty(len(paths))
    first_frames: dict[int, np.ndarray] = {}
    for row, true, predicted in zip(rows, true_values, read_rows(submission, size), strict=True):
        first = row - int(numbers[row])
        if first not in first_frames:
            first_frames[first] = true if row == first else read_values(paths[first])
        psnr[row], copied[row] = psnr_db(predicted, true), psnr_db(first_frames[first], true)

    counts = (numbers >= 1) & (numbers <= last_frame)
    grades, start = [], 0
    for name, frames in sequences.items():
        span = slice(start, start + len(frames))
        grades.append(SequenceGrade(name, psnr[span][counts[span]], copied[span][counts[span]]))
        start += len(frames)
    part_names = () if part_of is None else PARTS[:2]
    return Grade(tuple(grades), {name: psnr[counts & (part_of == name)] for name in part_names})


def psnr_db(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return the PSNR of values on 0 to 255, at most `LIMIT_DB`."""
    return 10 * math.log10(255**2 / max(float(np.square(predicted - true).mean()), SMALLEST_MSE))


def list_truth(truth: Path) -> dict[str, list[Path]]:
    """Return the files of the true frames of each sequence, in order, by the sequence's name.

    Args:
        truth: Folder with folders 0, 1, ... of numbered images; or data set with them in test/test_img; or folder of
            numbered images, which are a single sequence.

    Raises:
        InputError: If a sequence has fewer than two images, or a file name is wrong.
    """
    in_data_set = truth / "test" / "test_img"
    top = in_data_set if os.path.isdir(in_data_set) else truth
    if not os.path.isdir(top):
        raise InputError(f"{top} is not a folder; expected the true frames: folders 0, 1, ... of numbered images.")
    names = [name for name in entries(top) if re.fullmatch("[0-9]+", name) and os.path.isdir(top / name)]
    folders = {name: top / name for name in sorted(names, key=int)} or {top.resolve().name: top}
    sequences = {}
    for name, folder in folders.items():
        files, errors = numbered_files(folder)
        if errors:
            raise InputError(errors[0].message)
        if len(files) < 2:
            raise InputError(
                f"{folder} has 1 image; expected every true frame of the sequence, including the given first one."
            )
        sequences[name] = list(files.values())
    return sequences


def read_parts(file: Path, num_rows: int) -> np.ndarray:
    """Read the part of the board, one of `PARTS`, of each row of the submission.

    Args:
        file: CSV with columns id and Usage.
        num_rows: Number of rows of the submission.

    Returns:
        Array `[num_rows]` of names.

    Raises:
        InputError: If the file cannot be read, or a row is missing, repeated or unknown.
    """
    parts = np.full(num_rows, "", dtype=object)
    spellings = {part.lower(): part for part in PARTS}
    for where, row, part in _read_usages(file):
        if not re.fullmatch("[0-9]{1,9}", row) or int(row) >= num_rows or parts[int(row)]:
            raise InputError(
                f"{where}: the id is {row[:40]!r}; expected each of 0 to {num_rows - 1} once, one for each true frame."
            )
        if part.lower() not in spellings:
            raise InputError(f"{where}: the Usage is {part[:40]!r}; expected {', '.join(PARTS)}.")
        parts[int(row)] = spellings[part.lower()]
    if missing := np.flatnonzero(parts == "").tolist():
        raise InputError(f"{file} has no line with id {missing[0]}; expected one for each of 0 to {num_rows - 1}.")
    return parts


def _read_usages(file: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the place, the id and the Usage of each line; other columns are ignored."""
    expected = "expected a CSV with the columns id and Usage, as Kaggle's solution files are"
    with open_text(file, expected) as text:
        lines = csv.reader(text)
        header = [name.strip().lower() for name in next(lines, [])]
        if not {"id", "usage"} <= set(header):
            raise InputError(f"{file} begins with {','.join(header)[:40]!r}; {expected}.")
        columns = header.index("id"), header.index("usage")
        for cells in filter(None, lines):
            row, part = (cells[column].strip() if column < len(cells) else "" for column in columns)
            yield f"{file}, line {lines.line_num}", row, part
