"""Reads a data set whole and says precisely what is missing or damaged.

In: a folder in the course's layout, listed by `folder_dataset.py`; here every picture is opened too.
Out: a `CheckResult`: errors and remarks in sentences, and what each split holds.
Knows no packs and no torch, and mends nothing. Next: `tables.py`, which prints the result.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posecast.data.folder_dataset import (
    SPLITS,
    FrameFiles,
    RecordingFiles,
    entries,
    list_split,
    numbered_files,
    picture_folders,
    require_folder,
    runs,
    sequence_names,
    sizes_differ,
)
from posecast.data.image_stats import Picture, find_jumps, look, ranges
from posecast.data.prefetch import Progress, in_threads
from posecast.errors import Finding, some


@dataclass(frozen=True)
class SplitSummary:
    """What a split holds; for test, recordings are sequences and frames are pose maps."""

    split: str
    num_recordings: int
    num_frames: int
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CheckResult:
    """What `check` found, and what each split holds; `limited` shortens the findings for the screen."""

    errors: tuple[Finding, ...]
    remarks: tuple[Finding, ...]
    splits: tuple[SplitSummary, ...]


def check(root: Path, size: tuple[int, int] | None = None, progress: Progress | None = None) -> CheckResult:
    """Read a data set whole. With `size` (height, width), pictures of another shape are a remark too."""
    require_folder(root)
    errors: list[Finding] = []
    remarks: list[Finding] = []
    listed: dict[str, list[RecordingFiles]] = {}
    for split in SPLITS:
        listed[split] = []
        if os.path.isdir(Path(root, split)):
            listed[split], more = list_split(root, split)
            errors += more
            remarks += _find_other_files(root, split)
            remarks += _find_gaps(listed[split]) if split == "test" else []
        else:
            (errors if split == "train" else remarks).append(_absent(root, split))
    frames = [frame for recordings in listed.values() for recording in recordings for frame in recording.frames]
    paths = list(dict.fromkeys(path for frame in frames for path in (frame.image, frame.label)))
    pictures = dict(zip(paths, in_threads(look, paths, progress), strict=True))

    summaries, seen = [], {}
    for split, recordings in listed.items():
        sizes = set()
        for recording in recordings:
            where = f"{split} recording {recording.name}"
            errors += _find_damage(recording, pictures)
            remarks += _find_oddities(where, recording, pictures, size)
            if split != "test":  # its photo may well be a frame of val
                remarks += _find_repeats(where, recording, pictures, seen)
                remarks += find_jumps(where, recording, pictures)
            sizes |= {pictures[frame.label].size for frame in recording.frames} - {(0, 0)}
        num_frames = sum(len(recording.frames) for recording in recordings)
        summaries.append(SplitSummary(split, len(recordings), num_frames, tuple(sorted(sizes))))
    return CheckResult(tuple(errors), tuple(remarks), tuple(summaries))


def limited(findings: Sequence[Finding], most: int = 10) -> list[str]:
    """The messages, at most so many of each kind, then how many more there are."""
    lines = []
    for kind in dict.fromkeys(finding.kind for finding in findings):
        messages = [finding.message for finding in findings if finding.kind == kind]
        lines += messages[:most]
        if len(messages) > most:
            lines.append(f"... and {len(messages) - most} more: {kind}.")
    return lines


def _absent(root: Path, split: str) -> Finding:
    if split == "train":
        expected = f"expected {root}/train/train_img and {root}/train/train_label with pictures."
        return Finding("no train", f"{root} has no folder train; {expected}")
    use = "a tail of train is held out for validation" if split == "val" else "there is nothing to submit"
    return Finding(f"no {split}", f"{root} has no folder {split}; {use}.")


def _find_other_files(root: Path, split: str) -> list[Finding]:
    folders = [folder for folder in picture_folders(root, split) if os.path.isdir(folder)]
    if split == "test":
        folders = [folder / name for folder in folders for name in sequence_names(root)]
    remarks = []
    for folder in filter(os.path.isdir, folders):
        if others := sorted(entries(folder).keys() - numbered_files(folder)[0].keys()):
            message = f"{folder} has other files or folders, left alone: {some(others)}."
            remarks.append(Finding("other files", message))
    return remarks


def _find_gaps(sequences: list[RecordingFiles]) -> list[Finding]:
    remarks = []
    for sequence in sequences:
        if len(runs(sequence.frames, lambda frame: (frame.name.rstrip("0123456789"), frame.number))) > 1:
            message = f"The numbers in {sequence.frames[0].label.parent} have gaps: poses will jump."
            remarks.append(Finding("gap in a test sequence", message))
    return remarks


def _find_damage(recording: RecordingFiles, pictures: dict[Path, Picture]) -> list[Finding]:
    """Pictures that cannot be read, and those of another size than the first that can."""
    errors, first = [], None
    for path in _pictures_of(recording):
        picture = pictures[path]
        if picture.damage:
            errors.append(Finding("damaged picture", picture.damage))
            continue
        first = first or path
        if picture.size != pictures[first].size:
            errors.append(Finding("sizes differ", sizes_differ(path, picture.size, first, pictures[first].size)))
    return errors


def _find_oddities(
    where: str, recording: RecordingFiles, pictures: dict[Path, Picture], size: tuple[int, int] | None
) -> list[Finding]:
    """Blank pictures, odd formats and other proportions: one remark each for a recording."""
    whole = {path: of for path, of in _pictures_of(recording).items() if not pictures[path].damage}
    remarks, blank, odd = [], defaultdict(list), Counter()
    for path, (what, frame) in whole.items():
        if pictures[path].is_blank:
            blank[what].append(frame.number)
        if pictures[path].kind != "PNG RGB":
            odd[pictures[path].kind] += 1
    for what, numbers in blank.items():
        message = f"{where}: blank {what} (all one colour): {ranges(numbers)}."
        remarks.append(Finding(f"blank {what}", message))
    if odd:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in odd.items())
        remarks.append(Finding("not RGB PNGs", f"{where}: not RGB PNGs, but read as RGB: {kinds}."))
    own = pictures[next(iter(whole))].size if whole else None
    if size and own and own[0] * size[1] != own[1] * size[0]:
        message = f"{where}: {own[0]}x{own[1]} will be squeezed to {size[0]}x{size[1]}."
        remarks.append(Finding("other proportions", message))
    return remarks


def _pictures_of(recording: RecordingFiles) -> dict[Path, tuple[str, FrameFiles]]:
    """Every picture once, a test sequence's one photo too; what it is, and the frame it belongs to."""
    pictures = {}
    for frame in recording.frames:
        pictures.setdefault(frame.image, ("frames", frame))
        pictures[frame.label] = ("pose maps", frame)
    return pictures


def _find_repeats(
    where: str, recording: RecordingFiles, pictures: dict[Path, Picture], seen: dict[bytes, str]
) -> list[Finding]:
    """Frames equal to the one before (frozen) or to one seen anywhere earlier; `seen` grows."""
    frozen, elsewhere, last = [], defaultdict(list), b""
    for frame in recording.frames:
        digest = pictures[frame.image].digest
        if digest and digest == last:
            frozen.append(frame.number)
        elif digest in seen:
            elsewhere[seen[digest]].append(frame.number)
        elif digest:
            seen[digest] = where
        last = digest
    remarks = []
    if frozen:
        message = f"{where}: frames that repeat the one before them: {ranges(frozen)}."
        remarks.append(Finding("frozen frames", message))
    for other, numbers in elsewhere.items():
        place = "earlier in it" if other == where else f"in {other}"
        message = f"{where}: frames that occur {place} too: {ranges(numbers)}."
        remarks.append(Finding("duplicate frames", message))
    return remarks
