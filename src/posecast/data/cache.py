"""Cache of decoded recordings: memory-mapped arrays with a fingerprint of their source.

In: a data set's folder and the image size. Out: `Recording`s over read-only memory maps. A pack is index.json,
frames.npy and poses.npy in DATA/.posecast/train-32x64, or in the cache folder if DATA cannot be written to; a stale or
damaged pack is rebuilt. Next: `fingerprint.py`, which compares images; `clips.py`, which cuts recordings into clips.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posecast.data.fingerprint import ContentDigest, content_fingerprint, stamp
from posecast.data.folder_dataset import FrameFiles, RecordingFiles, list_recordings
from posecast.data.images import ImageFile, read_image_file, read_same_size
from posecast.data.prefetch import Progress, in_threads
from posecast.data.recordings import Footage, Recording, hold_out_tail
from posecast.errors import InputError
from posecast.files import WRITING, read_bytes, write_json
from posecast.system.drives import FAILING, FULL, cache_folder, flush_to_disk, locked

FORMAT = 2
"""Version of the pack format; packs of another version are rebuilt."""


@dataclass(frozen=True)
class PackedSplit:
    """Recordings of a split, and the images that they were decoded from."""

    recordings: list[Recording]
    fingerprint: str
    """Fingerprint of the images' names and contents."""
    stamp: str
    """Digest of the images' names, sizes and modification times; runs of earlier versions record it instead."""

    @property
    def fingerprints(self) -> tuple[str, str]:
        """Fingerprints by which a run may record these images."""
        return self.fingerprint, self.stamp


def load_recordings(
    root: Path, split: str, size: tuple[int, int], *, progress: Progress | None = None, threads: int | None = None
) -> list[Recording]:
    """Load the recordings of a split from their pack, after building it if it is missing or out of date.

    Args:
        root: The data set.
        split: "train" or "val".
        size: Height and width to resize to.
        progress: Called while the pack is built, with the number of decoded frames and their total.
        threads: Number of decoding threads; None for one per core.

    Raises:
        InputError: Files of the split are missing or cannot be read, or no pack can be written. No incomplete pack is
            left behind.
    """
    return load_split(Path(root), split, size, progress=progress, threads=threads).recordings


def load_footage(
    root: Path, size: tuple[int, int], *, progress: Progress | None = None, threads: int | None = None
) -> Footage:
    """Load a data set's train and val; without a folder val, the tail of every training recording is held out.

    The arguments and errors are those of `load_recordings`.
    """
    root = Path(root)
    train = load_split(root, "train", size, progress=progress, threads=threads)
    facts = {"path": str(root.resolve()), "fingerprint": train.fingerprint}
    if not (root / "val").is_dir():
        footage = hold_out_tail(train.recordings)
    else:
        validation = load_split(root, "val", size, progress=progress, threads=threads)
        facts["fingerprint_val"] = validation.fingerprint
        footage = Footage(train.recordings, validation.recordings)
    return dataclasses.replace(footage, facts=facts, former_fingerprint=train.stamp)


def load_split(
    root: Path, split: str, size: tuple[int, int], *, progress: Progress | None = None, threads: int | None = None
) -> PackedSplit:
    """Load a split with the fingerprints of its images; the arguments and errors are those of `load_recordings`.

    Modification times are a shortcut: a pack is up to date if they are those it was made with. Otherwise the contents
    of all images are compared, so that a data set that was copied is not packed again.
    """
    files = list_recordings(root, split)
    current = stamp(files)
    pack_name = f"{split}-{size[0]}x{size[1]}"
    for folder in _folders(root):
        pack = _open_pack(folder / pack_name, size)
        if pack is not None and pack.stamp == current:
            return pack
    folder = _first_writable(_folders(root), f"{pack_name}.lock")
    with locked(folder / f"{pack_name}.lock"):
        path = folder / pack_name
        files = list_recordings(root, split)  # before any image is read, so that later changes make the pack stale
        current = stamp(files)
        pack = _open_pack(path, size)  # another process may have packed meanwhile
        if pack is not None and pack.stamp == current:
            return pack
        if pack is not None and pack.fingerprint == content_fingerprint(files, progress, threads):
            _write_stamp(path, current)
            return dataclasses.replace(pack, stamp=current)
        _make_pack(path, current, files, size, progress, threads)
        pack = _open_pack(path, size)
    if pack is None:
        raise RuntimeError(f"The pack {path} cannot be read although it was just written.")
    return pack


