"""Extraction of a data set from videos of a person, as phones and cameras record them.

In: video files. Out: a folder in the layout of a data folder, with poses.npz (keypoints) and extract.json (counts and
remarks). Each video is read twice, for the keypoints and then for the frames; an interrupted extraction continues.
Next: `tracking.py` and `export.py`, the two passes; `extract_folder.py`; `diagnostics.py`, the remarks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import posecast
from posecast.errors import Finding, InputError, printable
from posecast.files import read_json
from posecast.video.blazepose import BlazePose
from posecast.video.cropping import Crop
from posecast.video.diagnostics import frame_states, measure, remarks
from posecast.video.export import Segment, plan_segments, write_segments
from posecast.video.extract_folder import MARKER, as_json, claim, clear, exclusive_work_folder, publish
from posecast.video.extracted_poses import FILE_NAME as POSES
from posecast.video.extracted_poses import Poses, write_poses
from posecast.video.pose_estimation import Estimator
from posecast.video.reader import default_fps, list_videos
from posecast.video.tracking import Progress, Span, find_person
from posecast.video.tracks import Track

FINGERPRINT_BYTES = 2**20


@dataclass(frozen=True)
class Extraction:
    """Settings of an extraction.

    Raises:
        InputError: A value is out of range.
    """

    fps: float | None = None
    """Frames per second of the data set; None for the rate of the first video, at most 30."""
    size: tuple[int, int] = (64, 64)
    """Height and width of the frames."""
    crop: Crop = "steady"
    """One window for a whole recording, one that follows the person, or the whole frame."""
    val: float = 0.15
    """Share of the footage, the last in time, that is kept for validation."""
    person: int = 1
    """Person to follow: 1 is the largest when first seen, 2 the next."""
    start_s: float = 0.0
    end_s: float | None = None
    preview: bool = False
    """Whether to write preview.mp4, which shows the skeleton on the frames."""

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= 240:
            raise InputError(f"--fps is {self.fps:g}; expected a number above 0, at most 240.")
        if not 0 <= self.val <= 0.5:
            raise InputError(f"--val is {100 * self.val:g} %; expected from 0 to 50 %.")
        if self.person < 1:
            raise InputError(f"--person is {self.person}; expected a number from 1, the largest.")
        if not 0 <= self.start_s < float("inf") or (self.end_s is not None and not self.end_s > self.start_s):
            raise InputError("--start and --end are seconds; expected 0 or more, and the end after the start.")


@dataclass(frozen=True)
class Extracted:
    """Result of an extraction."""

    num_train: int
    """Number of frames for training."""
    num_val: int
    facts: dict[str, Any]
    """Content of extract.json."""
    remarks: tuple[Finding, ...]


def extract(
    videos: Sequence[Path],
    out: Path,
    settings: Extraction | None = None,
    *,
    estimator: Estimator | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Extracted:
    """Make a data set of the person in videos.

    The same call continues an interrupted extraction, and returns the result of a finished one.

    Args:
        videos: Files, or folders of videos.
        out: Folder to write.
        settings: Settings; defaults if None.
        estimator: Pose estimator; BlazePose if None.
        force: Whether an earlier extraction in `out` is replaced.
        progress: Called with the kind of work, the number of frames done and their total.

    Raises:
        InputError: A video cannot be read, nobody is found, or `out` is in use.
        OSError: The disk is full or fails; finished tracks are kept for the next call.
    """
    files = list_videos(videos)
    settings = settings or Extraction()
    fps = settings.fps or default_fps(files[0])
    settings = dataclasses.replace(settings, fps=fps)
    estimator = estimator or BlazePose()
    span = Span(fps, settings.start_s, float("inf") if settings.end_s is None else settings.end_s)
    request = {
        "posecast": posecast.__version__,
        "estimator": printable(estimator.name),
        "asked": dataclasses.asdict(settings),
    }
    sources = [_fingerprint(file) for file in files]
    with exclusive_work_folder(out) as work:
        if not force and (finished := _read_finished(out, request, sources)):
            clear(work)
            return finished
        claim(out, work, {**request, "sources": sources}, force=force)
        try:
            tracks = []
            for index, file in enumerate(files):
                saved = work / f"track{index}.npz"
                tracks.append(
                    find_person(file, span, estimator, person=settings.person, saved=saved, progress=progress)
                )
            segments = plan_segments(tracks, settings.size, settings.crop, settings.val)
            _check_enough(files, tracks, segments, settings)
        except InputError:
            clear(work)
            raise
        folder = work / "pictures"
        shutil.rmtree(folder, ignore_errors=True)  # of an interrupted run
        write_segments(folder, files, span, segments, settings.size, preview=settings.preview, progress=progress)
        write_poses(folder / POSES, *_poses(segments, tracks, settings.size, fps))
        extracted = _describe(files, tracks, segments, request)
        publish(folder, out, extracted.facts)
        clear(work)
    return extracted


def _read_finished(out: Path, request: dict[str, Any], sources: list[dict[str, Any]]) -> Extracted | None:
    """Return the result if the same request was finished here before, or None.

    So a run that was killed after its last step can be repeated.
    """
    if not (out / POSES).is_file():  # opening a pipe would block
        return None
    try:
        facts = read_json(out / MARKER, "the result of an extraction")
        with np.load(out / POSES, allow_pickle=False) as poses:
            splits = [str(name).partition("/")[0] for name in poses["names"]]
        fingerprints = [{name: dict(video)[name] for name in sources[0]} for video in facts["videos"]]
        findings = tuple(Finding("extraction", str(message)) for message in facts["remarks"])
    except (InputError, OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None  # missing, damaged, or not written by posecast
    if {name: facts.get(name) for name in request} != as_json(request) or fingerprints != sources:
        return None
    num = {split: splits.count(split) for split in ("train", "val")}
    if any(len(list((out / split).glob("*_img/[!.]*"))) != count for split, count in num.items()):
        return None
    return Extracted(num["train"], num["val"], facts, findings)


def _fingerprint(file: Path) -> dict[str, Any]:
    """Return a file's name, its size, and a digest of its beginning and end, by which it is recognised."""
    with file.open("rb") as content:
        begin = content.read(FINGERPRINT_BYTES)
        content.seek(max(0, file.stat().st_size - FINGERPRINT_BYTES))
        digest = hashlib.blake2b(begin + content.read(), digest_size=16).hexdigest()
    return {"file": printable(file.name), "bytes": file.stat().st_size, "blake2b_of_ends": digest}


