"""Drives and folders of the operating system, and what they lack: locks, flushing, renaming over a file, a home.

In: paths and errors. Out: the operation itself or the nearest safe one; a sentence of advice about an error.
Next: `files.py`, which writes files by this.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""Error numbers of a full disk."""
FAILING = frozenset((errno.EIO,))
"""Error numbers of a failing disk."""
UNSUPPORTED = frozenset((errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENODEV, errno.EINVAL))
"""Error numbers of a drive that lacks an operation, as network drives, FUSE and FAT do."""
WRONG_NAME = frozenset((errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL))
"""Error numbers of a name that the drive cannot hold, if the error states a file name."""
REFUSED = frozenset((errno.EPERM, errno.EACCES))
"""Error numbers of a missing permission."""

MEMORY = "/dev/shm"
"""Folder of Linux whose files lie in memory."""


def advice_on(error: OSError) -> str:
    """Return a sentence about what helps against an error of the operating system; empty if nothing is known."""
    if error.errno in FULL:
        return "Free some space and run the command again; everything saved so far is intact."
    if error.errno in FAILING:
        return "The disk or its connection is failing; everything saved so far is unchanged."
    if is_wrong_name(error):
        return "The drive does not take this name; expected a shorter one, without signs such as : ? * < >."
    if error.errno in UNSUPPORTED:
        return "The drive lacks an operation that is needed here; name a folder on another drive."
    if error.errno in REFUSED:
        return "This user may not do that there; change the permissions, or name another folder."
    if not has_temporary_folder():
        return "No temporary folder can be written to; set TMPDIR to a folder that can."
    return ""


def is_wrong_name(error: OSError) -> bool:
    """Return whether the drive cannot hold a file of the name in the error."""
    return error.filename is not None and error.errno in WRONG_NAME


def flush_to_disk(file: BinaryIO) -> None:
    """Flush a file to the disk, so that it is complete even after a power failure, where the drive can do that."""
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def move_over(temporary: Path, path: Path) -> None:
    """Rename a file to a name that may be taken; where the drive cannot do that at once, in two steps."""
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno not in UNSUPPORTED | REFUSED | {errno.EEXIST} or not path.is_file():
            raise
        earlier = path.with_name(f"{path.name}.before")  # no incomplete file: it is all there is if the power fails
        path.rename(earlier)
        try:
            temporary.rename(path)
        except OSError:
            earlier.rename(path)
            raise
        with suppress(OSError):
            earlier.unlink()


@contextmanager
def locked(path: Path, *, timeout: float = -1.0) -> Iterator[None]:
    """Hold a lock file within the block; it is released when the process ends in any case.

    On a drive without locks, the lock lies in the cache folder or in the temporary folder; then it excludes only
    processes on the same machine.

    Args:
        path: Lock file; created if absent, and left in place.
        timeout: Seconds to wait for another process; negative: for ever.

    Raises:
        filelock.Timeout: Another process has held the lock for longer.
    """
    from filelock import FileLock  # takes long to import, and most commands need no lock

    refused: OSError | None = None
    for place in _lock_files(path):
        lock = FileLock(place, timeout=timeout, fallback_to_soft=False)
        try:
            lock.acquire()
            break
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            refused = OSError(error.errno, error.strerror, str(path))
    else:
        assert refused is not None
        raise refused
    try:
        yield
    finally:
        lock.release()


def _lock_files(path: Path) -> Iterator[Path]:
    """Yield a lock file, then the files that take its place where a drive has no locks."""
    yield path
    name = hashlib.sha256(os.fsencode(path.parent.resolve() / path.name)).hexdigest()[:32]
    for folder in (cache_folder(), _temporary_folder()):
        yield folder / f"{name}.lock"


def user_cache() -> Path | None:
    """Return posecast's folder in the user's cache; None if there is no home, as in containers, or it is read-only."""
    from platformdirs import user_cache_path

    with suppress(OSError, RuntimeError):
        folder = user_cache_path("posecast")
        if folder.is_absolute():
            folder.mkdir(parents=True, exist_ok=True)
            return folder if os.access(folder, os.W_OK) else None
    return None


def cache_folder() -> Path:
    """Return the folder of files that can be made again: the user's cache, or else a private temporary folder.

    It raises no error; if neither can be made, the first file in it cannot be written.
    """
    return user_cache() or _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    """Return a folder below the system's temporary folder that only this user can write to."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path("/tmp", f"posecast-{user}")
    with suppress(OSError):
        folder = Path(tempfile.gettempdir(), folder.name)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o022:
            folder = Path(tempfile.mkdtemp(prefix="posecast-"))  # another user has taken the name
    return folder


def has_temporary_folder() -> bool:
    """Return whether Python finds a temporary folder that can be written to."""
    try:
        return bool(tempfile.gettempdir())
    except OSError:
        return False


def set_library_folders() -> None:
    """Give libraries folders where the surroundings have none.

    They take the memory for temporary files if no disk can be written to, as in containers. Matplotlib, which needs a
    folder for its list of fonts, gets it in the cache if there is no home; it would make another at every start.
    """
    if not has_temporary_folder() and os.access(MEMORY, os.W_OK):
        tempfile.tempdir = os.environ["TMPDIR"] = MEMORY
    if "MPLCONFIGDIR" not in os.environ and not os.access(os.path.expanduser("~"), os.W_OK):
        os.environ["MPLCONFIGDIR"] = str(cache_folder() / "matplotlib")
