"""Recordings in one memory-mapped store, decoded once, with a fingerprint of its source.

In: a data set's folder and the size to resize pictures to. Out: `Recording`s over read-only memory maps.
A pack is index.json, frames.npy and poses.npy in DATA/.posecast/train-32x64, or in the user's cache folder
where DATA cannot be written; one that is stale or damaged is made anew. Knows no torch and no model.
Next: `clips.py`, which cuts recordings into what a model sees.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from posecast.data.folder_dataset import (
    FrameFiles,
    RecordingFiles,
    list_recordings,
    picture_folders,
    picture_size,
    read_alike,
)
from posecast.data.prefetch import Progress, in_threads
from posecast.data.recordings import Footage, Recording, hold_out_tail
from posecast.errors import InputError
from posecast.files import FAILING, FULL

FORMAT = 1
"""Raised whenever a pack's bytes come to mean something else; packs of another format are made anew."""


def load_recordings(
    root: Path, split: str, size: tuple[int, int], *, progress: Progress | None = None, threads: int | None = None
) -> list[Recording]:
    """The recordings of a split, resized to `size` (height, width), at once if their pack is up to date.

    Otherwise every picture is decoded first, by so many `threads` (None: one a core), and `progress` told how many
    frames of all are done. Raises InputError where `list_recordings` does, and for a picture that cannot be read;
    no half pack is left.
    """
    return _load(Path(root), split, size, progress, threads)[0]


def load_footage(
    root: Path, size: tuple[int, int], *, progress: Progress | None = None, threads: int | None = None
) -> Footage:
    """A data set's train and val; without a folder val, a tail of every training recording is held out."""
    root = Path(root)
    train, train_fingerprint = _load(root, "train", size, progress, threads)
    facts = {"path": str(root.resolve()), "fingerprint": train_fingerprint}
    if not (root / "val").is_dir():
        return dataclasses.replace(hold_out_tail(train), facts=facts)
    validation, facts["fingerprint_val"] = _load(root, "val", size, progress, threads)
    return Footage(train, validation, facts=facts)


def _load(
    root: Path, split: str, size: tuple[int, int], progress: Progress | None, threads: int | None
) -> tuple[list[Recording], str]:
    """The recordings of a split, and the fingerprint of the pictures that they were decoded from."""
    homes = (root / ".posecast", _cache_folder(root))
    pack_name = f"{split}-{size[0]}x{size[1]}"
    wanted = _wanted(root, split, size)
    for home in homes:
        recordings = _open_pack(home / pack_name, wanted)
        if recordings is not None:
            return recordings, str(wanted["fingerprint"])

    home = _first_writable(homes, f"{pack_name}.lock")
    with FileLock(home / f"{pack_name}.lock"):
        wanted = _wanted(root, split, size)  # taken before any picture is read: a change from here on shows
        recordings = _open_pack(home / pack_name, wanted)  # another process may have packed meanwhile
        if recordings is None:
            _make_pack(home / pack_name, wanted, list_recordings(root, split), size, progress, threads)
            recordings = _open_pack(home / pack_name, wanted)
    if recordings is None:
        raise RuntimeError(f"The pack {home / pack_name} cannot be read although it was just written.")
    return recordings, str(wanted["fingerprint"])


def fingerprint(root: Path, split: str) -> str:
    """SHA-256 (hexadecimal) over folder, name, size and modification time of each PNG of a split."""
    digest = hashlib.sha256()
    for top in picture_folders(root, split):
        if not top.is_dir():
            raise InputError(f"{top} is not a folder; expected numbered pictures like frame000001.png.")
        below = [path for path in top.iterdir() if path.is_dir()] if split == "test" else []
        for folder in sorted([top, *below]):
            place = os.fsencode(folder.relative_to(top.parent))
            with os.scandir(folder) as entries:
                pictures = [entry for entry in entries if entry.name.endswith(".png") and entry.is_file()]
            for picture in sorted(pictures, key=lambda entry: entry.name):
                stat = picture.stat()
                line = f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode()
                digest.update(place + b"/" + os.fsencode(picture.name) + line)
    return digest.hexdigest()


def _wanted(root: Path, split: str, size: tuple[int, int]) -> dict[str, object]:
    """What a pack's index must say for the pack to be up to date."""
    return {"format": FORMAT, "size": list(size), "fingerprint": fingerprint(root, split)}


def _cache_folder(root: Path) -> Path:
    place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return user_cache_path("posecast") / place


