"""Frames of video files: upright, with their times, and resampled to a constant rate.

In: a file that FFmpeg reads (through PyAV), with any container, colours, orientation flag, pixel aspect ratio and frame
rate. Out: RGB frames of one size, uint8 `[H, W, 3]`, one at a time with its time in seconds; the `Faults` of the file.
Next: `tracking.py`, which finds a person in the frames.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from posecast.errors import InputError
from posecast.video.containers import decoded_frames, open_input, reason, video_stream
from posecast.video.rgb import RgbConverter, fitted, have_same_aspect

SUFFIXES = frozenset(".mp4 .mov .m4v .avi .mkv .webm .mpg .mpeg .wmv .flv .3gp .mts .m2ts .ts .ogv .gif".split())
"""Endings by which videos are found in a folder; a file given by name may have any ending."""
MAX_DEFAULT_FPS = 30.0
FALLBACK_FPS = 25.0
MAX_GAP_S = 60.0
MAX_STEP_BACK_S = 1.0
"""Times to the next frame, forward and backward, beyond which a time stamp starts a new clock, as where recordings were
joined without changing their stamps."""

Fault = Literal["damaged", "resized", "jumped", "unordered"]


class TimedFrame(NamedTuple):
    """A frame and its time, in seconds from the video's first frame."""

    time_s: float
    frame: np.ndarray
    """uint8 `[H, W, 3]`, upright, with square pixels, of the size of the first frame."""
    number: int
    """Number of the frame in the file, counted from 0."""
    shot: int = 0
    """Number of times before it that the clock jumped or the aspect ratio changed, so that a new shot began."""


@dataclass
class Faults:
    """Faults of a file that are found while its frames are read."""

    broken: str = ""
    """Reason why the video ends before its declared end; empty if it does not."""
    counts: dict[Fault, int] = field(default_factory=dict)
    """Number of packets that could not be decoded ("damaged"), of changes of the frame size, of jumps of the clock, and
    of frames left out since their time stamp is not after the one before ("unordered")."""
    first_s: dict[Fault, float] = field(default_factory=dict)
    """Time of the first fault of each kind, in seconds."""

    def add(self, fault: Fault, time_s: float) -> None:
        """Count a fault."""
        self.counts[fault] = self.counts.get(fault, 0) + 1
        self.first_s.setdefault(fault, time_s)

    def facts(self) -> dict[str, dict[str, float]]:
        """Return the number of faults of each kind, and the time of the first in seconds."""
        return {fault: {"count": count, "first_s": self.first_s[fault]} for fault, count in self.counts.items()}


def read_timed_frames(
    path: str | Path, *, start_s: float = 0.0, faults: Faults | None = None
) -> Generator[TimedFrame, None, None]:
    """Yield the frames of a video in display order, timed by their time stamps.

    Frames of another size than the first are scaled to it. Damaged parts are left out.

    Args:
        path: The video.
        start_s: Time of the first frame to yield, in seconds.
        faults: Receives what is wrong with the file.

    Raises:
        InputError: The file is missing, is not a video, or no frame of it can be decoded.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no video {path}; expected a file, such as clip.mp4.")
    faults = Faults() if faults is None else faults
    clock = _Clock(faults)
    try:
        with open_input(path) as container:
            yield from _frames(path, container, clock, start_s)
    except InputError:
        raise
    except (FFmpegError, OSError, ValueError) as error:
        if clock.time_s is None:
            found = f"{path} is no readable video ({reason(error)})"
            raise InputError(f"{found}; expected one that FFmpeg reads.") from error
        faults.broken = f"after {clock.time_s:.2f} s: {reason(error)}"
    if clock.time_s is None:
        raise InputError(f"{path} has no frames that can be decoded; expected a video that FFmpeg reads.")


def _frames(path: Path, container: InputContainer, clock: _Clock, start_s: float) -> Iterator[TimedFrame]:
    """Yield the frames of an open file."""
    stream = video_stream(container)
    if stream is None:
        raise InputError(f"{path} has no video stream, only sound, text or a cover image; expected a video.")
    stream.thread_type = "AUTO"
    converter, sizes = RgbConverter(), _Sizes(clock.faults)
    for number, decoded in enumerate(decoded_frames(container, stream, clock.note_damage)):
        time_s = clock.advance(_stamp_s(decoded, number, stream), stream)
        if time_s is not None and time_s >= start_s - 1e-9:
            frame = sizes.unify(converter.upright(decoded, stream.sample_aspect_ratio), time_s)
            yield TimedFrame(time_s, frame, number, clock.num_jumps + sizes.num_aspects)


def _stamp_s(decoded: av.VideoFrame, number: int, stream: av.VideoStream) -> float:
    """Return a frame's time stamp, or, if it has none, the time by its number."""
    if decoded.pts is not None and decoded.time_base is not None:
        return float(decoded.pts * decoded.time_base)
    return number / float(stream.average_rate or FALLBACK_FPS)