def _check_enough(
    files: Sequence[Path], tracks: Sequence[Track], segments: Sequence[Segment], settings: Extraction
) -> None:
    """Raise InputError unless there is footage to train on."""
    names = ", ".join(file.name for file in files[:3])
    if not segments:
        people = max(track.facts["follower"]["num_people"] for track in tracks)
        reason = "nobody was found"
        if people >= settings.person:
            reason = "the person was found in less than two frames of a scene"
        elif people:
            reason = f"only {people} {'person was' if people == 1 else 'people were'} found, not {settings.person}"
        raise InputError(f"In {names} {reason}; expected a person in view, large and well lit, in two frames or more.")
    if not any(segment.split == "train" for segment in segments):
        num = sum(len(segment) for segment in segments)
        raise InputError(
            f"In {names} only {num} {'frame shows' if num == 1 else 'frames show'} the person: too few to "
            "train on and to validate."
        )


def _poses(
    segments: Sequence[Segment], tracks: Sequence[Track], size: tuple[int, int], fps: float
) -> tuple[Poses, np.ndarray]:
    """Return the content of poses.npz, and which joints were interpolated."""
    poses = Poses(
        names=[f"{segment.split}/{segment.name(k)}" for segment in segments for k in range(len(segment))],
        keypoints=np.concatenate([segment.keypoints_px(size) for segment in segments]).astype(np.float32),
        windows=np.concatenate([segment.windows for segment in segments]),
        frame_sizes=np.array(
            [tracks[segment.video].facts["size"] for segment in segments for _ in range(len(segment))]
        ),
        size=size,
        fps=fps,
    )
    return poses, np.concatenate([segment.scene.filled for segment in segments])


def _describe(
    files: Sequence[Path], tracks: Sequence[Track], segments: Sequence[Segment], request: dict[str, Any]
) -> Extracted:
    """Return the result: the content of extract.json, and the remarks."""
    asked = request["asked"]
    findings: list[Finding] = []
    videos = []
    for video, (file, track) in enumerate(zip(files, tracks, strict=True)):
        counts = measure(track, [segment.scene for segment in segments if segment.video == video])
        findings += remarks(file.name, counts, track, asked["crop"])
        videos.append(
            _fingerprint(file) | {key: track.facts[key] for key in ("size", "gaps", "broken", "faults")} | counts
        )
    recordings = [
        {
            "split": segment.split,
            "first": segment.name(0),
            "last": segment.name(len(segment) - 1),
            "video": segment.video,
            "start_s": asked["start_s"] + segment.scene.first / tracks[segment.video].fps,
            "frames": [list(run) for run in frame_states(segment.scene)],
        }
        for segment in segments
    ]
    facts = {
        **request,
        "videos": videos,
        "recordings": recordings,
        "remarks": [finding.message for finding in findings],
    }
    num = {split: sum(len(segment) for segment in segments if segment.split == split) for split in ("train", "val")}
    return Extracted(num["train"], num["val"], facts, tuple(findings))