def find_pack(root: Path, split: str, size: tuple[int, int], fingerprint: object) -> PackedSplit | None:
    """Return the pack of a split if there is one with this fingerprint; nothing else is read, and nothing is written.

    Args:
        root: The data set, which need not exist.
        split: "train" or "val".
        size: Height and width of its images.
        fingerprint: Fingerprint of contents, or of modification times, that the pack must have.
    """
    with suppress(OSError, RuntimeError, ValueError):  # a path of a damaged file: links in a circle, a null character
        for folder in _folders(root):
            pack = _open_pack(folder / f"{split}-{size[0]}x{size[1]}", size)
            if pack is not None and fingerprint in pack.fingerprints:
                return pack
    return None


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folders in which packs of a data set may lie; the second is looked for only if it is needed."""
    yield root / ".posecast"
    yield cache_folder() / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]


def _first_writable(folders: Iterator[Path], lock_name: str) -> Path:
    """Return the first folder that is not marked read-only and in which files and the lock can be opened.

    Opening is tried, because a disk may be read-only whatever the permission bits say. The bits are checked as well,
    because an administrator can write anywhere, also to footage that is meant to stay untouched.
    """
    tried = []
    for folder in folders:
        tried.append(folder)
        try:
            nearest = folder if folder.is_dir() else folder.parent
            if nearest.is_dir() and not nearest.stat().st_mode & 0o222:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=WRITING, dir=folder), open(folder / lock_name, "ab"):
                return folder
        except OSError:
            continue
    raise InputError(
        f"Neither {tried[0]} nor {tried[1]} can be written; make one of them writable, or set XDG_CACHE_HOME "
        "to a folder with space for the packed frames."
    )


def _open_pack(path: Path, size: tuple[int, int]) -> PackedSplit | None:
    """Open a pack; None if there is none, or it is damaged or of another format."""
    try:
        text = read_bytes(path / "index.json")
        index = json.loads(text)
        if index["format"] != FORMAT or index["size"] != list(size):
            return None
        frames, poses = _mapped(path / "frames.npy"), _mapped(path / "poses.npy")
        if read_bytes(path / "index.json") != text:  # replaced while it was opened
            return None
        num_frames = sum(entry["length"] for entry in index["recordings"])
        if not frames.shape == poses.shape == (num_frames, *size, 3):
            return None
        spans = [(e["name"], slice(e["start"], e["start"] + e["length"])) for e in index["recordings"]]
        recordings = [Recording(name, frames=frames[span], poses=poses[span]) for name, span in spans]
        return PackedSplit(recordings, str(index["fingerprint"]), str(index["stamp"]))
    except Exception:  # json and numpy raise nearly any exception on damaged bytes
        return None


def _mapped(path: Path) -> np.ndarray:
    """Return the array of a file, mapped from the disk; read into memory where the drive cannot map files."""
    if not path.is_file():  # opening a pipe would block
        raise FileNotFoundError(path)
    try:
        return np.load(path, mmap_mode="r")
    except OSError:
        return np.load(path)


def _make_pack(
    pack: Path,
    current: str,
    recordings: list[RecordingFiles],
    size: tuple[int, int],
    progress: Progress | None,
    threads: int | None,
) -> None:
    """Write the pack under a temporary name and rename it when it is complete; the caller holds the lock.

    An older pack is renamed, not overwritten, because other processes may have it mapped.
    """
    incomplete, outdated = pack.with_name(f"{pack.name}.new"), pack.with_name(f"{pack.name}.old")
    for leftover in (incomplete, outdated):  # of a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        incomplete.mkdir()
        fingerprint = _write_pixels(incomplete, recordings, size, progress, threads)
        header = {"format": FORMAT, "size": list(size), "fingerprint": fingerprint, "stamp": current}
        write_json(incomplete / "index.json", {**header, "recordings": _spans(recordings)})
        if pack.exists():
            pack.rename(outdated)
        incomplete.rename(pack)
    except InputError:
        raise
    except OSError as error:
        message = f"The pack {pack} could not be written ({error}); free disk space, or make the folder writable."
        if error.errno in FULL | FAILING:
            raise OSError(message) from error
        raise InputError(message) from error
    finally:
        shutil.rmtree(incomplete, ignore_errors=True)
        shutil.rmtree(outdated, ignore_errors=True)


def _write_stamp(path: Path, current: str) -> None:
    """Record that a pack is up to date; where that cannot be written, the contents are compared again next time."""
    with suppress(OSError):
        index = json.loads((path / "index.json").read_text())
        write_json(path / "index.json", {**index, "stamp": current})


def _spans(recordings: list[RecordingFiles]) -> list[dict[str, object]]:
    """Return the name of each recording and its place in the arrays."""
    spans, start = [], 0
    for recording in recordings:
        spans.append({"name": recording.name, "start": start, "length": len(recording.frames)})
        start += len(recording.frames)
    return spans


def _write_pixels(
    folder: Path,
    recordings: list[RecordingFiles],
    size: tuple[int, int],
    progress: Progress | None,
    threads: int | None,
) -> str:
    """Write all pixels and return the fingerprint of the images.

    They are decoded in parallel and written in order, so that a full disk is an error at once and leaves no gap in a
    map.
    """

    def read(job: tuple[FrameFiles, Path, tuple[int, int]]) -> tuple[FrameFiles, ImageFile, ImageFile]:
        frame, first, first_size = job
        image, label = (read_same_size(path, first, first_size, size) for path in (frame.image, frame.label))
        return frame, image, label

    jobs = []
    for recording in recordings:
        first = recording.frames[0].image
        first_size = read_image_file(first).size
        jobs += [(frame, first, first_size) for frame in recording.frames]
    contents = ContentDigest()
    with open(folder / "frames.npy", "wb") as frames, open(folder / "poses.npy", "wb") as poses:
        for file in (frames, poses):
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(jobs), *size, 3)}
            np.lib.format.write_array_header_1_0(file, header)
        for frame, image, label in in_threads(read, jobs, progress, threads):
            frames.write(image.pixels.tobytes())
            poses.write(label.pixels.tobytes())
            contents.add(frame, image.digest, label.digest)
        flush_to_disk(frames)
        flush_to_disk(poses)
    return contents.fingerprint()
