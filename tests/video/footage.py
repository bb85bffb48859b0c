"""Frames with marks, and videos of them in many formats, for the tests of odd footage."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from posecast.data.pose_maps import SKELETON
from posecast.video.pose_estimation import Person, Region

FPS = 25
RED, GREEN = (200, 60, 40), (40, 200, 60)


def marked(k: int, size: tuple[int, int] = (96, 160)) -> np.ndarray:
    """Return a frame of the k-th grey with a red upper left and a green lower right corner."""
    frame = np.full((*size, 3), 40 + 5 * k % 160, np.uint8)
    height, width = size[0] // 4, size[1] // 4
    frame[:height, :width], frame[-height:, -width:] = RED, GREEN
    return frame


def has_marks(frame: np.ndarray, tolerance: int = 12) -> bool:
    """Return whether both corners have their colours."""
    errors = [np.abs(frame[k, k].astype(int) - colour).max() for k, colour in ((3, RED), (-4, GREEN))]
    return max(errors) <= tolerance


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    *,
    stamps: Sequence[int] | None = None,
    tags: dict[str, int] | None = None,
    container: str | None = None,
) -> Path:
    """Write frames, by default 25 per second; stamps are in frames."""
    options = options or ({"crf": "8"} if codec.startswith("libx26") else {})
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for k, pixels_of_frame in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels_of_frame, format="rgb24")
            frame.pts, frame.time_base = k if stamps is None else stamps[k], Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def joined(folder: Path, *parts: tuple[int, int, int, tuple[int, int]]) -> Path:
    """Write a transport stream of parts: first mark, number of frames, first stamp, size."""
    content = b""
    for first, count, stamp, size in parts:
        frames = [marked(first + k, size) for k in range(count)]
        options = {"crf": "8", "bf": "0"}
        content += write(folder / "part.ts", frames, options=options, stamps=range(stamp, stamp + count)).read_bytes()
    (folder / "joined.ts").write_bytes(content)
    return folder / "joined.ts"


class Marked:
    """Estimator of a person between the marks of a frame."""

    name = "marked"

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        height, width = frame.shape[:2]
        line = np.linspace((0.4 * width, 0.2 * height), (0.6 * width, 0.8 * height), len(SKELETON))
        points = np.concatenate([line, np.ones((len(SKELETON), 1))], axis=1).astype(np.float32)
        return [Person(points, Region(0, 0, 0, 0))]

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        return self.everybody(frame, number, closely=False)[0]
