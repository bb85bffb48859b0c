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
from PIL import Image, ImageDraw

from posecast.data.folder_dataset import picture_folders
from posecast.data.pose_maps import LIMBS, SKELETON, draw_pose_map, draw_pose_maps
from posecast.video.cropping import Crop, crop_windows, cut_out, keypoints_in
from posecast.video.reader import TimedFrame
from posecast.video.tracking import Progress, Span, moments_of
from posecast.video.tracks import Scene, Track, scenes
from posecast.video.writer import open_writer

CHUNK = 256
"""So many pose maps are drawn at once."""


@dataclass(frozen=True)
class Segment:
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


def plan_segments(tracks: Sequence[Track], size: tuple[int, int], crop: Crop, val: float) -> list[Segment]:
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
                pieces.append(Segment(video, scene.part(start, stop), windows[start:stop], split, number))
                number += stop - start + 1
    return pieces


def write_pictures(
    folder: Path,
    files: Sequence[Path],
    spans: Sequence[Span],
    pieces: Sequence[Segment],
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


def _write_pose_maps(folder: Path, pieces: Sequence[Segment], size: tuple[int, int]) -> None:
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


def _wanted(pieces: Sequence[Segment], moments: Iterator[TimedFrame]) -> Iterator[tuple[Segment, int, TimedFrame]]:
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


HEIGHT = 360


def preview_picture(
    frame: np.ndarray, keypoints: np.ndarray, window: np.ndarray, size: tuple[int, int], note: str
) -> np.ndarray:
    """The whole frame with the skeleton and the window on it, and beside it the pose map as it is drawn.

    `keypoints` `[J, 3]` have confidence 0 where they are left out; `note` is written into the corner.
    """
    scale = HEIGHT / frame.shape[0]
    width = round(frame.shape[1] * scale)
    picture = Image.fromarray(frame).resize((width, HEIGHT), Image.Resampling.BILINEAR, reducing_gap=2.0)
    brush = ImageDraw.Draw(picture)
    left, top, wide, high = (float(value) * scale for value in window)
    brush.rectangle((left, top, left + wide - 1, top + high - 1), outline=(255, 255, 255))
    shown = keypoints[:, 2] > 0
    points = keypoints[:, :2] * scale
    for parent, joint in LIMBS:
        if shown[parent] and shown[joint]:
            ends = [tuple(points[parent].tolist()), tuple(points[joint].tolist())]
            brush.line(ends, fill=SKELETON[joint].colour, width=3)
    brush.text((6, 4), note, fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
    pose_size = (HEIGHT, round(HEIGHT * size[1] / size[0]))
    drawn = draw_pose_map(keypoints_in(keypoints[None], window[None], pose_size)[0], pose_size)
    return np.concatenate([np.asarray(picture), drawn], axis=1)
