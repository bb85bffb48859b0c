"""Reading of a submission.csv in each form that the course's Kaggle board takes.

The board reads the file with pandas and finds rows by their ids: rows may be in any order, cells may be quoted, and the
file may be compressed. In: the file. Out: the ids, and the values row by row, so that memory does not grow with it.
Next: `kaggle_score.py`, which scores them.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, TextIO

import numpy as np

from posecast.errors import InputError, counted, shown

LONGEST_CELL = 40
"""Number of characters that a cell may have on average."""


def read_ids(file: Path, num_rows: int, size: tuple[int, int]) -> list[int]:
    """Read the ids of a submission's rows, in the order of the file.

    Args:
        file: The submission.csv.
        num_rows: Expected number of rows.
        size: Height and width of the frames.

    Raises:
        InputError: If the file cannot be read, its header is wrong, or not each of 0 to `num_rows` - 1 is given once.
    """
    cells: list[tuple[int, str]] = []
    num_found = 0
    for number, line in _row_lines(file, size):
        num_found += 1
        if num_found <= num_rows:
            cells.append((number, line[:LONGEST_CELL].partition(",")[0].strip().strip('"').strip()))
    if num_found != num_rows:
        no_more = " and no more" * (num_found > num_rows)
        raise InputError(
            f"{file} has {counted(num_found, 'row')}; expected {num_rows}, one for each true frame{no_more}."
        )
    lines: dict[int, int] = {}
    for number, cell in cells:
        if not re.fullmatch("[0-9]{1,9}", cell) or int(cell) >= num_rows:
            raise InputError(
                f"{file}, line {number}: its id is {shown(cell)}; expected a whole number from 0 to {num_rows - 1}."
            )
        if int(cell) in lines:
            raise InputError(
                f"{file}, line {number}: its id is {int(cell)}, as in line {lines[int(cell)]}; expected each of 0 to "
                f"{num_rows - 1} once."
            )
        lines[int(cell)] = number
    return list(lines)


def read_rows(file: Path, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Read the values of a submission row by row, in the order of the file.

    Args:
        file: The submission.csv.
        size: Height and width of the frames.

    Yields:
        float64 `[3 H W]` for each row.

    Raises:
        InputError: At the first row that is wrong.
    """
    num_values = 3 * size[0] * size[1]
    for number, line in _row_lines(file, size):
        if '"' in line:
            line = ",".join(cell if "," not in cell else "?" for cell in _cells(line))
        yield _values(line, f"{file}, line {number}", num_values)


def _row_lines(file: Path, size: tuple[int, int]) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line with a row, after the header was checked."""
    num_values = 3 * size[0] * size[1]
    with open_text(file, "expected a submission.csv") as text:
        lines = _lines(text, file, LONGEST_CELL * (num_values + 1))
        _check_header(next(lines, (1, ""))[1], file, num_values, size)
        yield from lines


@contextmanager
def open_text(file: Path, expected: str) -> Iterator[TextIO]:
    """Open a text file, plain, gzipped or zipped.

    Args:
        file: The file.
        expected: End of the error sentence.

    Raises:
        InputError: If the file cannot be opened; or if it is damaged, while it is read.
    """
    if file.exists() and not file.is_file():  # opening a pipe would block
        raise InputError(f"{file} cannot be read (it is not a file); {expected}.")
    try:
        with (
            file.open("rb") as stored,
            _unpacked(stored) as content,
            io.TextIOWrapper(content, encoding="utf-8-sig") as text,
        ):
            yield text
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(f"{file} cannot be read ({error}); {expected}.") from error


@contextmanager
def _unpacked(stored: BinaryIO) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Yield the content of an open file, which may be compressed."""
    begin = stored.read(4)
    stored.seek(0)
    if begin.startswith(b"\x1f\x8b"):
        with gzip.open(stored) as content:
            yield content
    elif begin == b"PK\3\4":
        with zipfile.ZipFile(stored) as archive:
            files = [file for file in archive.infolist() if not file.is_dir() and "__MACOSX" not in file.filename]
            if len(files) != 1 or files[0].flag_bits & 1:
                kind = "an encrypted file" if len(files) == 1 else counted(len(files), "file")
                raise zipfile.BadZipFile(f"it is a ZIP archive of {kind}, not of a single CSV file")
            with archive.open(files[0]) as content:
                yield content
    else:
        yield stored


def _lines(text: TextIO, file: Path, limit: int) -> Iterator[tuple[int, str]]:
    """Yield lines that are not blank, with their numbers; without line breaks, a file would fill the memory."""
    number = 0
    while line := text.readline(limit):
        number += 1
        if len(line) == limit:
            raise InputError(f"{file}, line {number}: it has {limit} characters or more; expected a row of values.")
        if line.strip():
            yield number, line.rstrip("\n")


def _cells(line: str) -> list[str]:
    """Return the cells of a line without their quotes."""
    return next(csv.reader([line], skipinitialspace=True), [])


def _check_header(line: str, file: Path, num_values: int, size: tuple[int, int]) -> None:
    """Raise InputError unless the header is id and the numbers of the values."""
    names, expected_names = _cells(line), ["id", *map(str, range(num_values))]
    other = next((mark for mark in ";\t|" if mark in line and len(names) == 1), None)
    if other:
        raise InputError(f"{file}: the header separates its columns by {other!r}; expected commas, as the board does.")
    if len(names) != len(expected_names):
        raise InputError(
            f"{file}: the header has {counted(len(names), 'column')}; expected {len(expected_names)}, id and 0 to "
            f"{num_values - 1}, for images of {size[0]}x{size[1]} (give another size with --size)."
        )
    for column, (name, expected) in enumerate(zip(names, expected_names, strict=True)):
        if name != expected:
            raise InputError(f"{file}: column {column} of the header is {name[:40]!r}; expected {expected!r}.")


def _values(line: str, where: str, num_values: int) -> np.ndarray:
    """Return the values after a line's id; raise InputError, naming the place, if their number or a value is wrong."""
    row_id, _, cells = line.partition(",")
    where = f"{where}, row {row_id.strip()}"
    if (num_cells := cells.count(",") + 1) != num_values:
        found = counted(num_cells, "value")
        raise InputError(f"{where}: it has {found}; expected {num_values}, columns 0 to {num_values - 1}.")
    try:
        values = np.loadtxt([cells], delimiter=",", comments=None, ndmin=1)
    except ValueError:
        values = np.full(1, np.nan)
    if not ((values >= 0) & (values <= 255)).all():  # false for NaN as well
        values = np.array([_value(cell, f"{where}, column {column}") for column, cell in enumerate(cells.split(","))])
    return values


def _value(cell: str, where: str) -> float:
    """Return the value of a cell; slower than `np.loadtxt`, but names the cell that is wrong."""
    if re.fullmatch(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*", cell) and 0 <= float(cell) <= 255:
        return float(cell)
    raise InputError(f"{where}: the value is {cell.strip()[:40]!r}; expected a number from 0 to 255.")
