"""Errors and remarks about data sets that are incomplete, damaged or unusual."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from posecast.data.check import CheckResult, SplitSummary, check, limited
from posecast.data.folder_dataset import write_recordings
from posecast.data.recordings import Recording
from posecast.errors import InputError

from .conftest import add_odd_files, image, label, noise, recording


def kinds(result: CheckResult) -> tuple[list[str], list[str]]:
    return [finding.kind for finding in result.errors], [finding.kind for finding in result.remarks]


# Errors


def test_a_valid_data_set_has_no_findings_and_a_summary(course: Path) -> None:
    reported = []
    result = check(course, progress=lambda done, total: reported.append((done, total)))
    assert result.errors == ()
    assert result.remarks == ()
    assert result.splits == (
        SplitSummary("train", 2, 8, ((8, 16),)),
        SplitSummary("val", 1, 4, ((8, 16),)),
        SplitSummary("test", 1, 4, ((8, 16),)),
    )
    assert reported == [(done, 29) for done in range(1, 30)]  # 2 x 8, 2 x 4, 1 + 4 images


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def resize(path: Path) -> None:
    Image.open(path).resize((8, 8)).save(path)


FLAWS = {
    "missing pose map": (
        lambda root: label(root, 3).unlink(),
        r"train_img/frame000003.png has no pose map \S*train_label/frame000003.png",
    ),
    "missing frame": (
        lambda root: image(root, 3).unlink(),
        r"train_label/frame000003.png has no frame \S*train_img/frame000003.png",
    ),
    "damaged image": (lambda root: cut(image(root, 3)), r"train_img/frame000003.png .*truncated"),
    "sizes differ": (
        lambda root: resize(image(root, 3)),
        r"train_img/frame000003.png is 8x8 but \S*train_img/frame000001.png is 8x16",
    ),
    "recording of a single frame": (
        lambda root: (
            write_recordings(root, "train", [recording(2)], first_number=20)
            and (image(root, 21).unlink(), label(root, 21).unlink())
        ),
        r"train_img/frame000020.png has no neighbour in number; a recording has at least 2 frames",
    ),
    "missing folder": (
        lambda root: shutil.rmtree(root / "train" / "train_label"),
        r"train/train_label is not a folder; expected images",
    ),
    "empty folder": (
        lambda root: [path.unlink() for path in (root / "train" / "train_label").iterdir()],
        r"train/train_label has no numbered images; expected names like frame000001.png",
    ),
    "no train": (
        lambda root: shutil.rmtree(root / "train"),
        r"has no folder train; expected \S*/train/train_img",
    ),
    "number used twice": (
        lambda root: [shutil.copy(at(root, 3), at(root, 3).with_name("frame3.png")) for at in (image, label)],
        r"train_img: files share a number: frame000003.png, frame3.png",
    ),
    "first frame": (
        lambda root: (root / "test" / "test_label" / "0" / "frame000031.png").unlink(),
        r"test_img/0/frame000031.png has no pose map: the first in \S*test_label/0 is frame000032.png",
    ),
}


@pytest.mark.parametrize("kind", FLAWS)
def test_each_error_is_found_and_described(course: Path, kind: str) -> None:
    make, expected = FLAWS[kind]
    make(course)
    errors = check(course).errors
    assert {error.kind for error in errors} == {kind}
    assert re.search(expected, errors[0].message)


@pytest.mark.parametrize("kind", sorted(set(FLAWS) - {"number used twice", "first frame"}))
def test_one_flaw_is_one_error(course: Path, kind: str) -> None:
    FLAWS[kind][0](course)
    assert len(check(course).errors) == 1


def test_a_pose_map_of_another_size_than_its_frame_is_an_error(course: Path) -> None:
    for number in range(1, 6):
        resize(label(course, number))
    errors = check(course).errors
    assert len(errors) == 5
    assert "train_label/frame000001.png is 8x8 but" in errors[0].message


def test_a_text_file_named_png_is_an_error(course: Path) -> None:
    label(course, 3).write_text("not an image")
    assert [error.kind for error in check(course).errors] == ["damaged image"]
    assert "frame000003.png" in check(course).errors[0].message


def test_several_first_frames_and_missing_sequence_folders_are_errors(course: Path) -> None:
    photo = course / "test" / "test_img" / "0" / "frame000031.png"
    shutil.copy(photo, photo.with_name("frame000032.png"))
    assert "has 2 images; expected the first frame" in check(course).errors[0].message
    shutil.rmtree(photo.parent)
    assert "test_img/0 is not a folder" in check(course).errors[0].message
    shutil.rmtree(course / "test" / "test_label" / "0")
    assert "test_img has no folder 0" in check(course).errors[0].message


def test_flaws_in_val_and_test_are_errors_too(course: Path) -> None:
    cut(course / "val" / "val_img" / "frame000032.png")
    cut(course / "test" / "test_label" / "0" / "frame000033.png")
    messages = [error.message for error in check(course).errors]
    assert "val_img/frame000032" in messages[0]
    assert "test_label/0/frame000033" in messages[1]


def test_a_path_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "nothing"):
        with pytest.raises(InputError, match="is not a folder; expected a data set"):
            check(path)


def test_an_unreadable_folder_is_refused(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"train_img cannot be read .*Permission denied.*make it readable"):
        check(course)


# Remarks


def test_blank_pose_maps_are_listed_as_ranges_in_every_split(course: Path) -> None:
    blank = Image.new("RGB", (16, 8), "white")
    for number in (1, 3, 4, 5):
        blank.save(label(course, number))
    blank.save(course / "test" / "test_label" / "0" / "frame000033.png")
    result = check(course)
    assert result.errors == ()
    assert [remark.message for remark in result.remarks] == [
        "train recording frame000001-frame000005: blank pose maps (all one colour): 1, 3-5 (4 in all).",
        "test recording 0: blank pose maps (all one colour): 33 (1 in all).",
    ]


def test_frozen_and_duplicate_frames_are_remarks(course: Path) -> None:
    for number in (3, 4, 9):
        shutil.copy(image(course, 2), image(course, number))
    shutil.copy(image(course, 1), course / "val" / "val_img" / "frame000034.png")
    shutil.copy(image(course, 1), image(course, 5))
    first, second = "train recording frame000001-frame000005", "train recording frame000007-frame000009"
    assert {remark.message for remark in check(course).remarks} == {
        f"{first}: frames that repeat the one before them: 3-4 (2 in all).",
        f"{first}: frames that occur earlier in it too: 5 (1 in all).",
        f"{second}: frames that occur in {first} too: 9 (1 in all).",
        f"val recording frame000031-frame000034: frames that occur in {first} too: 34 (1 in all).",
    }


def test_no_val_and_no_test_are_remarks(course: Path) -> None:
    shutil.rmtree(course / "val")
    shutil.rmtree(course / "test")
    result = check(course)
    assert kinds(result) == ([], ["no val", "no test"])
    assert "a tail of train is held out for validation" in result.remarks[0].message
    assert result.splits[1] == SplitSummary("val", 0, 0, ())


def test_other_files_other_modes_and_gaps_in_test_are_remarks(course: Path) -> None:
    (image(course, 1).parent / "notes.txt").write_text("left alone")
    (image(course, 1).parent / ".hidden").write_text("not reported")
    (course / "train" / "hidden.npz").write_bytes(b"next to the folders: no remark")
    Image.open(image(course, 1)).convert("L").save(image(course, 1))
    Image.open(label(course, 2)).convert("RGBA").save(label(course, 2))
    (course / "test" / "test_label" / "0" / "frame000033.png").unlink()
    result = check(course)
    assert kinds(result) == ([], ["other files", "gap in a test sequence", "not RGB PNGs"])
    assert "train_img has other files or folders, left alone: notes.txt" in result.remarks[0].message
    assert "PNG L (1), PNG RGBA (1)" in result.remarks[2].message


def test_other_proportions_are_a_remark_if_a_size_is_given(course: Path) -> None:
    assert check(course, (32, 64)).remarks == ()
    remarks = check(course, (64, 64)).remarks
    assert len(remarks) == 4
    assert all("8x16 will be squeezed to 64x64" in remark.message for remark in remarks)


def test_messages_are_limited_by_kind(course: Path) -> None:
    for number in (1, 2, 3, 4):
        label(course, number).unlink()
    image(course, 8).unlink()
    lines = limited(check(course).errors, most=2)
    assert len(lines) == 4
    assert lines[2] == "... and 2 more: missing pose map."
    assert "train_label/frame000008.png has no frame" in lines[3]
    assert len(limited(check(course).errors, most=4)) == 5


def test_findings_about_unprintable_names_are_printable(course: Path) -> None:
    add_odd_files(course)
    result = check(course)
    assert result.errors == ()
    assert all(remark.message.isprintable() for remark in result.remarks)


def walking_stick(num_frames: int, height: int, jumps: tuple[int, ...] = ()) -> np.ndarray:
    """Return pose maps 64x64 of a stick that moves by a pixel per frame and stands 30 pixels aside in `jumps`."""
    maps = np.full((num_frames, 64, 64, 3), 255, np.uint8)
    for k in range(num_frames):
        x = 5 + k + (30 if k in jumps else 0)
        maps[k, 60 - height : 60, x : x + 2] = (0, 0, 255)
    return maps


def test_cuts_and_pose_jumps_are_remarks(tmp_path: Path) -> None:
    frames = np.full((24, 64, 64, 3), 80, np.uint8)
    frames[12:] = 160
    frames[:, 0, 0, 0] = np.arange(24)  # no two are equal
    write_recordings(tmp_path, "train", [Recording("a", frames, walking_stick(24, 40, jumps=(7,)))])
    remarks = check(tmp_path).remarks
    messages = {finding.kind: finding.message for finding in remarks}
    assert "as at a cut: 13 (1 in all)" in messages["cuts"]
    assert "8-9 (2 in all)" in messages["pose jumps"]
    assert "small person" not in messages


def test_a_small_person_is_a_remark(tmp_path: Path) -> None:
    write_recordings(tmp_path, "train", [Recording("a", noise(20, 0, (64, 64)), walking_stick(20, 16))])
    messages = {finding.kind: finding.message for finding in check(tmp_path).remarks}
    assert "fills 25 %" in messages["small person"]
    assert "pose jumps" not in messages
