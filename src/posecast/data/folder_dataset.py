"""Folder layout of a data set: listing, reading and writing its files.

In: DATA/train/train_img/frame000631.png, the pose map of that name in train_label; DATA/test/test_img/0.
Out: listings of files, `PoseSequence`s, and a finding for every file that cannot be paired.
Next: `cache.py`, which stores the pixels, and `check.py`, which checks them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from posecast.data.images import read_image, read_image_file, read_same_size
from posecast.data.prefetch import Item, Progress, in_threads
from posecast.data.recordings import PoseSequence, Recording
from posecast.errors import Finding, InputError, counted, join_limited, printable

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """Files of a frame and its pose map, which have the same name (here without ending) in two folders."""

    name: str
    number: int
    image: Path
    label: Path


@dataclass(frozen=True)
class RecordingFiles:
    """Files of a recording, numbered without a gap. In a test sequence every `image` is the only photo."""

    name: str
    frames: tuple[FrameFiles, ...]


def list_recordings(root: Path, split: str) -> list[RecordingFiles]:
    """List the recordings of a split without reading them.

    Args:
        root: The data set.
        split: "train" or "val".

    Raises:
        InputError: The split is "test", or its files have errors; the message states the first one.
    """
    if split == "test":
        raise InputError("The split 'test' has poses but no true frames; choose 'train' or 'val'.")
    return _list_or_refuse(root, split)


def read_test_sequences(root: Path, size: tuple[int, int], threads: int | None = None) -> list[PoseSequence]:
    """Read the test sequences in the order of their folders' numbers.

    Args:
        root: The data set.
        size: Height and width to resize to.
        threads: Number of threads; None for one per core.

    Raises:
        InputError: Files are missing, cannot be read, or differ in size within a sequence.
    """
    sequences = []
    for files in _list_or_refuse(root, "test"):
        paths = [files.frames[0].image, *(frame.label for frame in files.frames)]
        read = partial(read_same_size, first=paths[0], first_size=read_image_file(paths[0]).size, size=size)
        pixels = [file.pixels for file in in_threads(read, paths, threads=threads)]
        names = [frame.name for frame in files.frames]
        sequences.append(PoseSequence(files.name, pixels[0], np.stack(pixels[1:]), names))
    return sequences


def read_pose_folder(folder: Path, size: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    """Read a folder of pose maps in the order of their numbers.

    Args:
        folder: Folder with at least two numbered PNGs.
        size: Height and width to resize to.

    Returns:
        uint8 `[T, H, W, 3]`, and the file names without ending.

    Raises:
        InputError: The folder has too few or ambiguously numbered files, or one cannot be read.
    """
    files, errors = numbered_files(folder)
    if errors:
        raise InputError(errors[0].message)
    if len(files) < 2:
        raise InputError(f"{folder} has 1 pose map; expected the first frame's own and at least one to follow.")
    maps = in_threads(lambda path: read_image(path, size), list(files.values()))
    return np.stack(list(maps)), list(files)


def _list_or_refuse(root: Path, split: str) -> list[RecordingFiles]:
    recordings, errors = list_split(root, split)
    if errors:
        raise InputError(errors[0].message + f" (One of {len(errors)} errors.)" * (len(errors) > 1))
    return recordings


def list_split(root: Path, split: str) -> tuple[list[RecordingFiles], list[Finding]]:
    """List a split without opening any image.

    Returns:
        The recordings (for "test": sequences) whose files can be paired, and an error for every other file.
    """
    require_folder(root)
    folders = image_folders(root, split)
    if split != "test":
        return _pair(*folders)
    recordings, errors = [], []
    for name in sequence_names(root):
        paired, test_errors = _pair_test(name, folders[0] / name, folders[1] / name)
        recordings, errors = recordings + paired, errors + test_errors
    if not recordings and not errors:
        errors.append(Finding("empty folder", f"{folders[0]} has no folder 0; expected one for each sequence."))
    return recordings, errors


def require_folder(root: Path) -> None:
    """Raise InputError unless `root` is a folder."""
    if not os.path.isdir(root):  # Path.is_dir raises where a parent folder may not be read
        raise InputError(f"{root} is not a folder; expected a data set, with train/train_img in it.")


def sequence_names(root: Path) -> list[str]:
    """Return the names of the numbered folders in test_img or test_label, in numeric order."""
    folders = [folder for folder in image_folders(root, "test") if os.path.isdir(folder)]
    return sorted({name for folder in folders for name in entries(folder) if re.fullmatch("[0-9]+", name)}, key=int)


def image_folders(root: Path, split: str) -> tuple[Path, Path]:
    """Return the folders of a split's frames and pose maps; in "test" each holds one folder per sequence."""
    return Path(root, split, f"{split}_img"), Path(root, split, f"{split}_label")


def _pair(images: Path, labels: Path) -> tuple[list[RecordingFiles], list[Finding]]:
    frames, errors = numbered_files(images)
    poses, pose_errors = numbered_files(labels)
    errors += pose_errors
    if not frames or not poses:
        return [], errors
    for name in sorted(frames.keys() - poses.keys()):
        errors.append(Finding("missing pose map", f"{frames[name]} has no pose map {labels / name}.png; add it."))
    for name in sorted(poses.keys() - frames.keys()):
        errors.append(Finding("missing frame", f"{poses[name]} has no frame {images / name}.png; add it."))
    recordings = []
    # The names of both folders together, so that a missing file is one error and does not split a recording.
    for run in consecutive_runs(sorted(frames | poses, key=_key), _key):
        if len(run) == 1:
            message = f"{images / run[0]}.png has no neighbour in number; a recording has at least 2 frames."
            errors.append(Finding("recording of a single frame", message))
        pairs = [
            FrameFiles(name, _key(name)[1], frames[name], poses[name]) for name in run if name in frames.keys() & poses
        ]
        recordings.append(RecordingFiles(f"{printable(run[0])}-{printable(run[-1])}", tuple(pairs)))
    return [recording for recording in recordings if recording.frames], errors


