"""Frames and pose maps of a data set, cut out of videos in which a person was found.

In: videos, their tracks, the size and crop of the result. Out: `Segment`s, each a recording of train or val, and their
files: frames, pose maps, a preview. Next: `extract.py`, the whole command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from posecast.data.folder_dataset import image_folders
from posecast.data.pose_maps import LIMBS, SKELETON, draw_pose_map, draw_pose_maps
from posecast.video.cropping import Crop, crop_windows, cut_out, keypoints_in
from posecast.video.reader import TimedFrame
from posecast.video.tracking import Progress, Span, frames_in_span
from posecast.video.tracks import Scene, Track, scenes
from posecast.video.writer import open_writer

POSE_MAPS_PER_BATCH = 256
PREVIEW_HEIGHT = 360
"""Height of a preview in pixels."""


@dataclass(frozen=True)
class Segment:
    """Part of a scene that becomes one recording of one split."""

    video: int
    """Index of its video."""
    scene: Scene
    windows: np.ndarray
    """Window cut out of each frame, `[T, 4]`; see `cropping.py`."""
    split: str
    number: int
    """Number in the name of its first frame: 1 for frame000001."""

    def __len__(self) -> int:
        return len(self.windows)

    def name(self, k: int) -> str:
        """Return the name of its k-th frame, counted from 0, without ending."""
        return f"frame{self.number + k:06d}"

    def keypoints_px(self, size: tuple[int, int]) -> np.ndarray:
        """Return the keypoints in pixels of the result, `[T, J, 3]`; unsure ones keep their low confidence."""
        return keypoints_in(self.scene.keypoints, self.windows, size)


def plan_segments(tracks: Sequence[Track], size: tuple[int, int], crop: Crop, val: float) -> list[Segment]:
    """Divide every scene of every track into segments for training and validation.

    Args:
        tracks: Track of each video.
        size: Height and width of the result.
        crop: Kind of window, see `crop_windows`.
        val: Share of all frames, the last ones in time, that is kept for validation.

    Returns:
        Segments of at least two frames; the numbers of their frames leave a gap between segments.
    """
    numbered_scenes = [(video, scene) for video, track in enumerate(tracks) for scene in scenes(track)]
    total = sum(len(scene.keypoints) for _, scene in numbered_scenes)
    left_for_train, segments, number = total - round(val * total), [], 1
    for video, scene in numbered_scenes:
        length, frame_size = len(scene.keypoints), tracks[video].facts["size"]
        windows = crop_windows(scene.keypoints, (frame_size[0], frame_size[1]), size, crop, tracks[video].fps)
        edge = min(max(left_for_train, 0), length)
        left_for_train -= length
        for split, start, stop in (("train", 0, edge), ("val", edge, length)):
            if stop - start >= 2:  # one frame to start from and one to predict
                segments.append(Segment(video, scene.part(start, stop), windows[start:stop], split, number))
                number += stop - start + 1
    return segments


def write_segments(
    folder: Path,
    files: Sequence[Path],
    span: Span,
    segments: Sequence[Segment],
    size: tuple[int, int],
    *,
    preview: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write frames and pose maps of all segments into an empty folder, in the layout of a data folder.

    Args:
        folder: Folder to write into.
        files: The videos.
        span: Part of each video, and the rate of its track.
        segments: Result of `plan_segments` for the tracks of the videos.
        size: Height and width of the frames.
        preview: Whether to write a preview of each video.
        progress: Called after each frame.
    """
    _write_pose_maps(folder, segments, size)
    total, done = sum(len(segment) for segment in segments), 0
    for video, file in enumerate(files):
        own = [segment for segment in segments if segment.video == video]
        with ExitStack() as stack:
            writer = None
            if preview and own:
                name = "preview.mp4" if len(files) == 1 else f"preview-{video:02d}.mp4"
                writer = stack.enter_context(open_writer(folder / name, fps=span.fps))
            frames = stack.enter_context(closing(frames_in_span(file, span)))
            for segment, k, frame in _frames_of_segments(own, frames):
                image = cut_out(frame.frame, segment.windows[k], size)
                _write_png(image_folders(folder, segment.split)[0] / f"{segment.name(k)}.png", image)
                if writer is not None:
                    note = f"{segment.split} {segment.name(k)}  {frame.time_s:.2f} s"
                    keypoints = segment.scene.drawn[k]
                    writer.write(preview_image(frame.frame, keypoints, segment.windows[k], size, note))
                done += 1
                if progress:
                    progress("frames", done, total)


def _write_pose_maps(folder: Path, segments: Sequence[Segment], size: tuple[int, int]) -> None:
    for segment in segments:
        images, labels = image_folders(folder, segment.split)
        for subfolder in (images, labels):
            subfolder.mkdir(parents=True, exist_ok=True)
        keypoints = keypoints_in(segment.scene.drawn, segment.windows, size)
        for first in range(0, len(segment), POSE_MAPS_PER_BATCH):
            pose_maps = draw_pose_maps(keypoints[first : first + POSE_MAPS_PER_BATCH], size)
            for k, pose_map in enumerate(pose_maps, start=first):
                _write_png(labels / f"{segment.name(k)}.png", pose_map)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # Not atomic: the folder is moved to its place when it is complete.
    Image.fromarray(pixels).save(path, "PNG", compress_level=1)


def _frames_of_segments(
    segments: Sequence[Segment], frames: Iterator[TimedFrame]
) -> Iterator[tuple[Segment, int, TimedFrame]]:
    """Yield each frame that belongs to a segment, with the segment and the frame's index in it."""
    remaining = iter(segments)
    segment = next(remaining, None)
    for index, frame in enumerate(frames):
        if segment is not None and index >= segment.scene.first + len(segment):
            segment = next(remaining, None)
        if segment is None:
            return
        if index >= segment.scene.first:
            yield segment, index - segment.scene.first, frame


def preview_image(
    frame: np.ndarray, keypoints: np.ndarray, window: np.ndarray, size: tuple[int, int], note: str
) -> np.ndarray:
    """Draw skeleton and window on the whole frame, and the pose map beside it.

    Args:
        frame: uint8 `[H, W, 3]`.
        keypoints: `[J, 3]` in pixels of the frame; joints of confidence 0 are not drawn.
        window: Left, top, width and height in pixels of the frame, `[4]`.
        size: Height and width of the data set's frames.
        note: Text in the upper left corner.
    """
    scale = PREVIEW_HEIGHT / frame.shape[0]
    width = round(frame.shape[1] * scale)
    resized = Image.fromarray(frame).resize((width, PREVIEW_HEIGHT), Image.Resampling.BILINEAR, reducing_gap=2.0)
    brush = ImageDraw.Draw(resized)
    left, top, wide, high = (float(value) * scale for value in window)
    brush.rectangle((left, top, left + wide - 1, top + high - 1), outline=(255, 255, 255))
    visible = keypoints[:, 2] > 0
    points = keypoints[:, :2] * scale
    for parent, joint in LIMBS:
        if visible[parent] and visible[joint]:
            ends = [tuple(points[parent].tolist()), tuple(points[joint].tolist())]
            brush.line(ends, fill=SKELETON[joint].colour, width=3)
    brush.text((6, 4), note, fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
    pose_size = (PREVIEW_HEIGHT, round(PREVIEW_HEIGHT * size[1] / size[0]))
    pose_map = draw_pose_map(keypoints_in(keypoints[None], window[None], pose_size)[0], pose_size)
    return np.concatenate([np.asarray(resized), pose_map], axis=1)
