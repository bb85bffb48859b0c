"""Footage of your own, as phones and cameras write it, into a data set that can be trained on.

In: video files. Out: a folder in the course's layout, with poses.npz (keypoints) and extract.json (what was found).
Twice through each video: first a person's keypoints, then, as the crop is known, the pictures. Interrupted, it goes on
where it stopped. Knows no torch. Next: `tracking.py`, `export.py`; `diagnostics.py`, which judges.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

import posecast
from posecast.data.pose_maps import SKELETON
from posecast.errors import Finding, InputError
from posecast.files import claim_folder, read_json, write_bytes, write_json
from posecast.video.cropping import Crop
from posecast.video.diagnostics import measure, remarks, states
from posecast.video.export import Segment, plan_segments, write_pictures
from posecast.video.pose_estimation import BlazePose, Estimator
from posecast.video.reader import list_videos, mean_rate
from posecast.video.tracking import Progress, Span, find_person
from posecast.video.tracks import Track

MARKER = "extract.json"
WORK = ".extract"
LOCK = "lock"
PREVIEWS = "preview*.mp4"
WRITTEN = (MARKER, "poses.npz", "train", "val", ".posecast")
HIGHEST_RATE = 30.0


@dataclass(frozen=True)
class Extraction:
    """What is asked of footage."""

    fps: float | None = None
    """Frames a second of the data set; None: the first video's own, at most 30."""
    size: tuple[int, int] = (64, 64)
    """Height and width of the pictures."""
    crop: Crop = "steady"
    """One window for a whole recording, one that follows the person, or the whole frame."""
    val: float = 0.15
    """The last share of the footage, kept for validation."""
    person: int = 1
    """Whom to follow: 1 is the largest when first seen, 2 the next."""
    start_s: float = 0.0
    end_s: float | None = None
    preview: bool = False
    """Also write preview.mp4, to see whether skeletons sit on bodies."""

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= 240:
            raise InputError(f"--fps is {self.fps:g}; expected a number above 0, at most 240.")
        if not 0 <= self.val <= 0.5:
            raise InputError(f"--val is {100 * self.val:g} %; expected from 0 to 50 %.")
        if self.person < 1:
            raise InputError(f"--person is {self.person}; expected a number from 1, the largest.")
        if self.start_s < 0 or (self.end_s is not None and self.end_s <= self.start_s):
            raise InputError("--start and --end are seconds; expected 0 or more, and the end after the start.")


@dataclass(frozen=True)
class Extracted:
    """What came out."""

    num_train: int
    num_val: int
    facts: dict[str, Any]
    """What extract.json holds."""
    remarks: tuple[Finding, ...]