def _pair_test(name: str, images: Path, labels: Path) -> tuple[list[RecordingFiles], list[Finding]]:
    photos, errors = numbered_files(images)
    poses, pose_errors = numbered_files(labels)
    errors += pose_errors
    if not photos or not poses:
        return [], errors
    photo, names = next(iter(photos)), sorted(poses, key=_key)
    if len(photos) > 1:
        errors.append(Finding("first frame", f"{images} has {len(photos)} images; expected the first frame."))
    elif photo != names[0]:
        message = f"{photos[photo]} has no pose map: the first in {labels} is {names[0]}.png; both need the same name."
        errors.append(Finding("first frame", message))
    pairs = [FrameFiles(pose, _key(pose)[1], photos[photo], poses[pose]) for pose in names]
    return [RecordingFiles(name, tuple(pairs))], errors


def numbered_files(folder: Path) -> tuple[dict[str, Path], list[Finding]]:
    """List the numbered PNGs of a folder.

    Returns:
        Paths by file name without ending, in the order of their numbers, and the errors in the names.
    """
    if not os.path.isdir(folder):
        return {}, [Finding("missing folder", f"{folder} is not a folder; expected images like frame000001.png.")]
    numbered = [name for name, is_file in entries(folder).items() if is_file and _IMAGE.fullmatch(name)]
    if not numbered:
        return {}, [Finding("empty folder", f"{folder} has no numbered images; expected names like frame000001.png.")]
    numbered.sort(key=lambda name: (_key(name[:-4]), name))
    by_number = [list(names) for _, names in groupby(numbered, lambda name: _key(name[:-4]))]
    shared = [join_limited(names) for names in by_number if len(names) > 1]
    sentences = [f"{folder}: files share a number: {names}; rename all but one." for names in shared]
    files = {name[:-4]: folder / name for name in numbered}
    return files, [Finding("number used twice", sentence) for sentence in sentences]


def entries(folder: Path) -> dict[str, bool]:
    """Return the names in a folder, hidden ones left out, and whether each is a file."""
    try:
        with os.scandir(folder) as scanned:
            return {entry.name: entry.is_file() for entry in scanned if not entry.name.startswith(".")}
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error}); make it readable, or choose another.") from error


_NUMBERED = re.compile(r"(.*?)([0-9]+)", re.DOTALL)
_IMAGE = re.compile(r".*[0-9]\.png", re.DOTALL | re.IGNORECASE)


def _key(name: str) -> tuple[str, int]:
    """Return the sort key of a name without ending, which puts frame10 after frame9: ("frame", 631) for frame000631."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else ("", -1)


def write_recordings(
    root: Path, split: str, recordings: Sequence[Recording], *, first_number: int = 1, progress: Progress | None = None
) -> int:
    """Write recordings as a split, with a gap of one number between them.

    Args:
        root: The data set.
        split: "train" or "val".
        recordings: Recordings to write.
        first_number: Number of the first frame.
        progress: Called with the number of written images and their total.

    Returns:
        The number at which the next recording can start.

    Raises:
        InputError: A file to be written exists.
    """
    images, labels = image_folders(root, split)
    jobs, number = [], first_number
    for recording in recordings:
        for k in range(len(recording)):
            name = f"frame{number + k:06d}.png"
            jobs += [(images / name, recording.frames[k]), (labels / name, recording.poses[k])]
        number += len(recording) + 1
    _write(jobs, progress)
    return number


def write_test_sequences(root: Path, sequences: Sequence[PoseSequence], *, progress: Progress | None = None) -> None:
    """Write sequences as test_img/0, test_label/0, test_img/1 and so on; names default to frame000001, ....

    Raises:
        InputError: The frame names do not fit the pose maps, or a file to be written exists.
    """
    images, labels = image_folders(root, "test")
    jobs = []
    for k, sequence in enumerate(sequences):
        names = list(sequence.frame_names) or [f"frame{n + 1:06d}" for n in range(len(sequence.poses))]
        fits = len(names) == len(sequence.poses) and all(_NUMBERED.fullmatch(name) for name in names)
        if not fits or names != sorted(set(names), key=_key):
            raise InputError(
                f"Sequence {sequence.name!r} has {counted(len(sequence.poses), 'pose')} and "
                f"{counted(len(names), 'frame name')} such as {names[0]}; expected one name each, like frame000631, "
                "in rising order."
            )
        jobs.append((images / str(k) / f"{names[0]}.png", sequence.first_frame))
        jobs += [(labels / str(k) / f"{name}.png", pose) for name, pose in zip(names, sequence.poses, strict=True)]
    _write(jobs, progress)


def _write(jobs: list[tuple[Path, np.ndarray]], progress: Progress | None) -> None:
    def write(job: tuple[Path, np.ndarray]) -> None:
        try:
            with open(job[0], "xb") as file:
                Image.fromarray(job[1]).save(file, "PNG", compress_level=1)
        except FileExistsError:
            raise InputError(f"{job[0]} exists already; choose an empty folder or other numbers.") from None

    for folder in {path.parent for path, _ in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    list(in_threads(write, jobs, progress))


def consecutive_runs(items: Iterable[Item], key: Callable[[Item], tuple[str, int]]) -> list[list[Item]]:
    """Split sorted items wherever the number in their key does not rise by one or its prefix changes."""
    numbered = groupby(enumerate(items), lambda pair: (key(pair[1])[0], key(pair[1])[1] - pair[0]))
    return [[item for _, item in run] for _, run in numbered]
