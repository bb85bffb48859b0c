"""The course's folder layout: its files listed, read and written.

In: DATA/train/train_img/frame000631.png, the pose map of that name in train_label; DATA/test/test_img/0.
Out: listings of files, `PoseSequence`s, and a sentence for every file that cannot be paired.
Knows no packs and no torch. Next: `cache.py`, which keeps the pixels, and `check.py`, which judges them.
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

from posecast.data.images import read_picture
from posecast.data.prefetch import Item, Progress, in_threads
from posecast.data.recordings import PoseSequence, Recording
from posecast.errors import Finding, InputError, printable, some

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """A frame and its pose map, which have one name (kept here without ending) in two folders."""

    name: str
    number: int
    image: Path
    label: Path


@dataclass(frozen=True)
class RecordingFiles:
    """Pairs numbered without a gap. In a test sequence every `image` is the one photo there is."""

    name: str
    frames: tuple[FrameFiles, ...]


def list_recordings(root: Path, split: str) -> list[RecordingFiles]:
    """The recordings of a split with truth, not yet read; raises InputError with the first thing wrong."""
    if split == "test":
        raise InputError("The split 'test' has poses but no true frames; choose 'train' or 'val'.")
    return _list_or_refuse(root, split)


def read_test_sequences(root: Path, size: tuple[int, int], threads: int | None = None) -> list[PoseSequence]:
    """The test sequences in the order of their folders' numbers, resized to (height, width)."""
    sequences = []
    for listed in _list_or_refuse(root, "test"):
        paths = [listed.frames[0].image, *(frame.label for frame in listed.frames)]
        read = partial(read_alike, pattern=(paths[0], picture_size(paths[0])), size=size)
        pixels = list(in_threads(read, paths, threads=threads))
        sequences.append(PoseSequence(listed.name, pixels[0], np.stack(pixels[1:]), [f.name for f in listed.frames]))
    return sequences


def read_pose_folder(folder: Path, size: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    """A folder of pose maps in the order of their numbers, uint8 `[T, H, W, 3]`, and their names without ending."""
    files, errors = numbered_files(folder)
    if errors:
        raise InputError(errors[0].message)
    if len(files) < 2:
        raise InputError(f"{folder} has 1 pose map; expected the first frame's own and at least one to follow.")
    maps = in_threads(lambda path: read_picture(path, size), list(files.values()))
    return np.stack(list(maps)), [name[:-4] for name in files]


def _list_or_refuse(root: Path, split: str) -> list[RecordingFiles]:
    recordings, errors = list_split(root, split)
    if errors:
        raise InputError(errors[0].message + f" (One of {len(errors)} errors.)" * (len(errors) > 1))
    return recordings


def list_split(root: Path, split: str) -> tuple[list[RecordingFiles], list[Finding]]:
    """What can be paired, and what is wrong with the rest; no picture is opened."""
    require_folder(root)
    folders = picture_folders(root, split)
    if split != "test":
        return _pair(*folders)
    recordings, errors = [], []
    for name in sequence_names(root):
        paired, more = _pair_test(name, folders[0] / name, folders[1] / name)
        recordings, errors = recordings + paired, errors + more
    if not recordings and not errors:
        errors.append(Finding("empty folder", f"{folders[0]} has no folder 0; expected one for each sequence."))
    return recordings, errors


def require_folder(root: Path) -> None:
    """Raise InputError unless `root` is a folder. (`Path.is_dir` would raise where a parent may not be read.)"""
    if not os.path.isdir(root):
        raise InputError(f"{root} is not a folder; expected a data set, with train/train_img in it.")


def sequence_names(root: Path) -> list[str]:
    """The numbered folders within test_img or test_label, in numeric order."""
    folders = [folder for folder in picture_folders(root, "test") if os.path.isdir(folder)]
    return sorted({name for folder in folders for name in entries(folder) if re.fullmatch("[0-9]+", name)}, key=int)


def picture_folders(root: Path, split: str) -> tuple[Path, Path]:
    """Where a split's frames and pose maps lie; in test, within them, a folder for each sequence."""
    return Path(root, split, f"{split}_img"), Path(root, split, f"{split}_label")


def _pair(images: Path, labels: Path) -> tuple[list[RecordingFiles], list[Finding]]:
    frames, errors = numbered_files(images)
    poses, more = numbered_files(labels)
    errors += more
    if not frames or not poses:
        return [], errors
    for name in sorted(frames.keys() - poses.keys()):
        errors.append(Finding("missing pose map", f"{frames[name]} has no pose map {labels / name}; add it."))
    for name in sorted(poses.keys() - frames.keys()):
        errors.append(Finding("missing frame", f"{poses[name]} has no frame {images / name}; add it."))
    recordings = []
    # Runs of either folder's names: a missing file is one error, and does not end a recording as a gap would.
    for run in runs(sorted(frames | poses, key=_key), _key):
        if len(run) == 1:
            message = f"{images / run[0]} has no neighbour in number; a recording has at least 2 frames."
            errors.append(Finding("recording of a single frame", message))
        pairs = [FrameFiles(n[:-4], _key(n)[1], frames[n], poses[n]) for n in run if n in frames and n in poses]
        recordings.append(RecordingFiles(f"{printable(run[0][:-4])}-{printable(run[-1][:-4])}", tuple(pairs)))
    return [recording for recording in recordings if recording.frames], errors


def _pair_test(name: str, images: Path, labels: Path) -> tuple[list[RecordingFiles], list[Finding]]:
    photos, errors = numbered_files(images)
    poses, more = numbered_files(labels)
    errors += more
    if not photos or not poses:
        return [], errors
    photo, names = next(iter(photos)), sorted(poses, key=_key)
    if len(photos) > 1:
        errors.append(Finding("first frame", f"{images} has {len(photos)} pictures; expected the first frame."))
    elif photo != names[0]:
        message = f"{photos[photo]} has no pose map: the first in {labels} is {names[0]}; both need one name."
        errors.append(Finding("first frame", message))
    pairs = [FrameFiles(pose[:-4], _key(pose)[1], photos[photo], poses[pose]) for pose in names]
    return [RecordingFiles(name, tuple(pairs))], errors


def numbered_files(folder: Path) -> tuple[dict[str, Path], list[Finding]]:
    """The numbered PNGs of a folder by name, in the order of their numbers, and what is wrong with their names."""
    if not os.path.isdir(folder):
        return {}, [Finding("missing folder", f"{folder} is not a folder; expected pictures like frame000001.png.")]
    found = sorted(entries(folder).items(), key=lambda entry: (_key(entry[0]), entry[0]))
    files = {name: folder / name for name, is_file in found if is_file and _NUMBERED.fullmatch(name)}
    if not files:
        return {}, [Finding("empty folder", f"{folder} has no numbered pictures; expected names like frame000001.png.")]
    by_number = [list(names) for _, names in groupby(files, _key)]
    twice = [some(names) for names in by_number if len(names) > 1]
    return files, [Finding("number used twice", f"{folder}: one number for {names}; rename.") for names in twice]


def entries(folder: Path) -> dict[str, bool]:
    """The names in a folder, and whether each is a file; hidden ones are nobody's business."""
    try:
        with os.scandir(folder) as found:
            return {entry.name: entry.is_file() for entry in found if not entry.name.startswith(".")}
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error}); make it readable, or choose another.") from error


