"""The pictures of a data set cut out of videos whose person has been found.

In: files, their tracks, what is wanted. Out: pieces of scenes, each a recording of train or val, and their pictures on
disk: frames, pose maps, a preview. Knows no estimator. Next: `extract.py`, which is the whole command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from posecast.data.cropping import Crop, crop_windows, cut_out, keypoints_in
from posecast.data.folder_dataset import picture_folders
from posecast.data.images import open_writer
from posecast.data.overlay import preview_picture
from posecast.data.pose_maps import draw_pose_maps
from posecast.data.sighting import Progress, Span, moments_of
from posecast.data.tracks import Scene, Track, scenes
from posecast.data.video import Moment

CHUNK = 256
"""So many pose maps are drawn at once."""


@dataclass(frozen=True)
class Piece:
    """A part of a scene that becomes one recording of one split."""

    video: int
    """Which of the videos it is from."""
    scene: Scene
    windows: np.ndarray
    """What is cut out of each frame, `[T, 4]`; see `cropping.py`."""
    split: str
    number: int
    """What its first picture is called: frame000001 for 1."""

    def __len__(self) -> int:
        return len(self.windows)

    def name(self, k: int) -> str:
        """What the k-th picture is called."""
        return f"frame{self.number + k:06d}"

    def keypoints_px(self, size: tuple[int, int]) -> np.ndarray:
        """The keypoints in pixels of the pictures, `[T, J, 3]`, unsure ones with their low confidence."""
        return keypoints_in(self.scene.keypoints, self.windows, size)


def plan_pieces(tracks: Sequence[Track], size: tuple[int, int], crop: Crop, val: float) -> list[Piece]:
    """Every scene of every track as pieces: the last share `val` of all frames is validation, cut by time."""
    found = [(video, scene) for video, track in enumerate(tracks) for scene in scenes(track)]
    total = sum(len(scene.keypoints) for _, scene in found)
    left_for_train, pieces, number = total - round(val * total), [], 1
    for video, scene in found:
        length, frame_size = len(scene.keypoints), tracks[video].facts["size"]
        windows = crop_windows(scene.keypoints, (frame_size[0], frame_size[1]), size, crop, tracks[video].fps)
        edge = min(max(left_for_train, 0), length)
        left_for_train -= length
        for split, start, stop in (("train", 0, edge), ("val", edge, length)):
            if stop - start >= 2:  # one to start from and one to predict
                pieces.append(Piece(video, scene.part(start, stop), windows[start:stop], split, number))
                number += stop - start + 1
    return pieces


def write_pictures(
    folder: Path,
    files: Sequence[Path],
    spans: Sequence[Span],
    pieces: Sequence[Piece],
    size: tuple[int, int],
    *,
    preview: bool = False,
    progress: Progress | None = None,
) -> None:
    """Frames and pose maps of all pieces into an empty folder, in the course's layout, and a preview of each video."""
    _write_pose_maps(folder, pieces, size)
    total, done = sum(len(piece) for piece in pieces), 0
    for video, (file, span) in enumerate(zip(files, spans, strict=True)):
        mine = [piece for piece in pieces if piece.video == video]
        with ExitStack() as stack:
            writer = None
            if preview and mine:
                name = "preview.mp4" if len(files) == 1 else f"preview-{video:02d}.mp4"
                writer = stack.enter_context(open_writer(folder / name, fps=span.fps))
            moments = stack.enter_context(closing(moments_of(file, span)))
            for piece, k, moment in _wanted(mine, moments):
                picture = cut_out(moment.frame, piece.windows[k], size)
                _write_png(picture_folders(folder, piece.split)[0] / f"{piece.name(k)}.png", picture)
                if writer is not None:
                    note = f"{piece.split} {piece.name(k)}  {moment.time_s:.2f} s"
                    drawn = piece.scene.drawn[k]
                    writer.write(preview_picture(moment.frame, drawn, piece.windows[k], size, note))
                done += 1
                if progress:
                    progress("pictures", done, total)


def _write_pose_maps(folder: Path, pieces: Sequence[Piece], size: tuple[int, int]) -> None:
    for piece in pieces:
        images, labels = picture_folders(folder, piece.split)
        for home in (images, labels):
            home.mkdir(parents=True, exist_ok=True)
        keypoints = keypoints_in(piece.scene.drawn, piece.windows, size)
        for first in range(0, len(piece), CHUNK):
            for k, pose_map in enumerate(draw_pose_maps(keypoints[first : first + CHUNK], size), start=first):
                _write_png(labels / f"{piece.name(k)}.png", pose_map)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # Not by way of a temporary name: the whole folder appears at once, when all is written.
    Image.fromarray(pixels).save(path, "PNG", compress_level=1)


def _wanted(pieces: Sequence[Piece], moments: Iterator[Moment]) -> Iterator[tuple[Piece, int, Moment]]:
    """Each frame that is wanted, with its piece and its place in it."""
    waiting = iter(pieces)
    piece = next(waiting, None)
    for index, moment in enumerate(moments):
        if piece is not None and index >= piece.scene.first + len(piece):
            piece = next(waiting, None)
        if piece is None:
            return
        if index >= piece.scene.first:
            yield piece, index - piece.scene.first, moment
