"""A submission held against the truth as the course's board does it.

In: submission.csv, the true frames, and the board's split into parts where somebody has it. Out: a `Grade`, the
PSNR of each frame that counts. Read row by row: memory does not grow with the file.
Knows no model and no torch. Next: `submission.py` wrote what is judged here, `tables.py` prints the grade.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from posecast.data.folder_dataset import entries, numbered_files
from posecast.data.images import read_picture
from posecast.data.prefetch import Progress, in_threads
from posecast.errors import InputError

LAST_FRAME = 600
"""The board counts frames 1 to 600 of each sequence: frame 0 is given, later ones are not looked at."""
SMALLEST_MSE = 1 / 12
"""The mean squared error of rounding to 8 bits, on the scale 0 to 255: the truth itself cannot do better."""
LIMIT_DB = 10 * math.log10(255**2 / SMALLEST_MSE)
PARTS = ("Public", "Private", "Ignored")


@dataclass(frozen=True)
class SequenceGrade:
    """PSNR in dB of the frames of one sequence that count, and of its first frame in their place."""

    name: str
    psnr_db: np.ndarray = field(repr=False)
    copied_psnr_db: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Grade:
    """What the board would say. All frames that count weigh the same."""

    sequences: tuple[SequenceGrade, ...]
    parts: Mapping[str, np.ndarray] = field(repr=False)
    """PSNR in dB of the frames of each part that count, by the part's name; empty where the split is not known."""

    @property
    def psnr_db(self) -> float:
        return float(np.concatenate([one.psnr_db for one in self.sequences]).mean())

    @property
    def copied_psnr_db(self) -> float:
        return float(np.concatenate([one.copied_psnr_db for one in self.sequences]).mean())


def grade(
    submission: Path,
    truth: Path,
    *,
    size: tuple[int, int] = (32, 64),
    parts: Path | None = None,
    last_frame: int = LAST_FRAME,
    progress: Progress | None = None,
) -> Grade:
    """Score a submission of (height, width) pictures. Raises InputError, which names the row that is wrong.

    PSNR of a frame is 10 log10(255^2 / MSE), MSE over colours and pixels on 0 to 255 and not under 1/12.
    """
    sequences = list_truth(truth)
    paths = [path for frames in sequences.values() for path in frames]
    numbers = np.concatenate([np.arange(len(frames)) for frames in sequences.values()])
    part_of = read_parts(parts, len(paths)) if parts else None

    def read_values(path: Path) -> np.ndarray:
        return read_picture(path, size).transpose(2, 0, 1).ravel().astype(np.float64)

    psnr, copied, first = np.empty(len(paths)), np.empty(len(paths)), np.empty(0)
    pairs = zip(in_threads(read_values, paths, progress), read_rows(submission, len(paths), size), strict=True)
    for row, (true, predicted) in enumerate(pairs):
        first = true if numbers[row] == 0 else first
        psnr[row], copied[row] = psnr_db(predicted, true), psnr_db(first, true)

    counts = (numbers >= 1) & (numbers <= last_frame)
    graded, start = [], 0
    for name, frames in sequences.items():
        span = slice(start, start + len(frames))
        graded.append(SequenceGrade(name, psnr[span][counts[span]], copied[span][counts[span]]))
        start += len(frames)
    named = () if part_of is None else PARTS[:2]
    return Grade(tuple(graded), {name: psnr[counts & (part_of == name)] for name in named})


def psnr_db(predicted: np.ndarray, true: np.ndarray) -> float:
    """PSNR of values on 0 to 255."""
    return 10 * math.log10(255**2 / max(float(np.square(predicted - true).mean()), SMALLEST_MSE))


def list_truth(truth: Path) -> dict[str, list[Path]]:
    """The true frames of each sequence, in order, by its name. Raises InputError where there are none.

    `truth` has folders 0, 1, ... of numbered pictures, or is a data set with them in test/test_img, or is itself
    a folder of numbered pictures: one sequence.
    """
    within = truth / "test" / "test_img"
    top = within if os.path.isdir(within) else truth
    if not os.path.isdir(top):
        raise InputError(f"{top} is not a folder; expected the true frames: folders 0, 1, ... of numbered pictures.")
    names = [name for name in entries(top) if re.fullmatch("[0-9]+", name) and os.path.isdir(top / name)]
    folders = {name: top / name for name in sorted(names, key=int)} or {top.resolve().name: top}
    sequences = {}
    for name, folder in folders.items():
        files, errors = numbered_files(folder)
        if errors:
            raise InputError(errors[0].message)
        if len(files) < 2:
            raise InputError(
                f"{folder} has 1 picture; expected every true frame of the sequence, the given first one included."
            )
        sequences[name] = list(files.values())
    return sequences


