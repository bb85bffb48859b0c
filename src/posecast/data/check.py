"""Check of a complete data set: what is missing, damaged or unusual.

In: a folder in the course's layout, listed by `folder_dataset.py`; every image is read, nothing is changed.
Out: a `CheckResult`: errors and remarks in sentences, and a summary of each split.
Next: `image_stats.py`, which measures the images; `cli/tables.py`, which prints the result.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posecast.config.recipes import RECIPES
from posecast.data.folder_dataset import (
    SPLITS,
    FrameFiles,
    RecordingFiles,
    consecutive_runs,
    entries,
    image_folders,
    list_split,
    numbered_files,
    require_folder,
    sequence_names,
)
from posecast.data.image_stats import ImageStats, find_jumps, measure_image, ranges
from posecast.data.images import sizes_differ
from posecast.data.prefetch import Progress, in_threads
from posecast.data.unused_footage import shorter_than_clips, split_off_tails
from posecast.errors import Finding, join_limited


@dataclass(frozen=True)
class SplitSummary:
    """Contents of a split; in "test", recordings are sequences and frames are pose maps."""

    split: str
    num_recordings: int
    num_frames: int
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CheckResult:
    """Findings about a data set and contents of its splits; `limited` shortens the findings for the screen."""

    errors: tuple[Finding, ...]
    remarks: tuple[Finding, ...]
    splits: tuple[SplitSummary, ...]


def check(root: Path, size: tuple[int, int] | None = None, progress: Progress | None = None) -> CheckResult:
    """Read and check a complete data set.

    Args:
        root: The data set.
        size: Height and width of a model's images; other proportions are a remark. None to skip this.
        progress: Called with the number of read images and their total.

    Raises:
        InputError: `root` is not a folder, or a folder in it cannot be read.
    """
    require_folder(root)
    errors: list[Finding] = []
    remarks: list[Finding] = []
    listed: dict[str, list[RecordingFiles]] = {}
    for split in SPLITS:
        listed[split] = []
        if os.path.isdir(Path(root, split)):
            listed[split], split_errors = list_split(root, split)
            errors += split_errors
            remarks += _find_other_files(root, split)
            remarks += _find_gaps(listed[split]) if split == "test" else []
            remarks += _find_short(root, listed[split]) if split == "train" else []
        else:
            (errors if split == "train" else remarks).append(_absent(root, split, listed["train"]))
    frames = [frame for recordings in listed.values() for recording in recordings for frame in recording.frames]
    paths = list(dict.fromkeys(path for frame in frames for path in (frame.image, frame.label)))
    stats = dict(zip(paths, in_threads(measure_image, paths, progress), strict=True))

    summaries, places = [], {}
    for split, recordings in listed.items():
        sizes = set()
        for recording in recordings:
            where = f"{split} recording {recording.name}"
            errors += _find_damage(recording, stats)
            remarks += _find_oddities(where, recording, stats, size)
            if split != "test":  # whose photo may be a frame of val
                remarks += _find_repeats(where, recording, stats, places)
                remarks += find_jumps(where, recording, stats)
            sizes |= {stats[frame.label].size for frame in recording.frames} - {(0, 0)}
        num_frames = sum(len(recording.frames) for recording in recordings)
        summaries.append(SplitSummary(split, len(recordings), num_frames, tuple(sorted(sizes))))
    return CheckResult(tuple(errors), tuple(remarks), tuple(summaries))


def limited(findings: Sequence[Finding], most: int = 10) -> list[str]:
    """Return the messages, at most `most` of each kind, followed by how many more there are."""
    lines = []
    for kind in dict.fromkeys(finding.kind for finding in findings):
        messages = [finding.message for finding in findings if finding.kind == kind]
        lines += messages[:most]
        if len(messages) > most:
            lines.append(f"... and {len(messages) - most} more: {kind}.")
    return lines


def _absent(root: Path, split: str, train: list[RecordingFiles]) -> Finding:
    if split == "train":
        expected = f"expected {root}/train/train_img and {root}/train/train_label with images."
        return Finding("no train", f"{root} has no folder train; {expected}")
    if split == "test":
        return Finding("no test", f"{root} has no folder test; there is nothing to submit.")
    left_out, _ = split_off_tails(root, [len(recording.frames) for recording in train])
    message = f"{root} has no folder val; a tail of train is held out for validation."
    return Finding("no val", f"{message} {left_out}" if left_out else message)


def _find_other_files(root: Path, split: str) -> list[Finding]:
    folders = [folder for folder in image_folders(root, split) if os.path.isdir(folder)]
    if split == "test":
        folders = [folder / name for folder in folders for name in sequence_names(root)]
    remarks = []
    for folder in filter(os.path.isdir, folders):
        if others := sorted(entries(folder).keys() - {path.name for path in numbered_files(folder)[0].values()}):
            message = f"{folder} has other files or folders, left alone: {join_limited(others)}."
            remarks.append(Finding("other files", message))
    return remarks


def _find_short(root: Path, recordings: list[RecordingFiles]) -> list[Finding]:
    """Find recordings that are shorter than the clips of a recipe."""
    _, lengths = split_off_tails(root, [len(recording.frames) for recording in recordings])
    remarks = []
    for name, recipe in RECIPES.items():
        if sentence := shorter_than_clips(lengths, min(recipe.training.clip_lengths)):
            remarks.append(Finding("short recordings", f"train, with recipe {name}: {sentence}"))
    return remarks


def _find_gaps(sequences: list[RecordingFiles]) -> list[Finding]:
    remarks = []
    for sequence in sequences:
        if len(consecutive_runs(sequence.frames, lambda frame: (frame.name.rstrip("0123456789"), frame.number))) > 1:
            message = f"The numbers in {sequence.frames[0].label.parent} have gaps: poses will jump."
            remarks.append(Finding("gap in a test sequence", message))
    return remarks


def _find_damage(recording: RecordingFiles, stats: dict[Path, ImageStats]) -> list[Finding]:
    """Find images that cannot be read, and those that differ in size from the first readable one."""
    errors, first = [], None
    for path in _images_of(recording):
        image = stats[path]
        if image.damage:
            errors.append(Finding("damaged image", image.damage))
            continue
        first = first or path
        if image.size != stats[first].size:
            errors.append(Finding("sizes differ", sizes_differ(path, image.size, first, stats[first].size)))
    return errors


def _find_oddities(
    where: str, recording: RecordingFiles, stats: dict[Path, ImageStats], size: tuple[int, int] | None
) -> list[Finding]:
    """Find blank images, formats other than RGB PNG and other proportions: one remark each for a recording."""
    readable = {path: usage for path, usage in _images_of(recording).items() if not stats[path].damage}
    remarks, blank, other_formats = [], defaultdict(list), Counter()
    for path, (what, frame) in readable.items():
        if stats[path].is_blank:
            blank[what].append(frame.number)
        if stats[path].kind != "PNG RGB":
            other_formats[stats[path].kind] += 1
    for what, numbers in blank.items():
        message = f"{where}: blank {what} (all one colour): {ranges(numbers)}."
        remarks.append(Finding(f"blank {what}", message))
    if other_formats:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in other_formats.items())
        remarks.append(Finding("not RGB PNGs", f"{where}: not RGB PNGs, but read as RGB: {kinds}."))
    own = stats[next(iter(readable))].size if readable else None
    if size and own and own[0] * size[1] != own[1] * size[0]:
        message = f"{where}: {own[0]}x{own[1]} will be squeezed to {size[0]}x{size[1]}."
        remarks.append(Finding("other proportions", message))
    return remarks


def _images_of(recording: RecordingFiles) -> dict[Path, tuple[str, FrameFiles]]:
    """Return every image path once, with what it shows and the first frame that uses it."""
    images = {}
    for frame in recording.frames:
        images.setdefault(frame.image, ("frames", frame))
        images[frame.label] = ("pose maps", frame)
    return images


def _find_repeats(
    where: str, recording: RecordingFiles, stats: dict[Path, ImageStats], places: dict[bytes, str]
) -> list[Finding]:
    """Find frames equal to the one before (frozen) or to any earlier one; new digests are added to `places`."""
    frozen, duplicates, previous = [], defaultdict(list), b""
    for frame in recording.frames:
        digest = stats[frame.image].digest
        if digest and digest == previous:
            frozen.append(frame.number)
        elif digest in places:
            duplicates[places[digest]].append(frame.number)
        elif digest:
            places[digest] = where
        previous = digest
    remarks = []
    if frozen:
        message = f"{where}: frames that repeat the one before them: {ranges(frozen)}."
        remarks.append(Finding("frozen frames", message))
    for other, numbers in duplicates.items():
        place = "earlier in it" if other == where else f"in {other}"
        message = f"{where}: frames that occur {place} too: {ranges(numbers)}."
        remarks.append(Finding("duplicate frames", message))
    return remarks
