"""The score of a submission, and the messages about wrong files."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import zipfile
from collections.abc import Callable, Iterable
from math import log10
from pathlib import Path

import numpy as np
import pytest

from posecast.course import submission
from posecast.course.kaggle_score import LAST_FRAME, LIMIT_DB, grade, list_truth
from posecast.data.dancer.dance import dance
from posecast.data.images import write_png
from posecast.errors import InputError

SIZE = (16, 16)
NUM_VALUES = 3 * 16 * 16
LENGTHS = (5, 4)

Rows = list[list[str]]


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Return two sequences of noise in 100 to 150, so that an error of up to 100 stays within 0 to 255."""
    rng = np.random.default_rng(0)
    return [rng.integers(100, 150, (length, *SIZE, 3), dtype=np.uint8) for length in LENGTHS]


@pytest.fixture(scope="module")
def truth(frames: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    for sequence, pixels in enumerate(frames):
        for number, frame in enumerate(pixels):
            write_png(
                folder / str(sequence) / f"frame{number + 8}.png", frame
            )  # 8, 9, 10 are not in alphabetical order
    return folder


def table(frames: list[np.ndarray]) -> Rows:
    """Return the cells of a submission, including the header."""
    rows = [["id", *map(str, range(3 * frames[0][0].size // 3))]]
    for number, frame in enumerate(np.concatenate(frames)):
        rows.append([str(number), *map(str, frame.transpose(2, 0, 1).ravel().tolist())])
    return rows


def write(path: Path, rows: Rows) -> Path:
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    return path


def shifted(frames: list[np.ndarray], error: float) -> list[np.ndarray]:
    """Add and subtract an error in a chequered pattern."""
    signs = np.where(np.indices((*SIZE, 3)).sum(0) % 2, 1, -1)
    return [pixels + error * signs for pixels in frames]


def test_the_truth_itself_scores_the_limit_of_8_bits(truth: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    graded = grade(write(tmp_path / "s.csv", table(frames)), truth, size=SIZE)
    assert graded.psnr_db == pytest.approx(10 * log10(255**2 * 12), abs=1e-12)
    assert graded.psnr_db == pytest.approx(58.92, abs=0.005)
    assert [sequence.name for sequence in graded.sequences] == ["0", "1"]
    assert [len(sequence.psnr_db) for sequence in graded.sequences] == [4, 3]  # without the given frame
    assert graded.parts == {}


@pytest.mark.parametrize("error", [1, 7, 100, 2.5])
def test_a_constant_error_scores_20_log_255_over_the_error(
    truth: Path, frames: list[np.ndarray], tmp_path: Path, error: float
) -> None:
    graded = grade(write(tmp_path / "s.csv", table(shifted(frames, error))), truth, size=SIZE)
    for sequence in graded.sequences:
        assert sequence.psnr_db == pytest.approx(20 * log10(255 / error), abs=1e-9)


def test_the_mean_is_over_decibels(truth: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    """Make frame k of each sequence wrong by 2^k, and compare copies of the first frame with plain numpy."""
    wrong = [np.stack([shifted([frame], 2**k)[0] for k, frame in enumerate(pixels)]) for pixels in frames]
    graded = grade(write(tmp_path / "s.csv", table(wrong)), truth, size=SIZE)
    by_frame = [20 * log10(255 / 2**k) for k in (1, 2, 3, 4, 1, 2, 3)]
    assert graded.psnr_db == pytest.approx(np.mean(by_frame), abs=1e-9)
    assert graded.sequences[1].psnr_db == pytest.approx(by_frame[4:], abs=1e-9)
    copied = [
        10 * log10(255**2 / np.mean((pixels[0].astype(float) - frame) ** 2))
        for pixels in frames
        for frame in pixels[1:]
    ]
    assert graded.copied_psnr_db == pytest.approx(np.mean(copied), abs=1e-9)


def test_the_given_frame_and_frames_after_the_last_do_not_count(
    truth: Path, frames: list[np.ndarray], tmp_path: Path
) -> None:
    right = shifted(frames, 4)
    ruined = [pixels.copy() for pixels in right]
    for pixels in ruined:
        pixels[0] = pixels[3:] = 0
    files = [write(tmp_path / f"{k}.csv", table(pixels)) for k, pixels in enumerate((right, ruined))]
    grades = [grade(file, truth, size=SIZE, last_frame=2) for file in files]
    assert [len(sequence.psnr_db) for sequence in grades[1].sequences] == [2, 2]
    assert grades[0].psnr_db == grades[1].psnr_db == pytest.approx(20 * log10(255 / 4))
    assert grade(files[1], truth, size=SIZE, last_frame=3).psnr_db < grades[1].psnr_db


def test_the_last_frame_that_counts_is_number_600(tmp_path: Path) -> None:
    pixels = np.full((LAST_FRAME + 3, *SIZE, 3), 100, np.uint8)
    for number, frame in enumerate(pixels):
        write_png(tmp_path / "val_img" / f"frame{number:06d}.png", frame)
    submitted = pixels.astype(int)
    submitted[601:] = 255
    assert LAST_FRAME == 600
    graded = grade(write(tmp_path / "s.csv", table([submitted])), tmp_path / "val_img", size=SIZE)
    assert (graded.sequences[0].name, len(graded.sequences[0].psnr_db)) == ("val_img", 600)
    assert graded.psnr_db == pytest.approx(LIMIT_DB)
    submitted[600] = 255
    graded = grade(write(tmp_path / "s.csv", table([submitted])), tmp_path / "val_img", size=SIZE)
    assert graded.psnr_db < LIMIT_DB - 0.05


def test_larger_truth_is_resized(truth: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    for sequence, pixels in enumerate(frames):
        for number, frame in enumerate(pixels):
            doubled = frame.repeat(2, axis=0).repeat(2, axis=1)
            write_png(tmp_path / "data/test/test_img" / str(sequence) / f"frame{number}.png", doubled)
    graded = grade(write(tmp_path / "s.csv", table(frames)), tmp_path / "data", size=SIZE)
    assert 20 < graded.psnr_db < LIMIT_DB  # bilinear interpolation blurs the doubled pixels


USAGES = ["Public", "Public", "Private", "Public", "Private", "Private", "Private", "public", "Ignored"]
"""Rows 0 and 5 are the given frames, which count for no part."""


def write_parts(path: Path, usages: list[str]) -> Path:
    """Write a file like Kaggle's solution files, with the true values between id and Usage."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "0", "Usage"], *([k, 7, usage] for k, usage in enumerate(usages))])
    return path


def test_public_and_private_parts_have_their_own_scores(truth: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    wrong = [np.stack([shifted([frame], 2**k)[0] for k, frame in enumerate(pixels)]) for pixels in frames]
    file = write(tmp_path / "s.csv", table(wrong))
    graded = grade(file, truth, size=SIZE, parts=write_parts(tmp_path / "parts.csv", USAGES))
    expected = {
        part: [20 * log10(255 / 2**k) for k in ks] for part, ks in (("Public", (1, 3, 2)), ("Private", (2, 4, 1)))
    }
    assert {part: psnr.tolist() for part, psnr in graded.parts.items()} == {
        part: pytest.approx(psnr) for part, psnr in expected.items()
    }


@pytest.mark.parametrize(
    ("usages", "message"),
    [
        (USAGES[:-1], "no line with id 8"),
        ([*USAGES, "Public"], r"line 11: the id is '9'; expected each of 0 to 8 once"),
        ([*USAGES[:4], "Secret", *USAGES[5:]], "line 6: the Usage is 'Secret'; expected Public, Private, Ignored"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(
    truth: Path, frames: list[np.ndarray], tmp_path: Path, usages: list[str], message: str
) -> None:
    file = write(tmp_path / "s.csv", table(frames))
    with pytest.raises(InputError, match=message):
        grade(file, truth, size=SIZE, parts=write_parts(tmp_path / "parts.csv", usages))


def test_a_split_with_a_repeated_id_is_refused(truth: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    file, parts = write(tmp_path / "s.csv", table(frames)), write_parts(tmp_path / "parts.csv", USAGES)
    with parts.open("a") as more:
        more.write("3,7,Private\n")
    with pytest.raises(InputError, match="line 11: the id is '3'; expected each of 0 to 8 once"):
        grade(file, truth, size=SIZE, parts=parts)


def test_a_split_without_usages_is_refused(truth: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    file = write(tmp_path / "s.csv", table(frames))
    with pytest.raises(InputError, match=r"s\.csv begins with 'id,0,1,.*columns id and Usage"):
        grade(file, truth, size=SIZE, parts=file)


def set_cell(row: int, column: int, text: str) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[row + 1][column + 1] = text

    return change


def set_header(column: int, name: str) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[0][column] = name

    return change


def set_ids(ids: Iterable[object]) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        for row, row_id in zip(rows[1:], ids, strict=True):
            row[0] = str(row_id)

    return change


WRONG: dict[str, tuple[Callable[[Rows], object], str]] = {
    "NaN": (set_cell(3, 17, "nan"), "row 3, column 17: the value is 'nan'; expected a number from 0 to 255"),
    "infinity": (set_cell(8, 767, "inf"), "row 8, column 767: the value is 'inf'"),
    "overflow": (set_cell(8, 767, "1e999"), "row 8, column 767: the value is '1e999'"),
    "too large": (set_cell(0, 0, "255.01"), r"row 0, column 0: the value is '255\.01'"),
    "negative": (set_cell(0, 5, "-1"), "row 0, column 5: the value is '-1'"),
    "text": (set_cell(2, 5, "grey"), "row 2, column 5: the value is 'grey'"),
    "nothing": (set_cell(2, 5, ""), "row 2, column 5: the value is ''"),
    "two in one": (set_cell(2, 5, "1 2"), "row 2, column 5: the value is '1 2'"),
    "missing last row": (lambda rows: rows.pop(), "has 8 rows; expected 9, one for each true frame"),
    "missing middle row": (lambda rows: rows.pop(5), "has 8 rows; expected 9, one for each true frame"),
    "extra row": (lambda rows: rows.append(["9", *rows[-1][1:]]), "has 10 rows; expected 9"),
    "ids from 1": (set_ids(range(1, 10)), "line 10: its id is '9'; expected a whole number from 0 to 8"),
    "an id given twice": (set_ids([0, 1, 2, 3, 3, 5, 6, 7, 8]), "line 6: its id is 3, as in line 5; expected each of"),
    "id that is no number": (set_ids(["0.0", *range(1, 9)]), r"line 2: its id is '0\.0'; expected a whole number"),
    "id that is negative": (set_ids([-1, *range(1, 9)]), "line 2: its id is '-1'; expected a whole number"),
    "id that is empty": (set_ids(["", *range(1, 9)]), "line 2: its id is ''; expected a whole number"),
    "id with a name": (set_ids([f"frame{k}" for k in range(9)]), "line 2: its id is 'frame0'; expected a whole"),
    "index in front": (lambda rows: [row.insert(0, "7") for row in rows], "the header has 770 columns; expected 769"),
    "columns in another order": (lambda rows: rows[0].reverse(), "column 0 of the header is '767'; expected 'id'"),
    "commas in quotes": (set_cell(3, 17, '"1,5"'), r"line 5, row 3, column 17: the value is '\?'"),
    "quotes within a cell": (set_cell(3, 17, '1"5'), """row 3, column 17: the value is '1"5'"""),
    "a quote without end": (set_cell(3, 17, '"15'), "row 3: it has 18 values; expected 768"),
    "decimal commas": (set_cell(3, 17, "1,5"), "line 5, row 3: it has 769 values; expected 768"),
    "too few columns": (lambda rows: rows[4].pop(), "row 3: it has 767 values; expected 768"),
    "too many columns": (lambda rows: rows[4].append("0"), "row 3: it has 769 values; expected 768"),
    "no header": (lambda rows: rows.pop(0), "column 0 of the header is '0'; expected 'id'"),
    "header begins with 1": (set_header(1, "1"), "column 1 of the header is '1'; expected '0'"),
    "header named otherwise": (set_header(768, "pixel767"), "column 768 of the header is 'pixel767'"),
    "another size": (lambda rows: [row.append("0") for row in rows], r"header has 770 columns; expected 769.*--size"),
    "no rows": (lambda rows: rows.clear(), "header has 0 columns; expected 769"),
    "endless line": (lambda rows: rows[1].append("0" * 40 * 800), "line 2: it has 30760 characters or more"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_message_names_what_is_wrong(truth: Path, frames: list[np.ndarray], tmp_path: Path, name: str) -> None:
    change, message = WRONG[name]
    rows = table(frames)
    change(rows)
    file = write(tmp_path / "wrong.csv", rows)
    with pytest.raises(InputError, match=rf"wrong\.csv.*{message}"):
        grade(file, truth, size=SIZE)


def test_a_binary_or_missing_file_is_refused(truth: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    text = write(tmp_path / "s.csv", table(frames)).read_bytes()
    (tmp_path / "binary.csv").write_bytes(text[:10_000] + b"\xff\xfe" + text[10_000:])
    (tmp_path / "zeros.csv").write_bytes(text[:10_000] + bytes(50) + text[10_050:])
    for name in ("binary.csv", "zeros.csv", "absent.csv", "."):
        with pytest.raises(InputError, match=r"cannot be read|row 2: it has|its id is|the value is"):
            grade(tmp_path / name, truth, size=SIZE)


def quoted(rows: Rows) -> Rows:
    return [[f'"{cell}"' for cell in row] for row in rows]


def with_values(form: Callable[[str], str]) -> Callable[[Rows], Rows]:
    """Return a function that writes the values in another form."""
    return lambda rows: [rows[0], *([row[0], *map(form, row[1:])] for row in rows[1:])]


def shuffled(rows: Rows) -> Rows:
    return [rows[0], *(rows[1 + k] for k in np.random.default_rng(0).permutation(len(rows) - 1))]


def text(rows: Rows, end: str = "\n") -> bytes:
    return end.join(",".join(row) for row in [*rows, []]).encode()


def zipped(content: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


TAKEN: dict[str, Callable[[Rows], bytes]] = {
    "as written": text,
    "rows shuffled": lambda rows: text(shuffled(rows)),
    "rows reversed": lambda rows: text([rows[0], *rows[:0:-1]]),
    "everything quoted": lambda rows: text(quoted(rows)),
    "header quoted": lambda rows: text([quoted(rows)[0], *rows[1:]]),
    "ids quoted": lambda rows: text([rows[0], *([f'"{row[0]}"', *row[1:]] for row in rows[1:])]),
    "values quoted": lambda rows: text(with_values('"{}"'.format)(rows)),
    "quoted and shuffled": lambda rows: text(quoted(shuffled(rows))),
    "quoted, spaces after commas": lambda rows: text(with_values(' "{}"'.format)(rows)),
    "a mark of the byte order": lambda rows: b"\xef\xbb\xbf" + text(rows),
    "a mark and quotes": lambda rows: b"\xef\xbb\xbf" + text(quoted(rows)),
    "lines of Windows": lambda rows: text(rows, "\r\n"),
    "lines of old Macs": lambda rows: text(rows, "\r"),
    "Windows, quoted, shuffled, marked": lambda rows: b"\xef\xbb\xbf" + text(quoted(shuffled(rows)), "\r\n"),
    "no line break at the end": lambda rows: text(rows)[:-1],
    "blank lines at the end": lambda rows: text(rows) + b"\n\r\n  \n",
    "blank lines between": lambda rows: text(rows, "\n\n"),
    "a blank line in front": lambda rows: b"\n" + text(rows),
    "decimals": lambda rows: text(with_values("{}.0".format)(rows)),
    "many decimals": lambda rows: text(with_values("{}.000000000000000".format)(rows)),
    "exponents": lambda rows: text(with_values("{}e0".format)(rows)),
    "exponents of numpy": lambda rows: text(with_values(lambda value: f"{float(value):.18e}")(rows)),
    "signs": lambda rows: text(with_values("+{}".format)(rows)),
    "spaces": lambda rows: text(with_values(" {} ".format)(rows)),
    "tabs": lambda rows: text(with_values("\t{}".format)(rows)),
    "zeros in front": lambda rows: text(with_values("{:0>3}".format)(rows)),
    "ids with spaces": lambda rows: text([rows[0], *([f" {row[0]} ", *row[1:]] for row in rows[1:])]),
    "ids with zeros in front": lambda rows: text([rows[0], *([f"{row[0]:0>5}", *row[1:]] for row in rows[1:])]),
    "gzipped": lambda rows: gzip.compress(text(rows)),
    "gzipped in two parts": lambda rows: gzip.compress(text(rows)[:9000]) + gzip.compress(text(rows)[9000:]),
    "gzipped and shuffled": lambda rows: gzip.compress(text(shuffled(rows))),
    "zipped": lambda rows: zipped(text(rows), "submission.csv"),
    "zipped in a folder": lambda rows: zipped(text(rows), "out/", "out/submission.csv"),
    "zipped by macOS": lambda rows: zipped(text(quoted(rows)), "submission.csv", "__MACOSX/._submission.csv"),
}


@pytest.mark.parametrize("name", ["s.csv", "s.txt", "no ending"])
@pytest.mark.parametrize("form", TAKEN)
def test_what_the_board_takes_is_scored(
    truth: Path, frames: list[np.ndarray], tmp_path: Path, form: str, name: str
) -> None:
    """Each frame has an error of its own, so that rows cannot be confused."""
    wrong = [np.stack([shifted([frame], k + 1)[0] for k, frame in enumerate(pixels)]) for pixels in frames]
    (tmp_path / name).write_bytes(TAKEN[form](table(wrong)))
    progress: list[int] = []
    graded = grade(tmp_path / name, truth, size=SIZE, progress=lambda done, _: progress.append(done))
    assert progress == list(range(1, 10))
    for sequence, pixels in zip(graded.sequences, frames, strict=True):
        expected = [20 * log10(255 / (k + 1)) for k in range(1, len(pixels))]
        assert sequence.psnr_db == pytest.approx(expected, abs=1e-9)
        copied = [np.mean((pixels[0].astype(float) - frame) ** 2) for frame in pixels[1:]]
        assert sequence.copied_psnr_db == pytest.approx(10 * np.log10(255**2 / np.array(copied)), abs=1e-9)


REFUSED: dict[str, tuple[Callable[[Rows], bytes], str]] = {
    "semicolons": (lambda rows: text(rows).replace(b",", b";"), "separates its columns by ';'; expected commas"),
    "tabs": (lambda rows: text(rows).replace(b",", b"\t"), r"separates its columns by '\\t'; expected commas"),
    "UTF-16": (lambda rows: text(rows).decode().encode("utf-16"), "cannot be read"),
    "damaged gzip": (lambda rows: gzip.compress(text(rows))[:-500], "cannot be read"),
    "damaged zip": (lambda rows: zipped(text(rows), "a.csv")[:-500], "cannot be read"),
    "two files zipped": (lambda rows: zipped(text(rows), "a.csv", "b.csv"), "a ZIP archive of 2 files"),
    "nothing zipped": (lambda _: zipped(b"", "a/"), "a ZIP archive of 0 files"),
    "an Excel file": (lambda _: zipped(b"", "xl/workbook.xml", "[Content_Types].xml"), "a ZIP archive of 2 files"),
    "nothing": (lambda _: b"", "the header has 0 columns"),
    "blank lines": (lambda _: b"\n\n", "the header has 0 columns"),
    "header only": (lambda rows: text(rows[:1]), "has 0 rows; expected 9"),
    "one row": (lambda rows: text(rows[:2]), "has 1 row; expected 9"),
    "everything in one cell": (lambda rows: text([[f'"{",".join(row)}"'] for row in rows]), "has 1 column; expected"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_the_board_does_not_take_is_refused(
    truth: Path, frames: list[np.ndarray], tmp_path: Path, form: str
) -> None:
    change, message = REFUSED[form]
    (tmp_path / "s.csv").write_bytes(change(table(frames)))
    with pytest.raises(InputError, match=rf"s\.csv.*{message}"):
        grade(tmp_path / "s.csv", truth, size=SIZE)


def test_sequences_and_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for sequence in range(11):
        for number in (9, 10, 100):
            (tmp_path / str(sequence)).mkdir(exist_ok=True)
            (tmp_path / str(sequence) / f"frame{number}.png").touch()
    listed = list_truth(tmp_path)
    assert list(listed) == [str(sequence) for sequence in range(11)]
    assert [path.name for path in listed["10"]] == ["frame9.png", "frame10.png", "frame100.png"]


def no_images(folder: Path) -> None:
    for path in (folder / "1").iterdir():
        path.unlink()


def photo_only(folder: Path) -> None:
    for path in sorted((folder / "1").iterdir())[1:]:
        path.unlink()


def damaged(folder: Path) -> None:
    (folder / "1" / "frame9.png").write_bytes(b"not an image")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (no_images, "1 has no numbered images"),
        (photo_only, "1 has 1 image; expected every true frame"),
        (damaged, r"frame9\.png is not a readable image"),
        (shutil.rmtree, "is not a folder; expected the true frames"),
    ],
)
def test_wrong_truth_is_refused(
    truth: Path, frames: list[np.ndarray], tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    copy = tmp_path / "truth"
    shutil.copytree(truth, copy)
    harm(copy)
    with pytest.raises(InputError, match=message):
        grade(write(tmp_path / "s.csv", table(frames)), copy, size=SIZE)


def test_the_order_of_colours_and_pixels_is_that_of_the_submission(tmp_path: Path) -> None:
    """Score frames of the dancer that `csv_row` wrote."""
    pixels = dance(4, size=SIZE).recording.frames
    for number, frame in enumerate(pixels):
        write_png(tmp_path / "frames" / f"{number}.png", frame)
    header = "id," + ",".join(map(str, range(NUM_VALUES))) + "\n"
    rows = [submission.csv_row(number, frame) for number, frame in enumerate(pixels)]
    (tmp_path / "s.csv").write_text(header + "".join(rows))
    assert grade(tmp_path / "s.csv", tmp_path / "frames", size=SIZE).psnr_db == pytest.approx(LIMIT_DB)
