"""Writing, listing and reading of the folder layout, and its error messages."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from posecast.data.folder_dataset import (
    list_recordings,
    read_pose_folder,
    read_test_sequences,
    write_recordings,
    write_test_sequences,
)
from posecast.data.prefetch import in_threads
from posecast.data.recordings import PoseSequence
from posecast.errors import InputError

from .conftest import add_odd_files, image, label, noise, recording


def test_a_gap_in_the_numbers_ends_a_recording(course: Path) -> None:
    listed = list_recordings(course, "train")
    assert [recording.name for recording in listed] == ["frame000001-frame000005", "frame000007-frame000009"]
    assert [[frame.number for frame in recording.frames] for recording in listed] == [
        [1, 2, 3, 4, 5],
        [7, 8, 9],
    ]
    assert listed[1].frames[0].image == image(course, 7)
    assert listed[1].frames[0].label == label(course, 7)


def test_written_files_hold_the_exact_pixels(course: Path) -> None:
    truth = [recording(5, 0), recording(3, 1)]
    for files, written in zip(list_recordings(course, "train"), truth, strict=True):
        for frame, pixels, pose in zip(files.frames, written.frames, written.poses, strict=True):
            np.testing.assert_array_equal(np.asarray(Image.open(frame.image)), pixels)
            np.testing.assert_array_equal(np.asarray(Image.open(frame.label)), pose)


def test_writing_continues_from_the_returned_number_and_reports_progress(tmp_path: Path) -> None:
    reported = []
    following = write_recordings(
        tmp_path, "train", [recording(3, 0)], progress=lambda done, total: reported.append((done, total))
    )
    assert reported == [(done, 6) for done in range(1, 7)]
    write_recordings(tmp_path, "train", [recording(2, 1)], first_number=following)
    assert [len(files.frames) for files in list_recordings(tmp_path, "train")] == [3, 2]


def test_writing_never_replaces_an_image(course: Path) -> None:
    before = image(course, 5).read_bytes()
    with pytest.raises(InputError, match=r"frame000005.png exists already"):
        write_recordings(course, "train", [recording(2, 5)], first_number=5)
    assert image(course, 5).read_bytes() == before


def test_files_sort_by_number_and_a_new_prefix_starts_a_new_recording(tmp_path: Path) -> None:
    for what in ("train_img", "train_label"):
        (tmp_path / "train" / what).mkdir(parents=True)
        for name in ("a9", "a10", "a8", "b11", "b12"):
            Image.fromarray(noise(1, 0)[0]).save(tmp_path / "train" / what / f"{name}.png")
    listed = list_recordings(tmp_path, "train")
    assert [[frame.name for frame in files.frames] for files in listed] == [
        ["a8", "a9", "a10"],
        ["b11", "b12"],
    ]


def test_test_sequences_are_read_exactly_and_in_numeric_order(tmp_path: Path) -> None:
    names = [f"frame{number:06d}" for number in (99, 100, 101)]
    written = [PoseSequence(str(k), noise(1, k)[0], noise(3, 50 + k), names if k else ()) for k in range(11)]
    write_test_sequences(tmp_path, written)
    read = read_test_sequences(tmp_path, (8, 16))
    assert [sequence.name for sequence in read] == [str(k) for k in range(11)]
    assert list(read[0].frame_names) == ["frame000001", "frame000002", "frame000003"]
    for sequence, original in zip(read, written, strict=True):
        np.testing.assert_array_equal(sequence.first_frame, original.first_frame)
        np.testing.assert_array_equal(sequence.poses, original.poses)
    assert list(read[10].frame_names) == names


def test_test_sequences_are_resized_by_pillow_bilinear(course: Path) -> None:
    sequence = read_test_sequences(course, (4, 6))[0]
    small = Image.fromarray(noise(4, 10)[2]).resize((6, 4), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(sequence.poses[2], np.asarray(small))


@pytest.mark.parametrize("names", [["frame2", "frame1"], ["frame1"], ["one", "two"], ["frame1", "frame1"]])
def test_frame_names_that_do_not_fit_the_poses_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(InputError, match="expected one name each"):
        write_test_sequences(tmp_path, [PoseSequence("0", noise(1, 0)[0], noise(2, 1), names)])


def test_listing_the_test_split_as_recordings_is_refused(course: Path) -> None:
    with pytest.raises(InputError, match="'test' has poses but no true frames; choose 'train' or 'val'"):
        list_recordings(course, "test")


def test_listing_a_flawed_split_names_the_first_error_and_counts_them(course: Path) -> None:
    label(course, 2).unlink()
    label(course, 4).unlink()
    with pytest.raises(InputError, match=r"frame000002.png has no pose map .*One of 2 errors"):
        list_recordings(course, "train")


def test_in_threads_keeps_order_and_stops_at_an_error() -> None:
    assert list(in_threads(lambda number: number * number, range(100))) == [n * n for n in range(100)]
    begun = []

    def fail_at_three(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise InputError("three")
        return number

    with pytest.raises(InputError, match="three"):
        list(in_threads(fail_at_three, range(100_000)))
    assert len(begun) < 100_000


def test_a_pose_folder_is_read_in_numeric_order(tmp_path: Path) -> None:
    maps = noise(3, 0)
    for number, pose in zip((8, 9, 10), maps, strict=True):
        Image.fromarray(pose).save(tmp_path / f"pose{number}.png")
    (tmp_path / "notes.txt").write_text("left alone")
    poses, names = read_pose_folder(tmp_path, (8, 16))
    assert names == ["pose8", "pose9", "pose10"]
    np.testing.assert_array_equal(poses, maps)
    assert read_pose_folder(tmp_path, (4, 6))[0].shape == (3, 4, 6, 3)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "has no numbered images; expected names like frame000001.png"),
        (["frame1"], "has 1 pose map; expected the first frame's own and at least one to follow"),
        (["frame1", "frame01", "frame2"], "files share a number: frame01.png, frame1.png"),
    ],
)
def test_a_pose_folder_with_too_few_or_ambiguous_files_is_refused(
    tmp_path: Path, names: list[str], expected: str
) -> None:
    for name in names:
        Image.fromarray(noise(1, 0)[0]).save(tmp_path / f"{name}.png")
    with pytest.raises(InputError, match=expected):
        read_pose_folder(tmp_path, (8, 16))


def test_a_missing_pose_folder_or_a_damaged_pose_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing is not a folder; expected images"):
        read_pose_folder(tmp_path / "nothing", (8, 16))
    Image.fromarray(noise(1, 0)[0]).save(tmp_path / "frame1.png")
    (tmp_path / "frame2.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"frame2.png is not a readable image"):
        read_pose_folder(tmp_path, (8, 16))


def test_a_path_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "nothing", tmp_path / ("long" * 100)):
        with pytest.raises(InputError, match="is not a folder; expected a data set"):
            list_recordings(path, "train")


@pytest.mark.parametrize("closed", ["train/train_label", "test/test_img", "test/test_label/0"])
def test_an_unreadable_folder_is_refused(course: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    scandir = os.scandir

    def refuse(path: Path):  # chmod would not affect root
        if Path(path) == course / closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=rf"{closed} cannot be read .*Permission denied.*make it readable"):
        list_recordings(course, "train") if "train" in closed else read_test_sequences(course, (8, 16))


def test_a_link_to_itself_is_reported(course: Path) -> None:
    image(course, 10).symlink_to(image(course, 10))
    with pytest.raises(InputError, match=r"train_img cannot be read .*frame000010.png"):
        list_recordings(course, "train")


def test_unprintable_names_and_links_are_listed(course: Path) -> None:
    add_odd_files(course)
    listed = list_recordings(course, "train")
    assert [len(files.frames) for files in listed] == [5, 4, 2]
    assert listed[2].name == "na\ufffdve é\ufffd1-na\ufffdve é\ufffd2"
