"""Atomic file writing, JSON files, and checks before anything is overwritten.

Every file that posecast writes goes through `replacing`, and every output folder through `claim_folder`.
Next: `system/drives.py`, for what drives lack.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from posecast.errors import InputError
from posecast.system.drives import FAILING, FULL, UNSUPPORTED, flush_to_disk, move_over

WRITING = ".writing-"
"""Prefix of the name of an incomplete file."""
MAX_BYTES = 2**27
"""Largest text file that is read: hundreds of times the log of a week of training."""
MAX_DEPTH = 64
"""Deepest nesting of JSON that is read."""
MAX_DIGITS = 300
"""Longest integer in JSON that is read; the largest float has 309 digits."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, which replaces `path` on success and is removed on an error.

    Missing parent folders are created. The content is flushed to the disk before the file is renamed, so that readers
    see either the old or the new file, never a part of one. An error of the disk names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{WRITING}{os.urandom(6).hex()}{path.suffix}"
    try:
        # Created with the permissions of an ordinary file, because some drives refuse to change them later.
        with temporary.open("xb"):
            pass
        yield temporary
        with temporary.open("rb+") as written:  # some network drives flush only what is open for writing
            flush_to_disk(written)
        move_over(temporary, path)
    except OSError as error:
        is_unnamed = error.filename is None and error.errno in FULL | FAILING | UNSUPPORTED
        if is_unnamed or str(error.filename) == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with suppress(OSError):  # the disk may have failed or vanished
            temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raise OSError if no file can be written into a folder, so that long work for it need not begin."""
    try:
        with tempfile.TemporaryFile(prefix=WRITING, dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def remove_leftovers(folder: Path) -> None:
    """Remove incomplete files of killed processes below a folder, in which no other process may be writing."""
    for leftover in folder.rglob(f"{WRITING}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace `path` by bytes, atomically; for libraries whose own writing hides the error of a full disk."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")  # names of files may hold bytes that are no text


def write_json(path: Path, content: Any) -> None:
    """Replace `path` by JSON, atomically; NaN and infinity become null, since JSON has neither."""
    write_text(path, json.dumps(finite(content), indent=1, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """Return a copy of JSON-like content with NaN and infinity replaced by None."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if isinstance(content, float) and not abs(content) < float("inf"):
        return None
    return content


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a regular file; a pipe would block, and a device may never end.

    Args:
        path: The file, or a link to it.
        limit: Largest number of bytes.

    Raises:
        InputError: It is no regular file, or larger.
        OSError: It does not exist or cannot be read.
    """

    def open_at_once(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    with open(path, "rb", opener=open_at_once) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(f"{path} is not a regular file; expected one, not a pipe or a device.")
        content = file.read(limit + 1) if facts.st_size <= limit else b""
    if max(facts.st_size, len(content)) > limit:
        raise InputError(f"{path} has {max(facts.st_size, len(content)):,} bytes; expected at most {limit:,}.")
    return content


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Args:
        path: The file.
        what: Expected content, for error messages.

    Raises:
        InputError: The file does not exist, cannot be read, or holds no JSON object.
    """
    try:
        content = _parse_json(read_bytes(path).decode())
    except InputError as error:
        raise InputError(f"{error} It should hold {what}.") from error
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; expected {what}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); expected {what}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; expected {what}.")
    return content


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read the complete lines of a log, an object each; stop at an incomplete line.

    A missing file gives an empty list; a line that holds no object is skipped.

    Raises:
        InputError: The file is no regular file, or has more than `MAX_BYTES`.
    """
    entries = []
    for line in read_bytes(path).decode(errors="replace").splitlines() if path.exists() else ():
        try:
            entry = _parse_json(line)
        except (ValueError, RecursionError):  # a run in progress may be writing its last line
            break
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def _parse_json(text: str) -> Any:
    """Parse JSON; raise ValueError for what later code cannot hold: deep nesting, and integers beyond any float."""
    content = json.loads(text, parse_int=_parse_int)
    level = [content]
    for _ in range(MAX_DEPTH):
        holders = (value for value in level if isinstance(value, dict | list))
        level = [inner for value in holders for inner in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return content
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it has a number of {len(digits)} digits")
    return int(digits)


def claim_folder(
    folder: Path, *, marker: str, ours: Collection[str], force: bool, besides: Collection[str] = ()
) -> None:
    """Prepare an output folder.

    A folder that is absent or empty can be used. Any other folder needs `force` and must hold `marker`, which shows
    that posecast filled it; then only the names in `ours` are removed.

    Args:
        folder: Output folder, created if absent.
        marker: Name of the file that marks a folder of this kind.
        ours: Names that posecast writes into such a folder.
        force: Whether the content may be replaced.
        besides: Names that do not count as content, such as lock files.

    Raises:
        InputError: The folder may not be used.
    """
    check_claim(folder, marker=marker, force=force, besides=besides)
    if is_empty(folder, besides):
        folder.mkdir(parents=True, exist_ok=True)
        return
    for name in sorted(ours, key=lambda name: name == marker):  # marker last, so that a killed call can be repeated
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def check_claim(folder: Path, *, marker: str, force: bool, besides: Collection[str] = ()) -> None:
    """Raise InputError if `claim_folder` would, but change nothing; for a refusal before long work."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is not a folder; name a new or an empty one.")
    if is_empty(folder, besides):
        return
    if not force:
        raise InputError(f"{folder} already holds something; name a new folder, or replace it with --force.")
    if not (folder / marker).is_file():
        raise InputError(
            f"{folder} holds no {marker}, so posecast did not fill it and --force does not empty it; name a new folder."
        )


def is_empty(folder: Path, besides: Collection[str] = ()) -> bool:
    """Return whether a folder is absent or holds only names in `besides` and incomplete files of killed processes.

    Hidden files of file managers do not count either.
    """
    names = os.listdir(folder) if folder.exists() else []
    return all(name in besides or name.startswith(WRITING) or is_litter(name) for name in names)


def is_litter(name: str) -> bool:
    """Return whether file managers and network drives leave files of this name in any folder."""
    return name.startswith(("._", ".nfs", ".fuse_hidden")) or name in (
        ".DS_Store",
        ".directory",
        "Thumbs.db",
        "desktop.ini",
    )


def claim_file(path: Path, *, force: bool) -> None:
    """Raise InputError if `path` exists and may not be replaced."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected the name of a file.")
    if path.exists() and not force:
        raise InputError(f"{path} already exists; name another file, or replace it with --force.")
