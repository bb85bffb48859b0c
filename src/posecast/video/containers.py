"""Opening of video and sound files with FFmpeg (through PyAV).

FFmpeg takes names such as `http:...`, `concat:...` or `frame%d.png` for addresses and patterns, and opens what
playlists name. Here Python opens every file, so that a name is always a file, and FFmpeg may open nothing else.
Next: `reader.py` and `audio.py`, which read; `writer.py`, which writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

NO_PROTOCOL = {"protocol_whitelist": "none"}
"""Option by which playlists, SDP files and references to other files fail instead of opening what they name."""


@contextmanager
def open_input(path: Path) -> Iterator[InputContainer]:
    """Open a file of any container format for reading.

    Raises:
        av.error.FFmpegError: FFmpeg does not read the file, or it refers to other files or addresses.
        OSError: The file cannot be opened.
    """
    # The second file object has a number instead of a name, because FFmpeg also interprets the name of an open file.
    with (
        path.open("rb") as named,
        open(named.fileno(), "rb", closefd=False) as file,
        av.open(file, "r", metadata_errors="ignore", options=NO_PROTOCOL) as container,
    ):
        yield container


def open_mp4(file: BinaryIO) -> OutputContainer:
    """Open a file that Python has opened for writing as an MP4.

    Close it at the end, but not after an error of the disk: a `with` statement would replace that error by another.
    """
    return av.open(_Output(file), "w", format="mp4")


class _Output:
    """File that raises its first error only; PyAV prints the traceback of each further one, as of a full disk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._has_failed = file, False

    def write(self, content: bytes) -> int:
        return self._call(self._file.write, content, otherwise=len(content))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._call(self._file.seek, offset, whence, otherwise=0)

    def tell(self) -> int:
        return self._file.tell()

    def _call(self, method: Callable[..., int], *arguments: Any, otherwise: int) -> int:
        if self._has_failed:
            return otherwise
        try:
            return method(*arguments)
        except OSError:
            self._has_failed = True
            raise


def video_stream(container: InputContainer) -> VideoStream | None:
    """Return the video stream that a player shows: the first default one, or else the first; None if there is none.

    A cover image is none.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    return max(streams, key=lambda stream: bool(stream.disposition & Disposition.default), default=None)


def decoded_frames(container: InputContainer, stream: Stream, on_damage: Callable[[], None]) -> Iterator[Any]:
    """Yield the frames of a stream, without the packets that cannot be decoded.

    Args:
        container: Open file.
        stream: Its video or audio stream.
        on_damage: Called for each packet that is left out, such as those before the first complete frame of a recording
            that was cut out of a broadcast.
    """
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except FFmpegError:
            on_damage()
            continue
        yield from frames


def reason(error: Exception) -> str:
    """Return the message of an error without its number and without the name that FFmpeg has for the file."""
    return getattr(error, "strerror", None) or str(error)
