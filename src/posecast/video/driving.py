"""Poses that a rollout follows, read from pose maps, an extracted recording or a video.

In: a photo and a source of poses, as files; the trained person's `BodyProportions`. Out: a `DrivingSequence`: the first
frame and pose maps of the model's size. Next: `generate.py`, which predicts the frames.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from posecast.data.folder_dataset import read_pose_folder
from posecast.data.images import read_image
from posecast.data.pose_maps import draw_pose_map, draw_pose_maps
from posecast.errors import InputError, printable
from posecast.video.blazepose import BlazePose
from posecast.video.cropping import crop_windows, cut_out, keypoints_in
from posecast.video.diagnostics import file_remarks
from posecast.video.extracted_poses import FILE_NAME as POSES
from posecast.video.extracted_poses import Poses, read_poses
from posecast.video.generate_request import GenerateRequest
from posecast.video.pose_estimation import Estimator, Person
from posecast.video.reader import default_fps
from posecast.video.retargeting import BodyProportions, fit, measure_body
from posecast.video.tracking import Progress, Span, find_person
from posecast.video.tracks import only_sure, scenes

TRANSITION_FRAMES = 8
"""Frames for which the driver's first pose is held and that are not shown. The driver starts at another place than the
photo, and the person of the photo needs about four frames to disappear there."""
MIN_PHOTO_SIDE = 384
"""Side in pixels to which a smaller photo is enlarged before its pose is estimated."""
SAME_ASPECT = 0.02
"""Relative difference below which two aspect ratios count as equal."""

Body = Callable[[], BodyProportions]
"""Function that returns the trained person's proportions; called only if they are needed."""
Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class DrivingSequence:
    """Input of a rollout, of the model's size."""

    first_frame: np.ndarray = field(repr=False)
    """uint8 `[H, W, 3]`."""
    poses: np.ndarray = field(repr=False)
    """uint8 `[T, H, W, 3]`; the first pose is the first frame's."""
    names: Sequence[str] = field(repr=False, default=())
    """Names of the frames that are shown."""
    num_unseen: int = 0
    """Number of frames at the start that are not shown: the photo and the transition to the driver."""
    fps: float | None = None
    """Frames per second of the source; None for pose maps."""
    starts_s: float = 0.0
    """Time of the driver's first pose in the source, in seconds."""


@dataclass(frozen=True)
class _Motion:
    """A driver's keypoints `[T, J, 3]`, in pixels of `size`; joints that are not drawn have confidence 0."""

    keypoints: np.ndarray
    size: Size
    fps: float
    starts_s: float = 0.0


def read_drive(
    request: GenerateRequest,
    size: Size,
    body: Body,
    *,
    estimator: Estimator | None = None,
    progress: Progress | None = None,
) -> DrivingSequence:
    """Read the photo and the poses of a request.

    `request.poses` is one of: a folder of pose maps, the first of them the photo's own, used unchanged; what `extract`
    wrote (its folder or poses.npz); a video, in which a person is followed. Keypoints of the latter two are fitted to
    the trained person, unless the request forbids it. The photo's pose map is then `request.first_pose`, or the one
    beside the photo in a data set, or is estimated.

    Args:
        request: Photo, poses and how to use them.
        size: Height and width of the model's frames.
        body: Returns the trained person's proportions.
        estimator: Pose estimator; BlazePose if None.
        progress: Called as frames of a video are processed.

    Raises:
        InputError: A file cannot be read, nobody is found, or options contradict each other.
    """
    motion = _read_motion(request, estimator, progress)
    if motion is None:
        if request.first_pose is not None:
            raise InputError(f"{request.poses} starts with the first frame's pose map; omit --first-pose.")
        maps, names = read_pose_folder(request.poses, size)
        return DrivingSequence(read_image(request.first_frame, size), maps, names)
    photo, own_map = _read_photo(request, size, body, estimator)
    driver = _draw(motion, size, None if request.no_fit else body)
    unseen = np.concatenate([own_map[None], np.repeat(driver[:1], TRANSITION_FRAMES, axis=0)])
    names = [f"frame{k + 1:06d}" for k in range(len(driver))]
    return DrivingSequence(photo, np.concatenate([unseen, driver]), names, len(unseen), motion.fps, motion.starts_s)


def _read_motion(request: GenerateRequest, estimator: Estimator | None, progress: Progress | None) -> _Motion | None:
    """Read the driver's keypoints, or return None for a folder of pose maps."""
    poses = request.poses
    table = poses / POSES if poses.is_dir() else poses
    if table.name.endswith(".npz") and table.is_file():
        return _motion_of_poses(read_poses(table))
    if poses.is_dir():
        return None
    return _motion_of_video(poses, request.person, estimator or BlazePose(), progress)


def _motion_of_poses(poses: Poses) -> _Motion:
    """Return keypoints in pixels of the source if windows followed the person, or else in pixels of the frames."""
    height, width = poses.frame_sizes[0].astype(int).tolist()
    if poses.view is None and (poses.frame_sizes == poses.frame_sizes[0]).all():
        return _Motion(only_sure(poses.in_source()), (height, width), poses.fps)
    return _Motion(only_sure(poses.keypoints), poses.size, poses.fps)