def read_parts(file: Path, num_rows: int) -> np.ndarray:
    """For each row of the submission its part of the board: Public, Private or Ignored."""
    parts = np.full(num_rows, "", dtype=object)
    known = {part.lower(): part for part in PARTS}
    for where, row, part in _read_usages(file):
        if not re.fullmatch("[0-9]{1,9}", row) or int(row) >= num_rows or parts[int(row)]:
            raise InputError(
                f"{where}: the id is {row[:40]!r}; expected each of 0 to {num_rows - 1} once, one for each true frame."
            )
        if part.lower() not in known:
            raise InputError(f"{where}: the Usage is {part[:40]!r}; expected {', '.join(PARTS)}.")
        parts[int(row)] = known[part.lower()]
    if missing := np.flatnonzero(parts == "").tolist():
        raise InputError(f"{file} has no line with id {missing[0]}; expected one for each of 0 to {num_rows - 1}.")
    return parts


def _read_usages(file: Path) -> Iterator[tuple[str, str, str]]:
    """Where each line is, its id and its Usage, whatever columns there are besides."""
    expected = "expected a CSV with the columns id and Usage, as Kaggle's solution files are"
    with _opened(file, expected) as text:
        lines = csv.reader(text)
        header = [name.strip().lower() for name in next(lines, [])]
        if not {"id", "usage"} <= set(header):
            raise InputError(f"{file} begins with {','.join(header)[:40]!r}; {expected}.")
        columns = header.index("id"), header.index("usage")
        for cells in filter(None, lines):
            row, part = (cells[column].strip() if column < len(cells) else "" for column in columns)
            yield f"{file}, line {lines.line_num}", row, part


@contextmanager
def _opened(file: Path, expected: str) -> Iterator[TextIO]:
    try:
        with file.open(encoding="utf-8-sig") as text:
            yield text
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read ({error}); {expected}.") from error


def read_rows(file: Path, num_rows: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The values of each row, float64 `[3 H W]`, one row at a time; raises InputError at the first that is wrong."""
    num_values = 3 * size[0] * size[1]
    with _opened(file, "expected a submission.csv") as text:
        lines = _lines(text, file, 40 * (num_values + 1))
        _check_header(next(lines, ""), file, num_values, size)
        for row in range(num_rows):
            line = next(lines, None)
            if line is None:
                raise InputError(f"{file} has {row} rows; expected {num_rows}, one for each true frame.")
            yield _values(line, f"{file}, row {row}", row, num_values)
        if more := sum(1 for line in lines if line.strip()):
            raise InputError(
                f"{file} has {num_rows + more} rows; expected {num_rows}, one for each true frame and no more."
            )


def _lines(text: TextIO, file: Path, longest: int) -> Iterator[str]:
    """Line by line, none longer than a row can be: a file without line breaks would fill the memory."""
    number = 0
    while line := text.readline(longest):
        number += 1
        if len(line) == longest:
            raise InputError(f"{file}, line {number}: it has {longest} characters or more; expected a row of values.")
        yield line


def _check_header(line: str, file: Path, num_values: int, size: tuple[int, int]) -> None:
    found, expected = line.rstrip("\n").split(","), ["id", *map(str, range(num_values))]
    if len(found) != len(expected):
        raise InputError(
            f"{file}: the header has {len(found)} columns; expected {len(expected)}, id and 0 to {num_values - 1}, "
            f"for pictures of {size[0]}x{size[1]} (another size is named by --size)."
        )
    for column, (name, right) in enumerate(zip(found, expected, strict=True)):
        if name != right:
            raise InputError(f"{file}: column {column} of the header is {name[:40]!r}; expected {right!r}.")


def _values(line: str, where: str, row: int, num_values: int) -> np.ndarray:
    number, _, cells = line.partition(",")
    if number != str(row):
        raise InputError(f"{where}: its id is {number.strip()[:40]!r}; expected {row}: the ids are 0, 1, ... in order.")
    if (found := cells.count(",") + 1) != num_values:
        raise InputError(f"{where}: it has {found} values; expected {num_values}, columns 0 to {num_values - 1}.")
    try:
        values = np.loadtxt([cells], delimiter=",", comments=None, ndmin=1)
    except ValueError:
        values = np.full(1, np.nan)
    if not ((values >= 0) & (values <= 255)).all():  # false for NaN as well
        values = np.array([_value(cell, f"{where}, column {column}") for column, cell in enumerate(cells.split(","))])
    return values


def _value(cell: str, where: str) -> float:
    """One value read slowly, to find out which is wrong."""
    if re.fullmatch(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*", cell) and 0 <= float(cell) <= 255:
        return float(cell)
    raise InputError(f"{where}: the value is {cell.strip()[:40]!r}; expected a number from 0 to 255.")