def _first_writable(homes: tuple[Path, ...], lock_name: str) -> Path:
    """The first folder that is not marked read-only, takes files, and whose lock is ours to open.

    Tried, because a disk may be read-only whatever the permission bits say; and the bits are asked as well,
    because to an administrator everything seems writable, footage that is meant to stay untouched too.
    """
    for home in homes:
        try:
            nearest = home if home.is_dir() else home.parent
            if nearest.is_dir() and not nearest.stat().st_mode & 0o222:
                continue
            home.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=home), open(home / lock_name, "ab"):
                return home
        except OSError:
            continue
    raise InputError(
        f"Neither {homes[0]} nor {homes[1]} can be written; make one of them writable, or set XDG_CACHE_HOME "
        "to a folder with room for the packed frames."
    )


def _open_pack(pack: Path, wanted: dict[str, object]) -> list[Recording] | None:
    """The pack's recordings, or None if there is no pack, or it is stale or damaged."""
    try:
        text = (pack / "index.json").read_text()
        index = json.loads(text)
        if {key: index[key] for key in wanted} != wanted:
            return None
        frames, poses = (np.load(pack / f"{what}.npy", mmap_mode="r") for what in ("frames", "poses"))
        if (pack / "index.json").read_text() != text:  # replaced while we opened it
            return None
        height, width = index["size"]
        num_frames = sum(entry["length"] for entry in index["recordings"])
        if not frames.shape == poses.shape == (num_frames, height, width, 3):
            return None
        spans = [(e["name"], slice(e["start"], e["start"] + e["length"])) for e in index["recordings"]]
        return [Recording(name, frames=frames[span], poses=poses[span]) for name, span in spans]
    except Exception:  # json and numpy raise nearly anything on damaged bytes; such a pack is made anew
        return None


def _make_pack(
    pack: Path,
    wanted: dict[str, object],
    listed: list[RecordingFiles],
    size: tuple[int, int],
    progress: Progress | None,
    threads: int | None,
) -> None:
    """Write the pack beside its place and move it there whole; the caller holds the lock.

    An older pack is moved aside, not written to: other processes may have it mapped, and keep what they see.
    """
    half_made, outdated = pack.with_name(f"{pack.name}.new"), pack.with_name(f"{pack.name}.old")
    for leftover in (half_made, outdated):  # of a packer that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        half_made.mkdir()
        _write_pixels(half_made, listed, size, progress, threads)
        _write_index(half_made / "index.json", wanted, listed)
        if pack.exists():
            pack.rename(outdated)
        half_made.rename(pack)
    except InputError:
        raise
    except OSError as error:
        said = f"The pack {pack} could not be written ({error}); make room there, or make the folder writable."
        if error.errno in FULL | FAILING:
            raise OSError(said) from error
        raise InputError(said) from error
    finally:
        shutil.rmtree(half_made, ignore_errors=True)
        shutil.rmtree(outdated, ignore_errors=True)


def _write_pixels(
    folder: Path,
    listed: list[RecordingFiles],
    size: tuple[int, int],
    progress: Progress | None,
    threads: int | None,
) -> None:
    """Decode in parallel, write in order: a full disk is then an error at once, never a hole in a map."""

    def read(pair: tuple[FrameFiles, tuple[Path, tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray]:
        frame, pattern = pair
        return read_alike(frame.image, pattern, size), read_alike(frame.label, pattern, size)

    pairs = []
    for recording in listed:
        first = recording.frames[0].image
        pattern = (first, picture_size(first))
        pairs += [(frame, pattern) for frame in recording.frames]
    shape = (len(pairs), *size, 3)
    with open(folder / "frames.npy", "wb") as frames, open(folder / "poses.npy", "wb") as poses:
        _begin_npy(frames, shape)
        _begin_npy(poses, shape)
        for frame, pose in in_threads(read, pairs, progress, threads):
            frames.write(frame.tobytes())
            poses.write(pose.tobytes())
        _make_durable(frames)
        _make_durable(poses)


def _begin_npy(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _make_durable(file: BinaryIO) -> None:
    """On the disk before the pack takes its name: after a power cut nothing half-written looks whole."""
    file.flush()
    os.fsync(file.fileno())


def _write_index(path: Path, wanted: dict[str, object], listed: list[RecordingFiles]) -> None:
    entries, start = [], 0
    for recording in listed:
        entries.append({"name": recording.name, "start": start, "length": len(recording.frames)})
        start += len(recording.frames)
    with open(path, "wb") as file:
        file.write(json.dumps({**wanted, "recordings": entries}).encode())
        _make_durable(file)
