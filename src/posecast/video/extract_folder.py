"""Output folder of an extraction: exclusive use, unfinished work, and the finished data set.

In: the folder, the request, the files of a finished extraction. Out: the folder `.extract` for unfinished work; the
data set, moved to its place as a whole. Next: `extract.py`, which does the work.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from posecast.errors import InputError
from posecast.files import claim_folder, read_json, remove_leftovers, write_json
from posecast.system.drives import locked
from posecast.video.extracted_poses import FILE_NAME as POSES

MARKER = "extract.json"
WORK = ".extract"
LOCK = "lock"
REQUEST = "wishes.json"
PREVIEWS = "preview*.mp4"
WRITTEN = (MARKER, POSES, "train", "val", ".posecast")


@contextmanager
def exclusive_work_folder(out: Path) -> Iterator[Path]:
    """Yield the folder for unfinished work, locked against other extractions; remove it at the end if it is empty.

    Raises:
        InputError: `out` is no folder, or another process is extracting into it.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} is not a folder; name a new or an empty one.")
    existed, work = out.exists(), out / WORK
    work.mkdir(parents=True, exist_ok=True)
    try:
        with locked(work / LOCK, timeout=0):
            try:
                yield work
            finally:
                if {path.name for path in work.iterdir()} <= {LOCK}:
                    shutil.rmtree(work, ignore_errors=True)
                if not existed and not any(out.iterdir()):
                    out.rmdir()
    except Timeout as error:
        raise InputError(f"Another posecast is extracting into {out}; wait for it, or name another folder.") from error


def clear(work: Path) -> None:
    """Remove all unfinished work, but not the lock, which is held."""
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink()


def claim(out: Path, work: Path, request: dict[str, Any], *, force: bool) -> None:
    """Prepare the output folder for a new extraction, or for continuing an unfinished one.

    Args:
        out: Output folder.
        work: Its folder for unfinished work.
        request: Videos and settings, as plain values.
        force: Whether earlier results are removed.

    Raises:
        InputError: The folder holds an extraction of another request, or files that posecast did not write.
    """
    requested, note = as_json(request), work / REQUEST
    if note.exists() and not force:
        if read_json(note, "the request of an interrupted extraction") != requested:
            raise InputError(
                f"{out} holds an unfinished extraction of other videos or other settings; repeat that command to "
                "continue it, name another folder, or start again with --force."
            )
        return
    clear(work)
    claim_folder(out, marker=MARKER, ours=WRITTEN, force=force, besides=(WORK,))
    for preview in out.glob(PREVIEWS):
        preview.unlink()
    write_json(note, requested)


def publish(finished: Path, out: Path, facts: dict[str, Any]) -> None:
    """Move finished files to their places, train last, since a folder without train is no data set.

    Args:
        finished: Folder with train, val, poses.npz and previews.
        out: Output folder.
        facts: Content of extract.json.
    """
    for preview in finished.glob(PREVIEWS):
        preview.replace(out / preview.name)
    (finished / POSES).replace(out / POSES)
    write_json(out / MARKER, facts)
    for split in ("val", "train"):
        shutil.rmtree(out / split, ignore_errors=True)  # left by a run that was killed at this point
        if (finished / split).exists():
            (finished / split).replace(out / split)
    remove_leftovers(out)


def as_json(content: Any) -> Any:
    """Return content as it is read back from JSON, where tuples are lists."""
    return json.loads(json.dumps(content))
