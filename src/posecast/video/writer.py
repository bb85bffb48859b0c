"""Writers of video files, frame by frame: GIF, WebP, MP4, or a folder of PNGs.

In: RGB frames, uint8 `[H, W, 3]`, one at a time. Out: a file or folder that gets its name only when it is complete.
Next: `audio.py` adds sound to an MP4.
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

import numpy as np
from PIL import Image

from posecast.data.images import enlarged
from posecast.errors import InputError
from posecast.files import WRITING, replacing
from posecast.video.containers import open_mp4
from posecast.video.rgb import bt709_frame, tag_bt709


class VideoWriter:
    """Open video that receives frames of one size; made by `open_writer`.

    Attributes:
        num_frames: Number of frames written.
    """

    def __init__(self, encoder: _Gif | _Webp | _Mp4 | _PngFolder, scale: int) -> None:
        self._encoder, self._scale = encoder, scale
        self._shape, self.num_frames = (0, 0, 0), 0

    def write(self, frame: np.ndarray) -> None:
        """Encode a frame, uint8 `[H, W, 3]`, without keeping it.

        Raises:
            ValueError: The frame has another size than the first.
        """
        if self.num_frames and frame.shape != self._shape:
            raise ValueError(f"Frame {self.num_frames} is {frame.shape}; the first was {self._shape}.")
        self._shape = frame.shape
        self._encoder.add(enlarged(frame, self._scale), self.num_frames)
        self.num_frames += 1


@contextmanager
def open_writer(
    path: str | Path, *, fps: float = 25.0, scale: int = 1, names: Sequence[str] = ()
) -> Iterator[VideoWriter]:
    """Open a video for writing, in the format of the ending of `path`.

    Every frame is written, also if it equals the one before.

    Args:
        path: `.gif` (256 colours per frame), `.webp` (lossy), `.mp4` (H.264 with BT.709 tags; odd sides get one more
            pixel), or a name without ending for a new folder with a PNG per frame.
        fps: Frames per second.
        scale: Side of the square that each pixel becomes.
        names: Names of the PNGs without ending; frame000000, ... if empty.

    Yields:
        A writer. The file or folder appears when the context ends without an exception.

    Raises:
        InputError: The ending is unknown, the folder is in use, or `fps` is out of range.
        ValueError: No frame was written to a file.

    >>> with open_writer("turn.gif", scale=4) as video:  # doctest: +SKIP
    ...     for frame in frames:
    ...         video.write(frame)
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (*_ENCODERS, ""):
        raise InputError(f"{path} ends in {kind}; choose .gif, .mp4, .webp or, for a folder of PNGs, no ending.")
    if path.is_dir() and (kind or any(path.iterdir())):
        raise InputError(f"The folder {path} already exists; choose another name, or remove it.")
    if not 0.01 <= fps <= 1000:
        raise InputError(f"A video cannot have {fps:g} frames per second; choose a number from 0.01 to 1000.")
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
    """Yield a folder to fill, which is renamed to `path` if the context ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=WRITING, dir=path.parent) as temporary:
        folder = Path(temporary) / path.name
        folder.mkdir()  # the temporary folder itself is private to this user
        yield folder
        if path.is_dir():
            path.rmdir()  # `open_writer` has checked that it is empty
        folder.rename(path)


def _ticks(index: int, fps: float, per_second: int) -> int:
    """Return the duration of frame `index` in whole ticks, such that rounding errors do not accumulate."""
    return round((index + 1) * per_second / fps) - round(index * per_second / fps)


@dataclass(frozen=True)
class _PngFolder:
    """Folder with a PNG for each frame."""

    folder: Path
    names: Sequence[str]

    def add(self, frame: np.ndarray, index: int) -> None:
        name = self.names[index] if self.names else f"frame{index:06d}"
        Image.fromarray(frame).save(self.folder / f"{name}.png")


@dataclass(frozen=True)
class _Gif:
    """Animated GIF, joined from frames that Pillow compresses one by one.

    Pillow's animations merge identical neighbours, and keep all frames in memory for it.
    """

    file: BinaryIO
    fps: float

    def add(self, frame: np.ndarray, index: int) -> None:
        # The noise of dithering would change from frame to frame. Up to 256 colours are exact without it.
        quantized = Image.fromarray(frame).quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        still = _saved(quantized, "GIF", interlace=0)
        table_bits = still[10] & 7
        table_end = 13 + 3 * 2 ** (table_bits + 1)
        table, image = still[13:table_end], still[table_end:-1]
        if index == 0:
            loop_forever = b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
            self.file.write(b"GIF89a" + still[6:10] + b"\0\0\0" + loop_forever)
        hundredths = max(2, _ticks(index, self.fps, 100))  # browsers show shorter frames for 10
        self.file.write(struct.pack("<4sHBB", b"!\xf9\x04\x04", hundredths, 0, 0))
        self.file.write(image[:9] + bytes([0x80 | table_bits]) + table + image[10:])

    def finish(self) -> None:
        self.file.write(b";")


@dataclass(frozen=True)
class _Webp:
    """Animated WebP, joined from frames that Pillow compresses one by one.

    libwebp's animation encoder merges identical neighbours, and keeps the whole file in memory.
    """

    file: BinaryIO
    fps: float

    def add(self, frame: np.ndarray, index: int) -> None:
        still = _saved(Image.fromarray(frame), "WEBP", quality=90, method=2)
        width_height = b"".join(struct.pack("<I", frame.shape[k] - 1)[:3] for k in (1, 0))
        if index == 0:
            self.file.write(b"RIFF\0\0\0\0WEBP")
            self._chunk(b"VP8X", b"\x02\0\0\0" + width_height)  # 2: animated
            self._chunk(b"ANIM", b"\0" * 6)  # black background, endless loop
        milliseconds = struct.pack("<I", _ticks(index, self.fps, 1000))[:3]
        self._chunk(b"ANMF", b"\0" * 6 + width_height + milliseconds + b"\x02" + still[12:])

    def _chunk(self, kind: bytes, content: bytes) -> None:
        self.file.write(kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2))

    def finish(self) -> None:
        size_field = struct.pack("<I", self.file.tell() - 8)
        self.file.seek(4)
        self.file.write(size_field)


def _saved(image: Image.Image, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


class _Mp4:
    """MP4 with H.264, encoded by PyAV."""

    def __init__(self, file: BinaryIO, fps: float) -> None:
        self._rate = Fraction(fps).limit_denominator(1001)
        self._container = open_mp4(file)

    def add(self, frame: np.ndarray, index: int) -> None:
        height, width = frame.shape[:2]
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if index == 0:
            self._stream = self._container.add_stream("libx264", rate=self._rate, options={"crf": "14"})
            self._stream.height, self._stream.width = frame.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            tag_bt709(self._stream.codec_context)
        decoded = bt709_frame(frame)
        decoded.pts, decoded.time_base = index, 1 / self._rate
        self._container.mux(self._stream.encode(decoded))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()


_ENCODERS = {".gif": _Gif, ".webp": _Webp, ".mp4": _Mp4}
