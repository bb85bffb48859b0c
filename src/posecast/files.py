"""Files as a user may rely on them: written whole or not at all, and never over what is not ours.

Knows no format. Everything that posecast writes goes through `replacing`; every output folder through `claim_folder`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from posecast.errors import InputError

FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""What a disk that is full says."""
FAILING = frozenset((errno.EIO,))
"""What a disk that fails says."""
WRITING = ".writing-"
"""What a file is called before it is whole."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; a clean end flushes it and renames it to `path`, an error removes it.

    Parent folders are made. Readers see the old file or the new one, never a part of either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=WRITING, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; ours are ordinary ones
        temporary.replace(path)
    except OSError as error:
        if error.errno in FULL | FAILING and error.filename is None:
            raise OSError(
                error.errno, error.strerror, str(path)
            ) from error  # which file it was, a full disk does not say
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what `replacing` left below a folder when its process was killed; nobody else may be writing there."""
    for leftover in folder.rglob(f"{WRITING}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace `path` by bytes, atomically; for libraries that say of a full disk what they like."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Replace `path` by JSON, atomically; NaN and infinity become null, since JSON has neither."""
    write_text(path, json.dumps(finite(content), indent=1, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """A copy of JSON-like content with NaN and infinity as None."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if isinstance(content, float) and not abs(content) < float("inf"):
        return None
    return content


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object. Raises InputError, naming `what` was expected in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; expected {what}.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); expected {what}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; expected {what}.")
    return content


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log, one object each; none where there is no file, and a line cut off ends it."""
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):  # a run that is still training may be in the middle of its last line
            break
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def claim_folder(
    folder: Path, *, marker: str, ours: Collection[str], force: bool, besides: Collection[str] = ()
) -> None:
    """Make `folder` ready to be filled, or raise InputError.

    Absent or empty, it is free. Otherwise it needs `force`, and must hold `marker`, which shows that posecast
    filled it; then the names in `ours` are removed and nothing else is.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is not a folder; name a new or an empty one.")
    if is_empty(folder, besides):
        folder.mkdir(parents=True, exist_ok=True)
        return
    if not force:
        raise InputError(f"{folder} already holds something; name a new folder, or replace it with --force.")
    if not (folder / marker).is_file():
        raise InputError(
            f"{folder} holds no {marker}, so posecast did not fill it and --force does not empty it; name a new folder."
        )
    for name in sorted(ours, key=lambda name: name == marker):  # last, so that whoever is killed here can do it again
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def is_empty(folder: Path, besides: Collection[str] = ()) -> bool:
    """Whether a folder is absent, or holds only names in `besides` and what `replacing` left of a killed process."""
    held = [path.name for path in folder.iterdir()] if folder.exists() else []
    return all(name in besides or name.startswith(WRITING) for name in held)


def claim_file(path: Path, *, force: bool) -> None:
    """Raise InputError if `path` exists and may not be replaced."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected the name of a file.")
    if path.exists() and not force:
        raise InputError(f"{path} already exists; name another file, or replace it with --force.")
