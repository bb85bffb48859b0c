"""Fingerprints: the same after copying, moving and leaving hidden files, another after any change of an image."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from posecast.data.cache import PackedSplit, load_footage, load_split
from posecast.data.fingerprint import CONTENTS, content_fingerprint
from posecast.data.folder_dataset import list_recordings

from .conftest import image, label, noise


def load(root: Path) -> PackedSplit:
    return load_split(root, "train", (8, 16))


def rename_ending(path: Path, ending: str) -> None:
    path.rename(path.with_suffix(ending))


def add(root: Path, name: str) -> None:
    """Add a file with the content of a frame beside the frames and beside the pose maps."""
    for path in (image(root, 1), label(root, 1)):
        shutil.copy(path, path.with_name(name))


def leave_as_it_is(root: Path) -> None:
    pass


LITTER = [
    *("._frame000001.png", "._frame000006.png", ".frame000006.png", ".DS_Store", ".directory", ".nfs000012.png"),
    *("Thumbs.db", "desktop.ini", "thumbnail.png", "notes.txt", "frame000006.png.part", "frame000006.jpg", "frame.png"),
]
SAME: dict[str, Callable[[Path], object]] = {
    "copied": leave_as_it_is,
    "touched": lambda root: os.utime(image(root, 3), ns=(5, 5)),
    "a touched pose map": lambda root: os.utime(label(root, 3), ns=(5, 5)),
    "without pack": lambda root: shutil.rmtree(root / ".posecast"),
    "a damaged pack": lambda root: (root / ".posecast" / "train-8x16" / "index.json").write_text("{"),
    "the pack of another size": lambda root: load_split(root, "train", (4, 8)),
    "upper case": lambda root: [rename_ending(path, ".PNG") for path in root.glob("train/*/*.png")],
    "mixed case": lambda root: rename_ending(image(root, 2), ".Png"),
    "a pose map in upper case": lambda root: rename_ending(label(root, 2), ".PNG"),
    "no val": lambda root: shutil.rmtree(root / "val"),
    **{name: lambda root, name=name: add(root, name) for name in LITTER},
    "a hidden folder": lambda root: (image(root, 1).parent / ".thumbnails").mkdir(),
}


@pytest.mark.parametrize("name", SAME)
def test_data_that_moved_is_the_same(course: Path, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = load(course)
    moved = tmp_path_factory.mktemp("elsewhere") / "data"
    shutil.copytree(course, moved, copy_function=shutil.copyfile)  # modification times are not kept
    SAME[name](moved)
    after = load(moved)
    assert after.fingerprint == before.fingerprint
    assert after.fingerprint == content_fingerprint(list_recordings(moved, "train"))
    assert after.stamp != before.stamp
    for copy, original in zip(after.recordings, before.recordings, strict=True):
        assert copy.name == original.name
        assert (copy.frames == original.frames).all()
        assert (copy.poses == original.poses).all()


def swap(first: Path, second: Path) -> None:
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])


def renumber(root: Path) -> None:
    for path in (image(root, 9), label(root, 9)):
        path.rename(path.with_name("frame000006.png"))


OTHER: dict[str, Callable[[Path], object]] = {
    "a changed frame": lambda root: Image.fromarray(noise(1, 99)[0]).save(image(root, 3)),
    "a changed pose map": lambda root: Image.fromarray(noise(1, 99)[0]).save(label(root, 3)),
    "exchanged frames": lambda root: swap(image(root, 2), image(root, 3)),
    "a frame exchanged with its pose map": lambda root: swap(image(root, 2), label(root, 2)),
    "a renamed frame": renumber,
    "one frame less": lambda root: (image(root, 5).unlink(), label(root, 5).unlink()),
    "one frame more": lambda root: add(root, "frame000006.png"),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_changed_image_or_name_is_another_fingerprint(course: Path, name: str) -> None:
    before = load(course)
    OTHER[name](course)
    after = load(course)
    assert after.fingerprint != before.fingerprint
    assert after.fingerprint == content_fingerprint(list_recordings(course, "train"))


def test_the_fingerprint_of_the_contents_and_the_former_one_stand_for_footage(course: Path) -> None:
    footage = load_footage(course, (8, 16))
    assert footage.fingerprints == load(course).fingerprints
    assert footage.fingerprints[0] == footage.facts["fingerprint"]
    assert str(footage.facts["fingerprint"]).startswith(CONTENTS)
    assert str(footage.facts["fingerprint_val"]).startswith(CONTENTS)


def test_the_former_fingerprint_is_that_of_earlier_versions(course: Path) -> None:
    """Its value for fixed sizes and times, computed by the last version that recorded it."""
    for path in course.glob("train/*/*"):
        path.write_bytes(path.name.encode())
        os.utime(path, ns=(0, 1_700_000_000_000_000_000))
    from posecast.data.fingerprint import stamp

    expected = "14b7fb2c27526aeed37411522ebf49dace1b7c248b3f6ab48188eb7df740aa01"
    assert stamp(list_recordings(course, "train")) == expected