_NUMBERED = re.compile(r"(.*?)([0-9]+)\.png", re.DOTALL)


def _key(name: str) -> tuple[str, int]:
    """frame000631.png is ("frame", 631): pictures sort by these, so that frame10 follows frame9."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else ("", -1)


def write_recordings(
    root: Path, split: str, recordings: Sequence[Recording], *, first_number: int = 1, progress: Progress | None = None
) -> int:
    """Write recordings as a split, a gap of one number after each, never over a picture; returns the next number."""
    images, labels = picture_folders(root, split)
    jobs, number = [], first_number
    for recording in recordings:
        for k in range(len(recording)):
            name = f"frame{number + k:06d}.png"
            jobs += [(images / name, recording.frames[k]), (labels / name, recording.poses[k])]
        number += len(recording) + 1
    _write(jobs, progress)
    return number


def write_test_sequences(root: Path, sequences: Sequence[PoseSequence], *, progress: Progress | None = None) -> None:
    """Write sequences as test_img/0, test_label/0, 1, ...; names default to frame000001 and on."""
    images, labels = picture_folders(root, "test")
    jobs = []
    for k, sequence in enumerate(sequences):
        names = [f"{name}.png" for name in sequence.frame_names]
        names = names or [f"frame{n + 1:06d}.png" for n in range(len(sequence.poses))]
        fits = len(names) == len(sequence.poses) and all(_NUMBERED.fullmatch(name) for name in names)
        if not fits or names != sorted(set(names), key=_key):
            raise InputError(
                f"Sequence {sequence.name!r} has {len(sequence.poses)} poses and {len(names)} frame names "
                f"such as {names[0]}; expected one name each, like frame000631, in rising order."
            )
        jobs.append((images / str(k) / names[0], sequence.first_frame))
        jobs += [(labels / str(k) / name, pose) for name, pose in zip(names, sequence.poses, strict=True)]
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


def read_alike(path: Path, pattern: tuple[Path, tuple[int, int]], size: tuple[int, int]) -> np.ndarray:
    """The picture, resized to `size`; raises InputError where its own size is not the pattern's."""
    pixels, own = read_picture(path, size), picture_size(path)
    if own != pattern[1]:
        raise InputError(sizes_differ(path, own, *pattern))
    return pixels


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width as stored; reads no more than the file's header."""
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}); export it again.") from error


def sizes_differ(path: Path, own: tuple[int, int], pattern: Path, expected: tuple[int, int]) -> str:
    """The sentence for two pictures of one recording that differ in (height, width)."""
    found = f"{path} is {own[0]}x{own[1]} but {pattern} is {expected[0]}x{expected[1]}"
    return f"{found}; the frames and pose maps of one recording must have one size."


def runs(items: Iterable[Item], key: Callable[[Item], tuple[str, int]]) -> list[list[Item]]:
    """Sorted items cut wherever the number does not rise by one or what precedes it changes."""
    numbered = groupby(enumerate(items), lambda pair: (key(pair[1])[0], key(pair[1])[1] - pair[0]))
    return [[item for _, item in run] for _, run in numbered]
