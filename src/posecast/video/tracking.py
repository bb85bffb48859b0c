"""One video looked through for one person: a `Track`, saved from time to time.

In: a file, what is wanted of it, an estimator. Out: a `Track` on disk and in memory; taken up where it was left.
Knows no crops and no data set. Next: `export.py`, which goes through the video again for the pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posecast.data.prefetch import ahead
from posecast.data.shot_changes import camera_shift, change, is_cut, thumbnail
from posecast.errors import InputError
from posecast.video.pose_estimation import Estimator
from posecast.video.reader import TimedFrame, length_s, read_timed_frames, resampled
from posecast.video.tracker import Follower, Memory
from posecast.video.tracks import Track

SAVE_EVERY_S = 10.0
CUT_SHORT = 0.9
"""A file that shows less than this share of the length that it names has lost its end; decoders do not say so."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many frames are done, how many there are."""


@dataclass(frozen=True)
class Span:
    """The part of a video that is looked at, and how often: frames a second, seconds from its start."""

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
    """The track of the `person`-th largest of a video. With `saved`, it goes on with the track that lies there.

    Raises InputError for a file that cannot be read, or that shows nothing in the span.
    """
    track = (saved and _load(saved)) or Track(span.fps)
    if track.facts.get("finished"):
        return track
    search = _Search(track, Follower(estimator, span.fps, person, _memory(track)))
    gaps, broken = _Gaps(), []
    end_s = min(span.end_s, length_s(file) or 0.0)
    expected = round(max(0.0, end_s - span.start_s) * span.fps)
    begun, last_saved = len(track), time.monotonic()
    with closing(moments_of(file, span, gaps, broken)) as moments:
        for index, moment in enumerate(moments):
            if index < begun:
                search.recall(index, moment)
                continue
            search.look(index, moment)
            if progress:
                progress(f"poses of {file.name}", index + 1, max(expected, index + 1))
            if saved and time.monotonic() - last_saved > SAVE_EVERY_S:
                track.save(saved)
                last_saved = time.monotonic()
    if not len(track):
        raise InputError(f"{file} shows nothing between --start and --end; it lasts {length_s(file) or 0:.1f} s.")
    seen_s = span.start_s + len(track) / span.fps
    if not broken and seen_s < CUT_SHORT * end_s:
        broken.append(f"after {seen_s:.1f} s of the {end_s:.1f} s that it says it has")
    track.facts |= {"finished": True, "gaps": gaps.facts(), "broken": "; ".join(broken)}
    if saved:
        track.save(saved)
    return track


def moments_of(
    file: Path, span: Span, gaps: _Gaps | None = None, broken: list[str] | None = None
) -> Generator[TimedFrame, None, None]:
    """The frames at an even rate, decoded in a thread of their own."""
    moments = read_timed_frames(file, start_s=span.start_s, broken=broken)
    return ahead(resampled(gaps.of(moments) if gaps else moments, span.fps, end_s=span.end_s))


def _load(path: Path) -> Track | None:
    """What an interrupted search left; nothing if it cannot be read, for then it is made again."""
    try:
        return Track.load(path)
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _memory(track: Track) -> Memory | None:
    return Memory.from_json(track.facts["follower"]) if track.facts else None


class _Search:
    """Frame by frame: has the scene changed, has the camera moved, where is the person?"""

    def __init__(self, track: Track, follower: Follower) -> None:
        self._track, self._follower = track, follower
        self._every = max(1, round(track.fps / 2))  # the camera is asked about twice a second
        self._before: np.ndarray | None = None
        self._landmark: np.ndarray | None = None

    def recall(self, index: int, moment: TimedFrame) -> None:
        """Take note of a frame that the track holds already: the next ones are compared with it."""
        if index >= len(self._track) - 1 - self._every:
            self._keep(index, thumbnail(moment.frame))

    def look(self, index: int, moment: TimedFrame) -> None:
        """Add a frame to the track."""
        track, small = self._track, thumbnail(moment.frame)
        differs = 0.0 if self._before is None else change(self._before, small)
        scene = track.cuts[-1] if track.cuts else 0
        if is_cut(track.changes[scene + 1 :], differs):
            track.cuts.append(index)
            self._follower.begin_again()
        elif index % self._every == 0 and self._landmark is not None and index - self._every >= scene:
            right, down = camera_shift(self._landmark, small).tolist()
            track.shifts.append((index, right, down))
        track.add(self._follower.see(moment.frame, moment.number), differs)
        track.facts |= {"size": list(moment.frame.shape[:2]), "follower": self._follower.memory.to_json()}
        self._keep(index, small)

    def _keep(self, index: int, small: np.ndarray) -> None:
        self._before = small
        if index % self._every == 0:
            self._landmark = small


class _Gaps:
    """Collects how far apart a video's own frames are."""

    def __init__(self) -> None:
        self._gaps_s: list[float] = []

    def of(self, moments: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        before = None
        for moment in moments:
            if before is not None and len(self._gaps_s) < 10_000:
                self._gaps_s.append(moment.time_s - before)
            before = moment.time_s
            yield moment

    def facts(self) -> dict[str, float]:
        """The usual gap, the shortest and the longest in seconds, and how many differ from the usual by a tenth."""
        if not self._gaps_s:
            return {}
        gaps = np.array(self._gaps_s)
        usual = float(np.median(gaps))
        irregular = int((np.abs(gaps - usual) > 0.1 * usual).sum())
        return {"usual_s": usual, "least_s": float(gaps.min()), "most_s": float(gaps.max()), "irregular": irregular}
