"""Search for one person in a video: a `Track`, saved at intervals.

In: a video, the part of it to process, an estimator. Out: a `Track`; an interrupted search continues from the saved
one. Next: `export.py`, which reads the video again for the frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posecast.data.prefetch import ahead
from posecast.data.shot_changes import camera_shift, is_cut, thumbnail, thumbnail_difference
from posecast.errors import InputError, printable
from posecast.video.keypoint_files import Imported
from posecast.video.pose_estimation import Estimator
from posecast.video.reader import Faults, TimedFrame, length_s, read_timed_frames, resampled
from posecast.video.tracker import Follower, Memory
from posecast.video.tracks import Track

SAVE_EVERY_S = 10.0
CUT_SHORT = 0.9
"""A file with less than this share of its declared length is incomplete, which decoders do not report."""
SHIFT_INTERVAL_S = 0.5
"""Interval of the measurements of camera motion, in seconds."""
MAX_GAPS = 10_000
IRREGULAR = 0.1
"""Relative deviation from the median from which a gap between frames counts as irregular."""

Progress = Callable[[str, int, int], None]
"""Callback that receives the kind of work, the number of frames done and their total."""


@dataclass(frozen=True)
class Span:
    """Part of a video, and the rate at which its frames are processed, in frames per second."""

    fps: float
    start_s: float = 0.0
    end_s: float = float("inf")


def find_person(
    file: Path,
    span: Span,
    estimator: Estimator,
    *,
    person: int = 1,
    saved: Path | None = None,
    progress: Progress | None = None,
) -> Track:
    """Follow one person through a video.

    Args:
        file: The video.
        span: Part of it, and the rate of the track.
        estimator: Estimator of people in a frame.
        person: Rank of the person by height, from 1, when first seen.
        saved: File of the track; if it exists, the search continues from it.
        progress: Called after each frame.

    Raises:
        InputError: The file cannot be read, or has no frames in the span.
    """
    track = (saved and _load(saved)) or Track(span.fps)
    if track.facts.get("finished"):
        return track
    search = _Search(track, Follower(estimator, span.fps, person, _memory(track)))
    gaps, faults = _Gaps(), Faults()
    end_s = min(span.end_s, length_s(file) or 0.0)
    expected = round(max(0.0, end_s - span.start_s) * span.fps)
    num_saved, last_saved = len(track), time.monotonic()
    with closing(frames_in_span(file, span, gaps, faults)) as frames:
        for index, frame in enumerate(frames):
            if index < num_saved:
                search.skip(index, frame)
                continue
            search.add(index, frame)
            if progress:
                progress(f"poses of {printable(file.name)}", index + 1, max(expected, index + 1))
            if saved and time.monotonic() - last_saved > SAVE_EVERY_S:
                track.save(saved)
                last_saved = time.monotonic()
    if not len(track):
        raise InputError(f"{file} shows nothing between --start and --end; it lasts {length_s(file) or 0:.1f} s.")
    reached_s = span.start_s + len(track) / span.fps
    if not faults.broken and "jumped" not in faults.counts and reached_s < CUT_SHORT * end_s:
        faults.broken = f"after {reached_s:.1f} s of its declared {end_s:.1f} s"
    if isinstance(estimator, Imported):
        track.facts["keypoint_remarks"] = estimator.remarks
    track.facts |= {"finished": True, "gaps": gaps.facts(), "broken": faults.broken, "faults": faults.facts()}
    if saved:
        track.save(saved)
    return track


def frames_in_span(
    file: Path, span: Span, gaps: _Gaps | None = None, faults: Faults | None = None
) -> Generator[TimedFrame, None, None]:
    """Yield the frames of a span at its rate, decoded ahead in a thread.

    Args:
        file: The video.
        span: Part of it, and the rate.
        gaps: Collector of the gaps between the video's own frames.
        faults: Receives what is wrong with the file, see `read_timed_frames`.
    """
    frames = read_timed_frames(file, start_s=span.start_s, faults=faults)
    return ahead(resampled(gaps.measure(frames) if gaps else frames, span.fps, end_s=span.end_s))


def _load(path: Path) -> Track | None:
    """Read the track of an interrupted search, or return None if it is missing or damaged."""
    try:
        return Track.load(path)
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _memory(track: Track) -> Memory | None:
    return Memory.from_json(track.facts["follower"]) if track.facts else None


class _Search:
    """Processing of one frame after the other: cuts, camera motion and the person's keypoints."""

    def __init__(self, track: Track, follower: Follower) -> None:
        self._track, self._follower = track, follower
        self._every = max(1, round(track.fps * SHIFT_INTERVAL_S))
        self._before: np.ndarray | None = None
        self._reference: np.ndarray | None = None
        self._shot = 0

    def skip(self, index: int, frame: TimedFrame) -> None:
        """Pass a frame that the track already has, keeping the thumbnails that the next frames are compared with."""
        self._shot = frame.shot
        if index >= len(self._track) - 1 - self._every:
            self._keep(index, thumbnail(frame.frame))

    def add(self, index: int, frame: TimedFrame) -> None:
        """Add a frame to the track."""
        track, small = self._track, thumbnail(frame.frame)
        difference = 0.0 if self._before is None else thumbnail_difference(self._before, small)
        scene_start = track.cuts[-1] if track.cuts else 0
        begins_shot, self._shot = bool(len(track)) and frame.shot != self._shot, frame.shot
        if begins_shot or is_cut(track.changes[scene_start + 1 :], difference):
            track.cuts.append(index)
            self._follower.begin_again()
        elif index % self._every == 0 and self._reference is not None and index - self._every >= scene_start:
            right, down = camera_shift(self._reference, small).tolist()
            track.shifts.append((index, right, down))
        track.add(self._follower.see(frame.frame, frame.number), difference)
        track.facts |= {"size": list(frame.frame.shape[:2]), "follower": self._follower.memory.to_json()}
        self._keep(index, small)

    def _keep(self, index: int, small: np.ndarray) -> None:
        self._before = small
        if index % self._every == 0:
            self._reference = small


class _Gaps:
    """Gaps between the frames of a video."""

    def __init__(self) -> None:
        self._gaps_s: list[float] = []

    def measure(self, frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        """Yield the frames, and collect the gaps between them."""
        before_s = None
        for frame in frames:
            if before_s is not None and len(self._gaps_s) < MAX_GAPS:
                self._gaps_s.append(frame.time_s - before_s)
            before_s = frame.time_s
            yield frame

    def facts(self) -> dict[str, float]:
        """Return the median, smallest and largest gap in seconds, and the number of irregular ones."""
        if not self._gaps_s:
            return {}
        gaps = np.array(self._gaps_s)
        usual = float(np.median(gaps))
        irregular = int((np.abs(gaps - usual) > IRREGULAR * usual).sum())
        return {"usual_s": usual, "least_s": float(gaps.min()), "most_s": float(gaps.max()), "irregular": irregular}