class _Clock:
    """Time since the first frame, by the frames' stamps; jumps of the stamps are closed up."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.time_s: float | None = None
        """Time of the last frame."""
        self.num_jumps = 0
        self._origin_s = 0.0

    def note_damage(self) -> None:
        """Count a packet that cannot be decoded."""
        self.faults.add("damaged", self.time_s or 0.0)

    def advance(self, stamp_s: float, stream: av.VideoStream) -> float | None:
        """Return the time of the next frame; None if it is not after the last one."""
        if self.time_s is None:
            self._origin_s, self.time_s = stamp_s, 0.0
            return self.time_s
        time_s = stamp_s - self._origin_s
        step_s = time_s - self.time_s
        if not -MAX_STEP_BACK_S <= step_s <= MAX_GAP_S:
            self.faults.add("jumped", self.time_s)
            self.num_jumps += 1
            time_s = self.time_s + 1 / float(stream.average_rate or FALLBACK_FPS)
            self._origin_s = stamp_s - time_s
        elif step_s <= 0:
            self.faults.add("unordered", self.time_s)
            return None
        self.time_s = time_s
        return time_s


class _Sizes:
    """Scaling of all frames to the size of the first."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._first: tuple[int, ...] | None = None
        self._last: tuple[int, ...] = ()
        self.num_aspects = 0
        """Number of changes of the aspect ratio."""

    def unify(self, frame: np.ndarray, time_s: float) -> np.ndarray:
        """Return a frame in the size of the first one."""
        size = frame.shape[:2]
        if self._first is None:
            self._first = self._last = size
        if size != self._last:
            self._faults.add("resized", time_s)
            self.num_aspects += not have_same_aspect(size, self._last)
            self._last = size
        return frame if size == self._first else fitted(frame, self._first)


def resampled(frames: Iterable[TimedFrame], fps: float, *, end_s: float = float("inf")) -> Iterator[TimedFrame]:
    """Yield frames at a constant rate: for each instant from the first frame on, the frame nearest in time.

    The error is at most half of the gap between two frames of the video. Frames of a faster video are left out, those
    of a slower one repeated.

    Args:
        frames: Frames in order of time.
        fps: Rate of the result, in frames per second.
        end_s: Time of the last instant at the latest, in seconds.

    Yields:
        Frames whose times are those of the instants.
    """
    before: TimedFrame | None = None
    begin, count = 0.0, 0
    for frame in frames:
        begin = frame.time_s if before is None else begin
        while before is not None and (instant := begin + count / fps) < (before.time_s + frame.time_s) / 2:
            if instant > end_s:
                return
            yield before._replace(time_s=instant)
            count += 1
        before = frame
    while before is not None and (instant := begin + count / fps) <= min(end_s, before.time_s + 1e-6):
        yield before._replace(time_s=instant)
        count += 1


def length_s(path: str | Path) -> float | None:
    """Return the length in seconds that a video declares, for the time left, or None."""
    try:
        with open_input(Path(path)) as container:
            stream = video_stream(container)  # the sound may be longer
            if stream and stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            if stream and (length := _matroska_length_s(stream.metadata.get("DURATION", ""))):
                return length
            return container.duration / av.time_base if container.duration else None
    except (FFmpegError, OSError):
        return None


def stored_frames(path: Path) -> tuple[int, tuple[int, int]]:
    """Return the number of frames that a video shows, and their height and width before they are turned or scaled.

    Packets are counted, without those that an edit list hides, as in a clip cut without encoding it again. The number
    is 0 if the file cannot be read.
    """
    try:
        with open_input(path) as container:
            stream = video_stream(container)
            if stream is None:
                return 0, (0, 0)
            num_shown = sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))
            return num_shown, (stream.height, stream.width)
    except (FFmpegError, OSError):
        return 0, (0, 0)


def _matroska_length_s(text: str) -> float | None:
    """Return the length of a stream of Matroska or WebM, such as "00:00:05.120000000", or None."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds


def default_fps(path: Path) -> float:
    """Return the mean rate that a video declares, in frames per second: at most 30, and 25 if it declares none."""
    try:
        with open_input(path) as container:
            stream = video_stream(container)
            rate = stream and stream.average_rate
            return min(MAX_DEFAULT_FPS, float(rate)) if rate and 1 <= rate <= 1000 else FALLBACK_FPS
    except (FFmpegError, OSError, ValueError):
        return FALLBACK_FPS  # reading the file reports what is wrong


def list_videos(paths: Sequence[Path]) -> list[Path]:
    """Return files as given, and the videos of a folder by name, without hidden files.

    Raises:
        InputError: There is no video, or one cannot be opened.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        videos = sorted(file for file in path.iterdir() if _has_video_name(file) and file.is_file())
        if not videos:
            raise InputError(f"The folder {path} has no videos; expected files such as clip.mp4 or clip.mov.")
        files += videos
    if not files:
        raise InputError("No video was given; expected one or more files, such as clip.mp4.")
    for file in files:
        with contextlib.closing(read_timed_frames(file)) as frames:
            next(frames)  # an unreadable file is reported before the others are processed
    return files


def _has_video_name(file: Path) -> bool:
    """Return whether a name has the ending of a video; macOS adds hidden files such as ._clip.mp4."""
    return not file.name.startswith(".") and Path(file.name.rstrip(" .")).suffix.lower() in SUFFIXES
