"""Rule for names that come from files, and check that a folder holds only files of its own.

In: names in a plan or a grid; run and experiment folders, which may come from strangers. Out: paths inside a folder, or
an `InputError`. Next: `files.py`, which reads files.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from posecast.errors import InputError

MAX_NAME_BYTES = 100
"""Longest name; with a seed and an ending it fits every file system."""
SEPARATORS = ("/", "\\", ":", "..")
"""Parts of a name that lead elsewhere on some system."""
RESERVED = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9])(?:\..*)?", re.IGNORECASE)
"""Names of devices on Windows, with any suffix."""
NAME_IS = f"at most {MAX_NAME_BYTES} bytes of printable text without / \\ : or .., with no '.', '-' or blank in front"
"""The rule in words, without its rare parts."""


def is_name(name: object) -> bool:
    """Return whether a value that was read from a file may become part of a path.

    >>> [is_name(name) for name in ("low-rate", "1e-3", "../x", "a/b", "-x", "nul.txt", "x.", "", 3)]
    [True, True, False, False, False, False, False, False, False]
    """
    if not isinstance(name, str) or not name.isprintable() or any(part in name for part in SEPARATORS):
        return False
    has_plain_ends = name.strip() == name and not name.startswith((".", "-")) and not name.endswith(".")
    return has_plain_ends and 0 < len(name.encode()) <= MAX_NAME_BYTES and RESERVED.fullmatch(name) is None


def is_local(path: str) -> bool:
    """Return whether a path that was read from a file names no share of another computer, as Windows reads it."""
    return not path.replace("\\", "/").startswith("//")


def inside(folder: Path, *names: str) -> Path:
    """Return the path of something in a folder, after checking that it lies there when all links are followed.

    Args:
        folder: The folder; it may itself be a link.
        names: Names from the folder down to the file, which need not exist.

    Raises:
        InputError: The path leads out of the folder.
    """
    path = folder.joinpath(*names)
    if not _is_inside(path, folder):
        raise InputError(f"{path} leads out of {folder}; {_ADVICE}.")
    return path


def check_contents(folder: Path, names: Iterable[str]) -> None:
    """Check that a folder holds, under some names, only regular files and folders that lie inside it.

    A folder from a stranger may hold a link to a private file, which a page would show, or a pipe, which blocks whoever
    reads it. A link is accepted if it leads to a place inside the folder.

    Args:
        folder: The folder; it may itself be a link.
        names: Names of files and folders in it; those that are missing are skipped.

    Raises:
        InputError: Something there is of another kind, or leads out of the folder.
    """
    for path in (path for name in names for path in _tree(folder / name)):
        with suppress(FileNotFoundError):  # another process may be replacing it
            kind = os.lstat(path).st_mode
            if stat.S_ISLNK(kind):
                if not _is_inside(path, folder):
                    raise InputError(f"{path} is a link that leads out of {folder}; {_ADVICE}.")
                kind = os.stat(path).st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise InputError(f"{path} is neither a file nor a folder; {_ADVICE}.")


_ADVICE = "expected files and folders inside it, so remove it or put a copy in its place"


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve()) and path.resolve() != folder.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, a null character
        return False


def _tree(path: Path) -> Iterator[Path]:
    """Yield a path and, if it is a folder, everything below it; links are not followed."""
    yield path
    if not path.is_symlink():
        for parent, folders, files in os.walk(path):
            yield from (Path(parent, name) for name in (*folders, *files))
