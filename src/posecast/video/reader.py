"""Any video file to upright frames with their times, and to frames at an even rate.

In: a file that FFmpeg reads (through PyAV): any container, orientation flag, pixel shape, fixed or variable rate.
Out: uint8 `[H, W, 3]`, RGB, one at a time with its time in seconds; a video is never held whole.
Knows no poses. Next: `extract.py`, which finds a person in the frames.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError

from posecast.errors import InputError

MAX_FRAME_PIXELS = 64_000_000
"""Larger frames are refused: a header of a few bytes can ask for gigabytes."""


SUFFIXES = frozenset(".mp4 .mov .m4v .avi .mkv .webm .mpg .mpeg .wmv .flv .3gp .mts .m2ts .ts .ogv .gif".split())
"""What is taken for a video in a folder; a file given by name may be called anything."""


class TimedFrame(NamedTuple):
    """A frame and when it is shown, in seconds from the video's first frame."""

    time_s: float
    frame: np.ndarray
    """uint8 `[H, W, 3]`, upright, with square pixels."""
    number: int
    """Which frame of the file it is, counted from 0."""


def read_timed_frames(
    path: str | Path, *, start_s: float = 0.0, broken: list[str] | None = None
) -> Generator[TimedFrame, None, None]:
    """The frames of a video from `start_s` on, in the order in which they are shown, by their own time stamps.

    Raises InputError if the file is missing, no video, or broken before its first frame; where it breaks later, the
    video ends there, and the reason is added to `broken`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no video {path}; expected a file, such as clip.mp4.")
    first = last = None
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise InputError(f"{path} has no pictures, only sound or text; expected a video.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for number, shown in enumerate(container.decode(stream)):
                time_s = _time_of(shown, number, stream)
                if first is None:
                    first = time_s
                if last is not None and time_s <= last:
                    continue  # a damaged stamp: two frames cannot be shown at once
                last = time_s
                if time_s - first >= start_s - 1e-9:
                    yield TimedFrame(time_s - first, upright(shown, stream.sample_aspect_ratio), number)
    except (FFmpegError, OSError, ValueError) as error:
        if last is None:
            raise InputError(f"{path} is no readable video ({error}); expected one that FFmpeg reads.") from error
        if broken is not None:
            broken.append(f"after {last - (first or 0.0):.2f} s: {error}")
    if last is None:
        raise InputError(f"{path} has no frames; expected a video.")


def _time_of(shown: av.VideoFrame, number: int, stream: av.VideoStream) -> float:
    """By the frame's stamp; by counting only where the file has none."""
    if shown.pts is not None and shown.time_base is not None:
        return float(shown.pts * shown.time_base)
    return number / float(stream.average_rate or 25)


def upright(shown: av.VideoFrame, pixel_shape: Fraction | None = None) -> np.ndarray:
    """A decoded frame as a player shows it: its pixels, so many times wider than high, made square; then turned."""
    width, height = shown.width, shown.height
    if width * height > MAX_FRAME_PIXELS:
        raise ValueError(f"a frame has {width} x {height} pixels, too many")
    if pixel_shape and 0.25 <= pixel_shape <= 4 and pixel_shape != 1:  # others are mistakes
        width = round(width * float(pixel_shape))
    pixels = shown.to_ndarray(format="rgb24", width=width, height=height)
    return np.ascontiguousarray(np.rot90(pixels, round(shown.rotation / 90) % 4))


def resampled(moments: Iterable[TimedFrame], fps: float, *, end_s: float = float("inf")) -> Iterator[TimedFrame]:
    """Frames at an even rate: for each instant, from the first moment on, the frame that is nearest in time.

    So each is right to half of the gap between two frames of the video, however uneven they are; a fast video loses
    frames, a slow one repeats some. The times are those of the instants.
    """
    before: TimedFrame | None = None
    begin, count = 0.0, 0
    for moment in moments:
        begin = moment.time_s if before is None else begin
        while before is not None and (instant := begin + count / fps) < (before.time_s + moment.time_s) / 2:
            if instant > end_s:
                return
            yield before._replace(time_s=instant)
            count += 1
        before = moment
    while before is not None and (instant := begin + count / fps) <= min(end_s, before.time_s + 1e-6):
        yield before._replace(time_s=instant)
        count += 1


def length_s(path: str | Path) -> float | None:
    """How long a video says it is, for showing the time left; None where it does not say."""
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            pictures = container.streams.video[0]  # the sound may be longer
            if pictures.duration and pictures.time_base:
                return float(pictures.duration * pictures.time_base)
            return container.duration / av.time_base if container.duration else None
    except (FFmpegError, OSError, IndexError):
        return None


def mean_rate(path: Path) -> float:
    """Frames a second on average, as the file says; 25 where it does not."""
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            rate = container.streams.video[0].average_rate
            return float(rate) if rate and 1 <= rate <= 1000 else 25.0
    except (FFmpegError, OSError, IndexError, ValueError):
        return 25.0  # whoever reads it will say what is wrong


def list_videos(paths: Sequence[Path]) -> list[Path]:
    """Files as they are given; for a folder, the videos in it by name. All can be opened, or InputError is raised."""
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file())
        if not inside:
            raise InputError(f"The folder {path} has no videos; expected files such as clip.mp4 or clip.mov.")
        files += inside
    if not files:
        raise InputError("No video was given; expected one or more files, such as clip.mp4.")
    for file in files:
        with contextlib.closing(read_timed_frames(file)) as moments:
            next(moments)  # now, not after an hour spent on the files before it
    return files
