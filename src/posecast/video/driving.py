"""Whose moves, for whose body: what a rollout follows, read from pose maps, an extracted recording or a video.

In: a photo and a source of poses, as files; the trained person's `Body`. Out: a `Drive`: pictures of the model's size.
Knows no model and no torch. Next: `generate.py`, which paints it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from posecast.data.folder_dataset import read_pose_folder
from posecast.data.images import read_picture
from posecast.data.pose_maps import draw_pose_map, draw_pose_maps
from posecast.errors import InputError
from posecast.video.cropping import crop_windows, cut_out, keypoints_in
from posecast.video.keypoint_files import Poses, read_poses
from posecast.video.pose_estimation import BlazePose, Estimator, Person
from posecast.video.reader import mean_rate
from posecast.video.retargeting import BodyProportions, fit, measure_body
from posecast.video.tracking import Progress, Span, find_person
from posecast.video.tracks import only_sure, scenes

HIGHEST_RATE = 30.0
SETTLING = 8
"""A driver begins elsewhere than the photo; the person at the photo's place fades within four frames or so, so the
driver's first pose is held for so many that are not shown."""
LEGIBLE = 384
"""A smaller photo is enlarged to so many pixels before its pose is looked for."""


@dataclass(frozen=True)
class DrivingSequence:
    """What a rollout is given, in pictures of the model's size."""

    first_frame: np.ndarray = field(repr=False)
    """uint8 `[H, W, 3]`."""
    poses: np.ndarray = field(repr=False)
    """uint8 `[T, H, W, 3]`, the first frame's own first."""
    names: Sequence[str] = field(repr=False, default=())
    """What the frames that are shown are called."""
    num_unseen: int = 0
    """So many frames come first and are not shown: the photo, and those in which it gives way to the driver."""
    fps: float | None = None
    """Frames a second of what is followed, where that is known."""
    starts_s: float = 0.0
    """When in the followed video the first pose is."""


@dataclass(frozen=True)
class _Moves:
    """A driver's keypoints, with confidence 0 where a joint is left out, in pixels of `size`."""

    keypoints: np.ndarray
    size: tuple[int, int]
    fps: float
    starts_s: float = 0.0


def read_drive(
    first_frame: Path,
    poses: Path,
    size: tuple[int, int],
    body: Callable[[], BodyProportions],
    *,
    fitted: bool = True,
    first_pose: Path | None = None,
    person: int = 1,
    estimator: Estimator | None = None,
    progress: Progress | None = None,
) -> DrivingSequence:
    """Read what to follow. `size` is the model's, (height, width); `body` is asked for only where it is needed.

    `poses` is a folder of pose maps, the first of them the photo's own, taken as they are; or what `extract` wrote
    (its folder, or its poses.npz); or a video, in which the `person`-th largest is followed. The latter two are
    fitted to the body unless `fitted` is false, and the photo's own pose is `first_pose`, or the pose map that lies
    beside it in a data set, or is estimated. Raises InputError.
    """
    moves = _read_moves(poses, person, estimator, progress)
    if moves is None:
        if first_pose is not None:
            raise InputError(f"{poses} has the first frame's pose map as its first; leave --first-pose away.")
        maps, names = read_pose_folder(poses, size)
        return DrivingSequence(read_picture(first_frame, size), maps, names)
    photo, own_map = _read_photo(first_frame, first_pose, size, body, estimator)
    driver = _draw(moves, size, body if fitted else None)
    unseen = np.concatenate([own_map[None], np.repeat(driver[:1], SETTLING, axis=0)])
    names = [f"frame{k + 1:06d}" for k in range(len(driver))]
    return DrivingSequence(photo, np.concatenate([unseen, driver]), names, len(unseen), moves.fps, moves.starts_s)


def _read_moves(poses: Path, person: int, estimator: Estimator | None, progress: Progress | None) -> _Moves | None:
    """The driver's keypoints; None for a folder of pose maps."""
    table = poses / "poses.npz" if poses.is_dir() else poses
    if table.name.endswith(".npz") and table.is_file():
        return _moves_of_poses(read_poses(table))
    if poses.is_dir():
        return None
    return _moves_of_video(poses, person, estimator or BlazePose(), progress)


def _moves_of_poses(found: Poses) -> _Moves:
    """Where a window followed the person, the path is in the source only; otherwise as the pictures show them."""
    height, width = found.frame_sizes[0].astype(int).tolist()
    if found.view is None and (found.frame_sizes == found.frame_sizes[0]).all():
        return _Moves(only_sure(found.in_source()), (height, width), found.fps)
    return _Moves(only_sure(found.keypoints), found.size, found.fps)