def _motion_of_video(video: Path, person: int, estimator: Estimator, progress: Progress | None) -> _Motion:
    """Return keypoints of every frame from the first that shows the person, so that sound stays synchronous."""
    fps = default_fps(video)
    track = find_person(video, Span(fps), estimator, person=person, progress=progress)
    for _, sentence in file_remarks(track):
        warnings.warn(f"{printable(video.name)}: {sentence}", stacklevel=1)
    parts = scenes(track)
    if not parts:
        raise InputError(f"Nobody to follow was found in {video}; expected a person in view, large and well lit.")
    keypoints = np.zeros((len(track), *parts[0].keypoints.shape[1:]), np.float32)
    for scene in parts:
        keypoints[scene.first : scene.first + len(scene.keypoints)] = scene.drawn
    height, width = track.facts["size"]
    return _Motion(keypoints[parts[0].first :], (height, width), fps, parts[0].first / fps)


def _draw(motion: _Motion, size: Size, body: Body | None) -> np.ndarray:
    """Draw pose maps of the driver, fitted to a person, or unchanged in the window that `extract` would choose."""
    if body is not None:
        fitted = fit(motion.keypoints, body(), size[1] / size[0], motion.fps)
        return draw_pose_maps(fitted * np.array([size[0], size[0], 1.0]), size)
    crop = "whole" if motion.size[0] * size[1] == motion.size[1] * size[0] else "steady"
    windows = crop_windows(motion.keypoints, motion.size, size, crop, motion.fps)
    return draw_pose_maps(keypoints_in(motion.keypoints, windows, size), size)


def _read_photo(
    request: GenerateRequest, size: Size, body: Body, estimator: Estimator | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the photo and its pose map, of the model's size."""
    path = request.first_frame
    pose_path = request.first_pose or pose_map_beside(path)
    if pose_path is not None:
        return read_image(path, size), read_image(pose_path, size)
    photo = read_image(path)
    person = _find_in_photo(photo, estimator or BlazePose())
    if person is None:
        raise InputError(
            f"No person was found in {path}; expected one, large and well lit, or the photo's pose map by --first-pose."
        )
    keypoints = only_sure(person.keypoints)
    window = photo_window(photo.shape[:2], keypoints, size, body)
    pose_map = draw_pose_map(keypoints_in(keypoints[None], window[None], size)[0], size)
    return cut_out(photo, window, size), pose_map


def pose_map_beside(frame: Path) -> Path | None:
    """Return the pose map of a frame in the layout of a data folder, val_label/x.png for val_img/x.png, or None."""
    frame = frame.absolute()
    for depth in (0, 1):  # test_img has a folder for each sequence
        folder = frame.parents[depth]
        if folder.name.endswith("_img"):
            pose_map = folder.with_name(folder.name.removesuffix("_img") + "_label") / frame.relative_to(folder)
            return pose_map if pose_map.is_file() else None
    return None


def _find_in_photo(photo: np.ndarray, estimator: Estimator) -> Person | None:
    """Return the largest person, in pixels of the photo."""
    factor = max(1, -(-MIN_PHOTO_SIDE // min(photo.shape[:2])))
    enlarged_size = (photo.shape[1] * factor, photo.shape[0] * factor)
    enlarged = np.asarray(Image.fromarray(photo).resize(enlarged_size, Image.Resampling.BICUBIC))
    people = estimator.everybody(enlarged, 0, closely=True)
    if not people:
        return None
    largest = max(people, key=lambda person: float((person.box[2:] - person.box[:2]).prod()))
    keypoints = largest.keypoints * np.array([1 / factor, 1 / factor, 1.0], np.float32)
    return Person(keypoints, largest.region)


def photo_window(photo_size: tuple[int, ...], keypoints: np.ndarray, size: Size, body: Body) -> np.ndarray:
    """Choose the window that is cut out of a photo.

    A photo with the aspect ratio of the training footage gets the window of the footage. A photo with the aspect ratio
    of the model is used whole. Another photo is cut so that its person has the size and position of the trained person.

    Args:
        photo_size: Height and width of the photo.
        keypoints: Keypoints of its person, `[J, 3]`.
        size: Height and width of the model's frames.
        body: Returns the trained person's proportions.

    Returns:
        Left, top, width and height in pixels of the photo, `[4]`.
    """
    height, width = photo_size[:2]
    whole = np.array([0.0, 0.0, width, height])
    if (height, width) == size:
        return whole
    trained = body()
    if trained.view is not None and abs(width / (height * trained.view[4]) - 1) < SAME_ASPECT:
        return np.array(trained.view[:4]) * [width, height, width, height]
    if abs(width * size[0] / (height * size[1]) - 1) < SAME_ASPECT:
        return whole
    shown = measure_body(keypoints[None])
    both = np.isfinite(trained.lengths) & np.isfinite(shown.lengths)
    if not both.any():
        return crop_windows(keypoints[None], (height, width), size, "steady", 1.0)[0]
    window_height = float(shown.lengths[both].sum() / trained.lengths[both].sum())
    window_width = window_height * size[1] / size[0]
    has_ground = np.isfinite(shown.ground) and np.isfinite(trained.ground)
    top = shown.ground - trained.ground * window_height if has_ground else shown.y - trained.y * window_height
    return np.array([shown.x - trained.x * window_height, top, window_width, window_height])