def extract(
    videos: Sequence[Path],
    out: Path,
    asked: Extraction | None = None,
    *,
    estimator: Estimator | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Extracted:
    """Make a data set of footage; see the module. Called again with the same wishes it goes on where it stopped, and
    does nothing if it was ended.

    `estimator` is BlazePose if not given. Raises InputError for what cannot be read, and where nobody is found;
    OSError where the disk is full, and then what was found so far is kept.
    """
    files = list_videos(videos)
    asked = asked or Extraction()
    asked = dataclasses.replace(asked, fps=asked.fps or min(HIGHEST_RATE, mean_rate(files[0])))
    assert asked.fps
    estimator = estimator or BlazePose()
    span = Span(asked.fps, asked.start_s, float("inf") if asked.end_s is None else asked.end_s)
    wishes = {"posecast": posecast.__version__, "estimator": estimator.name, "asked": dataclasses.asdict(asked)}
    sources = [fingerprint(file) for file in files]
    with _alone_in(out) as work:
        if not force and (ended := _ended(out, wishes, sources)):
            _clear(work)
            return ended
        _claim(out, work, {**wishes, "sources": sources}, force=force)
        try:
            tracks = []
            for number, file in enumerate(files):
                saved = work / f"track{number}.npz"
                tracks.append(find_person(file, span, estimator, person=asked.person, saved=saved, progress=progress))
            pieces = plan_segments(tracks, asked.size, asked.crop, asked.val)
            _refuse_too_little(files, tracks, pieces, asked)
        except InputError:
            _clear(work)
            raise
        pictures = work / "pictures"
        shutil.rmtree(pictures, ignore_errors=True)  # what an interrupted run left is soon made again
        spans = [span] * len(files)
        write_pictures(pictures, files, spans, pieces, asked.size, preview=asked.preview, progress=progress)
        extracted = _describe(files, tracks, pieces, asked, estimator.name)
        _publish(pictures, out, pieces, asked, extracted)
        _clear(work)
    return extracted


@contextmanager
def _alone_in(out: Path) -> Iterator[Path]:
    """The folder to work in, which no other extraction may use meanwhile; gone at the end unless work is left in it."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} is not a folder; name a new or an empty one.")
    was_there, work = out.exists(), out / WORK
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / LOCK, timeout=0):
            try:
                yield work
            finally:
                if {path.name for path in work.iterdir()} <= {LOCK}:
                    shutil.rmtree(work, ignore_errors=True)
                if not was_there and not any(out.iterdir()):
                    out.rmdir()
    except Timeout as error:
        raise InputError(f"Another posecast is extracting into {out}; wait for it, or name another folder.") from error


def _clear(work: Path) -> None:
    """Remove all work, but not the lock that is held."""
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink()


def _ended(out: Path, wishes: dict[str, Any], sources: list[dict[str, Any]]) -> Extracted | None:
    """What the same call made here before, if it came to its end; so whoever was killed just then can call it again."""
    try:
        facts = read_json(out / MARKER, "what an extraction made")
        with np.load(out / "poses.npz", allow_pickle=False) as poses:
            splits = [str(name).partition("/")[0] for name in poses["names"]]
        known = [{name: dict(video)[name] for name in sources[0]} for video in facts["videos"]]
        said = tuple(Finding("extraction", str(one)) for one in facts["remarks"])
    except (InputError, OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None  # somebody else's, or damaged
    if {name: facts.get(name) for name in wishes} != as_json(wishes) or known != sources:
        return None
    num = {split: splits.count(split) for split in ("train", "val")}
    if any(len(list((out / split).glob("*_img/*"))) != count for split, count in num.items()):
        return None
    return Extracted(num["train"], num["val"], facts, said)


def as_json(content: Any) -> Any:
    """As it comes back from a file: tuples are lists."""
    return json.loads(json.dumps(content))


def _claim(out: Path, work: Path, asked: dict[str, Any], *, force: bool) -> None:
    """Make `out` ready: new, or to go on in, or, with `force`, to begin again in."""
    wishes, note = as_json(asked), work / "wishes.json"
    if note.exists() and not force:
        if read_json(note, "what an interrupted extraction was asked for") != wishes:
            raise InputError(
                f"{out} holds an unfinished extraction of other videos or other settings; call it as before to go on, "
                "name another folder, or begin again with --force."
            )
        return
    _clear(work)
    claim_folder(out, marker=MARKER, ours=WRITTEN, force=force, besides=(WORK,))
    for preview in out.glob(PREVIEWS):
        preview.unlink()
    write_json(note, wishes)


def fingerprint(file: Path) -> dict[str, Any]:
    """A file's name, size and the digest of its beginning and end: enough to know it again."""
    with file.open("rb") as content:
        begin = content.read(2**20)
        content.seek(max(0, file.stat().st_size - 2**20))
        digest = hashlib.blake2b(begin + content.read(), digest_size=16).hexdigest()
    return {"file": file.name, "bytes": file.stat().st_size, "blake2b_of_ends": digest}


def _refuse_too_little(
    files: Sequence[Path], tracks: Sequence[Track], pieces: Sequence[Segment], asked: Extraction
) -> None:
    names = ", ".join(file.name for file in files[:3])
    if not pieces:
        people = max(track.facts["follower"]["num_people"] for track in tracks)
        why = f"only {people} people were found, not {asked.person}" if people else "nobody was found"
        raise InputError(f"In {names} {why}; expected a person in view, large and well lit, in two frames or more.")
    if not any(piece.split == "train" for piece in pieces):
        num = sum(len(piece) for piece in pieces)
        raise InputError(f"In {names} only {num} frames show the person: too few to train on and to validate.")


def _describe(
    files: Sequence[Path], tracks: Sequence[Track], pieces: Sequence[Segment], asked: Extraction, estimator: str
) -> Extracted:
    """What extract.json says, and the remarks."""
    said: list[Finding] = []
    videos = []
    for video, (file, track) in enumerate(zip(files, tracks, strict=True)):
        found = measure(track, [piece.scene for piece in pieces if piece.video == video])
        said += remarks(file.name, found, track, asked.crop)
        known = {"size": track.facts["size"], "gaps": track.facts["gaps"], "broken": track.facts["broken"]}
        videos.append(fingerprint(file) | known | found)
    recordings = [
        {
            "split": piece.split,
            "first": piece.name(0),
            "last": piece.name(len(piece) - 1),
            "video": piece.video,
            "start_s": asked.start_s + piece.scene.first / tracks[piece.video].fps,
            "frames": [list(run) for run in states(piece.scene)],
        }
        for piece in pieces
    ]
    facts = {
        "posecast": posecast.__version__,
        "estimator": estimator,
        "asked": dataclasses.asdict(asked),
        "videos": videos,
        "recordings": recordings,
        "remarks": [finding.message for finding in said],
    }
    num = {split: sum(len(piece) for piece in pieces if piece.split == split) for split in ("train", "val")}
    return Extracted(num["train"], num["val"], facts, tuple(said))


def _publish(pictures: Path, out: Path, pieces: Sequence[Segment], asked: Extraction, extracted: Extracted) -> None:
    """All that was made under its own name; train last, for without it nothing takes the folder for a data set."""
    for preview in pictures.glob(PREVIEWS):
        preview.replace(out / preview.name)
    table = io.BytesIO()
    np.savez_compressed(table, **_arrays(pieces, asked, [one["size"] for one in extracted.facts["videos"]]))
    write_bytes(out / "poses.npz", table.getbuffer())
    write_json(out / MARKER, extracted.facts)
    for split in ("val", "train"):
        shutil.rmtree(out / split, ignore_errors=True)  # of a run that was killed just here
        if (pictures / split).exists():
            (pictures / split).replace(out / split)


def _arrays(pieces: Sequence[Segment], asked: Extraction, sizes: Sequence[list[int]]) -> dict[str, np.ndarray]:
    """poses.npz: one row a picture, in the order of their numbers; `sizes` are those of the videos' frames."""
    return {
        "names": np.array([f"{piece.split}/{piece.name(k)}" for piece in pieces for k in range(len(piece))]),
        "keypoints": np.concatenate([piece.keypoints_px(asked.size) for piece in pieces]).astype(np.float32),
        "filled": np.concatenate([piece.scene.filled for piece in pieces]),
        "windows": np.concatenate([piece.windows for piece in pieces]),
        "frame_sizes": np.array([sizes[piece.video] for piece in pieces for _ in range(len(piece))]),
        "joints": np.array([joint.name for joint in SKELETON]),
        "size": np.array(asked.size),
        "fps": np.array(asked.fps),
    }
