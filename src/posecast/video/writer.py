"""Video files written frame by frame: GIF, WebP, MP4, or a folder of PNGs.

In: uint8 frames `[H, W, 3]`, RGB, one at a time; a video is never held whole. Out: a file that appears under its name
only when it is complete. Knows no torch. Next: `audio.py` lays sound under an MP4.
"""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from PIL import Image

from posecast.data.images import enlarged
from posecast.errors import InputError
from posecast.files import WRITING, replacing


class VideoWriter:
    """What `open_writer` gives: `write(frame)` for each frame, all of one size."""

    def __init__(self, encoder: _Gif | _Webp | _Mp4 | _PngFolder, scale: int) -> None:
        self._encoder, self._scale = encoder, scale
        self._shape, self.num_frames = (0, 0, 0), 0

    def write(self, frame: np.ndarray) -> None:
        """Encode uint8 `[H, W, 3]` at once; the frame is not kept."""
        if self.num_frames and frame.shape != self._shape:
            raise ValueError(f"Frame {self.num_frames} is {frame.shape}; the first was {self._shape}.")
        self._shape = frame.shape
        self._encoder.add(enlarged(frame, self._scale), self.num_frames)
        self.num_frames += 1


@contextmanager
def open_writer(
    path: str | Path, *, fps: float = 25.0, scale: int = 1, names: Sequence[str] = ()
) -> Iterator[VideoWriter]:
    """Write a video frame by frame; the ending of `path` chooses the format.

    `.gif` (256 colours a frame), `.webp` (lossy), `.mp4` (H.264; odd sides get one pixel more), or no ending:
    a new folder with a PNG for each frame, called after `names` where given. `scale` turns every pixel into
    a square. As many frames come out as went in, identical neighbours included.

    >>> with open_writer("turn.gif", scale=4) as video:  # doctest: +SKIP
    ...     for frame in frames:
    ...         video.write(frame)
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (*_ENCODERS, ""):
        raise InputError(f"{path} ends in {kind}; choose .gif, .mp4, .webp or, for a folder of PNGs, nothing.")
    if path.is_dir() and (kind or any(path.iterdir())):
        raise InputError(f"The folder {path} is already there; choose a free name, or remove it.")
    if not fps > 0:
        raise InputError(f"A video cannot have {fps} frames per second; choose a number above 0.")
    if kind == "":
        with _new_folder(path) as folder:
            yield VideoWriter(_PngFolder(folder, names), scale)
        return
    with replacing(path) as temporary, temporary.open("wb") as file:
        encoder = _ENCODERS[kind](file, fps)
        yield (writer := VideoWriter(encoder, scale))
        if writer.num_frames == 0:
            raise ValueError(f"No frame was written to {path}.")
        encoder.finish()


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """What `replacing` is for a file: a folder to fill, which bears the name `path` after a clean end only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=WRITING, dir=path.parent) as temporary:
        folder = Path(temporary) / path.name
        folder.mkdir()  # not the temporary folder itself, which is private to this user
        yield folder
        if path.is_dir():
            path.rmdir()  # it was seen to be empty
        folder.rename(path)


def _ticks(index: int, fps: float, per_second: int) -> int:
    """How many whole ticks frame `index` is shown, such that rounding never adds up."""
    return round((index + 1) * per_second / fps) - round(index * per_second / fps)


@dataclass(frozen=True)
class _PngFolder:
    folder: Path
    names: Sequence[str]

    def add(self, frame: np.ndarray, index: int) -> None:
        name = self.names[index] if self.names else f"frame{index:06d}"
        Image.fromarray(frame).save(self.folder / f"{name}.png")


@dataclass(frozen=True)
class _Gif:
    """Pillow compresses each frame as a GIF of its own, and we string them together.

    Pillow's own animations merge identical neighbours, and keep every frame to do so.
    """

    file: BinaryIO
    fps: float

    def add(self, frame: np.ndarray, index: int) -> None:
        # Without dithering: its noise would crawl from frame to frame. Up to 256 colours this is exact.
        picture = Image.fromarray(frame).quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        still = _saved(picture, "GIF", interlace=0)
        table_bits = still[10] & 7
        table_end = 13 + 3 * 2 ** (table_bits + 1)
        table, image = still[13:table_end], still[table_end:-1]
        if index == 0:
            loop_for_ever = b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
            self.file.write(b"GIF89a" + still[6:10] + b"\0\0\0" + loop_for_ever)
        hundredths = max(2, _ticks(index, self.fps, 100))  # browsers slow anything shorter down to 10
        self.file.write(struct.pack("<4sHBB", b"!\xf9\x04\x04", hundredths, 0, 0))
        self.file.write(image[:9] + bytes([0x80 | table_bits]) + table + image[10:])

    def finish(self) -> None:
        self.file.write(b";")


@dataclass(frozen=True)
class _Webp:
    """Pillow compresses each frame as a still, and we string them together in the WebP container.

    libwebp's own animation encoder merges identical neighbours, and keeps the whole file in memory.
    """

    file: BinaryIO
    fps: float

    def add(self, frame: np.ndarray, index: int) -> None:
        still = _saved(Image.fromarray(frame), "WEBP", quality=90, method=2)
        width_height = b"".join(struct.pack("<I", frame.shape[k] - 1)[:3] for k in (1, 0))
        if index == 0:
            self.file.write(b"RIFF\0\0\0\0WEBP")
            self._chunk(b"VP8X", b"\x02\0\0\0" + width_height)  # the flag says: animated
            self._chunk(b"ANIM", b"\0" * 6)  # black behind, looping for ever
        milliseconds = struct.pack("<I", _ticks(index, self.fps, 1000))[:3]
        self._chunk(b"ANMF", b"\0" * 6 + width_height + milliseconds + b"\x02" + still[12:])

    def _chunk(self, kind: bytes, content: bytes) -> None:
        self.file.write(kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2))

    def finish(self) -> None:
        size_field = struct.pack("<I", self.file.tell() - 8)
        self.file.seek(4)
        self.file.write(size_field)


def _saved(picture: Image.Image, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


class _Mp4:
    def __init__(self, file: BinaryIO, fps: float) -> None:
        self._rate = Fraction(fps).limit_denominator(1001)
        self._container = av.open(file, "w", format="mp4")

    def add(self, frame: np.ndarray, index: int) -> None:
        height, width = frame.shape[:2]
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if index == 0:
            self._stream = self._container.add_stream("libx264", rate=self._rate, options={"crf": "14"})
            self._stream.height, self._stream.width = frame.shape[:2]
            self._stream.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts, picture.time_base = index, 1 / self._rate
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()


_ENCODERS = {".gif": _Gif, ".webp": _Webp, ".mp4": _Mp4}
