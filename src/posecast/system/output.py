"""Standard output and standard error that never end the work, and the size of the terminal.

In: the streams and variables that a process was started with. Out: streams that replace letters they cannot encode and
keep going after an error; the error by which output was lost. Next: `cli/options.py`, which prints messages.
"""

from __future__ import annotations

import errno
import io
import os
import select
import shutil
import sys
from contextlib import suppress
from typing import Any

NOBODY_READS = frozenset((errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET))
"""Error numbers of a reader that has ended, as `head` does; it has read all that it wanted."""
COLUMNS = (20, 1000)
"""Smallest and largest width that text is laid out for; in less, cyclopts lays out help for ever."""
LINES = (4, 1000)


class TolerantStream(io.RawIOBase):
    """Stream of bytes that discards what cannot be written and keeps the first error."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, content: Any) -> int:
        """Write all bytes, or as many as possible, and return the number of all."""
        rest = memoryview(content).cast("B")
        size = len(rest)
        try:
            while rest:
                written = self._stream.write(rest)
                if written is None:  # another program has made the pipe or terminal non-blocking
                    select.select([], [self._stream], [])
                else:
                    rest = rest[written:]
        except OSError as error:
            self.error = self.error or error
        return size


def protect_output() -> None:
    """Make sure that printing raises no error in this process, and that the terminal's size can be laid out for.

    A descriptor that was closed discards what is written, so that no file of the work gets its number. Streams that
    are not those of the process, as in a notebook, only replace what they cannot encode. May be called repeatedly.
    """
    _open_closed_descriptors()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _tolerant(stream, 1 if name == "stdout" else 2))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    _bound_terminal_size()


def lost_output() -> OSError | None:
    """Flush standard output, and return the error by which a part was lost; None if nobody reads it any more."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, TolerantStream) else None
    return None if error is None or error.errno in NOBODY_READS else error


def _open_closed_descriptors() -> None:
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):  # the lowest free number is taken, which is this one
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _tolerant(stream: Any, descriptor: int) -> io.TextIOWrapper:
    """Return a text stream that replaces an original one, which is None if its descriptor was closed."""
    if stream is None:
        raw, encoding, is_by_line = io.FileIO(descriptor, "w", closefd=False), "utf-8", False
    else:
        with suppress(OSError):
            stream.flush()
        raw = getattr(stream.buffer, "raw", stream.buffer)  # without a buffer if Python runs unbuffered
        encoding, is_by_line = stream.encoding, stream.line_buffering or stream.write_through
    buffer = io.BufferedWriter(TolerantStream(raw))
    return io.TextIOWrapper(buffer, encoding=encoding, errors="replace", line_buffering=is_by_line)


def _bound_terminal_size() -> None:
    """Set COLUMNS and LINES within bounds where they, or the terminal, are outside."""
    size = shutil.get_terminal_size()
    for name, value, (least, most) in (("COLUMNS", size.columns, COLUMNS), ("LINES", size.lines, LINES)):
        if name in os.environ or not least <= value <= most:
            os.environ[name] = str(min(max(value, least), most))
