"""Fingerprints of a data set's images, by which runs and packs recognise them.

In: the listed files of a split. Out: a fingerprint of names and contents, which copying does not change; a stamp of
names, sizes and modification times, which needs no reading. Next: `cache.py`, which keeps both with a pack.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from posecast.data.folder_dataset import FrameFiles, RecordingFiles
from posecast.data.images import MAX_FILE_BYTES
from posecast.data.prefetch import Progress, in_threads
from posecast.files import read_bytes

CONTENTS = "contents:"
"""Beginning of a fingerprint; what runs of earlier versions record has none."""


class ContentDigest:
    """Digest of frames in their order, each by its name without ending and the SHA-256 of its two files."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, frame: FrameFiles, image_digest: bytes, label_digest: bytes) -> None:
        """Add a frame."""
        self._digest.update(os.fsencode(frame.name) + b"\0" + image_digest + label_digest)

    def fingerprint(self) -> str:
        """Return the fingerprint of the frames added so far."""
        return CONTENTS + self._digest.hexdigest()


def content_fingerprint(
    recordings: Sequence[RecordingFiles], progress: Progress | None = None, threads: int | None = None
) -> str:
    """Return the fingerprint of a split by reading all its files.

    Args:
        recordings: Listed files of the split.
        progress: Called with the number of read frames and their total.
        threads: Number of threads; None for one per core.
    """

    def digests(frame: FrameFiles) -> tuple[FrameFiles, bytes, bytes]:
        return frame, _file_digest(frame.image), _file_digest(frame.label)

    contents = ContentDigest()
    for frame, image_digest, label_digest in in_threads(digests, _frames(recordings), progress, threads):
        contents.add(frame, image_digest, label_digest)
    return contents.fingerprint()


def _file_digest(path: Path) -> bytes:
    return hashlib.sha256(read_bytes(path, MAX_FILE_BYTES)).digest()


def stamp(recordings: Sequence[RecordingFiles]) -> str:
    """Return a digest of folder, name, size and modification time of each image: earlier versions' fingerprint."""
    frames, digest = _frames(recordings), hashlib.sha256()
    for paths in ([frame.image for frame in frames], [frame.label for frame in frames]):
        for path in sorted(paths, key=lambda path: path.name):
            status = path.stat()
            name = os.fsencode(path.parent.name) + b"/" + os.fsencode(path.name)
            digest.update(name + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _frames(recordings: Sequence[RecordingFiles]) -> list[FrameFiles]:
    return [frame for recording in recordings for frame in recording.frames]