def _moves_of_video(video: Path, person: int, estimator: Estimator, progress: Progress | None) -> _Moves:
    """Every frame from the first in which the person is seen, so that sound and moves stay together."""
    fps = min(HIGHEST_RATE, mean_rate(video))
    track = find_person(video, Span(fps), estimator, person=person, progress=progress)
    parts = scenes(track)
    if not parts:
        raise InputError(f"Nobody to follow was found in {video}; expected a person in view, large and well lit.")
    keypoints = np.zeros((len(track), *parts[0].keypoints.shape[1:]), np.float32)
    for part in parts:
        keypoints[part.first : part.first + len(part.keypoints)] = part.drawn
    height, width = track.facts["size"]
    return _Moves(keypoints[parts[0].first :], (height, width), fps, parts[0].first / fps)


def _draw(moves: _Moves, size: tuple[int, int], body: Callable[[], BodyProportions] | None) -> np.ndarray:
    """The driver's pose maps: fitted to a body, or as they are, with the window that `extract` would choose."""
    if body is not None:
        fitted = fit(moves.keypoints, body(), size[1] / size[0], moves.fps)
        return draw_pose_maps(fitted * np.array([size[0], size[0], 1.0]), size)
    crop = "whole" if moves.size[0] * size[1] == moves.size[1] * size[0] else "steady"
    windows = crop_windows(moves.keypoints, moves.size, size, crop, moves.fps)
    return draw_pose_maps(keypoints_in(moves.keypoints, windows, size), size)


# The photo --------------------------------------------------------------------------------------------------------


def _read_photo(
    first_frame: Path,
    first_pose: Path | None,
    size: tuple[int, int],
    body: Callable[[], BodyProportions],
    given: Estimator | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The photo and its pose map, in the model's size."""
    known = first_pose or pose_map_beside(first_frame)
    if known is not None:
        return read_picture(first_frame, size), read_picture(known, size)
    photo = read_picture(first_frame)
    person = _find_in_photo(photo, given or BlazePose())
    if person is None:
        raise InputError(
            f"No person was found in {first_frame}; expected one, large and well lit, or the photo's pose map "
            "by --first-pose."
        )
    keypoints = only_sure(person.keypoints)
    window = photo_window(photo.shape[:2], keypoints, size, body)
    pose_map = draw_pose_map(keypoints_in(keypoints[None], window[None], size)[0], size)
    return cut_out(photo, window, size), pose_map


def pose_map_beside(frame: Path) -> Path | None:
    """The pose map of a frame that lies in a data set of the course's layout: val_label/x.png for val_img/x.png."""
    frame = frame.absolute()
    for depth in (0, 1):  # test_img has a folder for each sequence
        folder = frame.parents[depth]
        if folder.name.endswith("_img"):
            beside = folder.with_name(folder.name.removesuffix("_img") + "_label") / frame.relative_to(folder)
            return beside if beside.is_file() else None
    return None


def _find_in_photo(photo: np.ndarray, estimator: Estimator) -> Person | None:
    """The largest person, in pixels of the photo."""
    factor = max(1, -(-LEGIBLE // min(photo.shape[:2])))
    large = np.asarray(
        Image.fromarray(photo).resize((photo.shape[1] * factor, photo.shape[0] * factor), Image.Resampling.BICUBIC)
    )
    people = estimator.everybody(large, 0, closely=True)
    if not people:
        return None
    largest = max(people, key=lambda person: float((person.box[2:] - person.box[:2]).prod()))
    keypoints = largest.keypoints * np.array([1 / factor, 1 / factor, 1.0], np.float32)
    return Person(keypoints, largest.region)


def photo_window(
    photo_size: tuple[int, ...], keypoints: np.ndarray, size: tuple[int, int], body: Callable[[], BodyProportions]
) -> np.ndarray:
    """What to cut out of a photo, `[4]`: what `extract` cut out, if the photo has the proportions of the footage.

    Otherwise all of it if it has the model's proportions; another photo is cut so that the person is as large in it,
    and stands where, the trained person usually does.
    """
    height, width = photo_size[:2]
    whole = np.array([0.0, 0.0, width, height])
    if (height, width) == size:
        return whole
    trained = body()
    if trained.view is not None and abs(width / (height * trained.view[4]) - 1) < 0.02:
        return np.array(trained.view[:4]) * [width, height, width, height]
    if abs(width * size[0] / (height * size[1]) - 1) < 0.02:
        return whole
    seen = measure_body(keypoints[None])
    both = np.isfinite(trained.lengths) & np.isfinite(seen.lengths)
    if not both.any():
        return crop_windows(keypoints[None], (height, width), size, "steady", 1.0)[0]
    window_height = float(seen.lengths[both].sum() / trained.lengths[both].sum())
    window_width = window_height * size[1] / size[0]
    by_feet = np.isfinite(seen.ground) and np.isfinite(trained.ground)
    top = seen.ground - trained.ground * window_height if by_feet else seen.y - trained.y * window_height
    return np.array([seen.x - trained.x * window_height, top, window_width, window_height])


# The trained person -----------------------------------------------------------------------------------------------
