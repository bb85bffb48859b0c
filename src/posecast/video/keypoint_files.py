"""Keypoints of other estimators as an estimator: their scale, confidences and frame numbers, interpreted once per clip.

In: files that `keypoint_formats.py` reads, and the video that they belong to.
Out: `Imported`, an estimator; keypoints `[J, 3]` of `SKELETON`'s joints in pixels of the video.
Next: `tracker.py`, which follows one of the people.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np

from posecast.data.pose_maps import SURE
from posecast.errors import InputError, counted
from posecast.video.keypoint_formats import read_keypoints
from posecast.video.keypoint_orders import to_skeleton
from posecast.video.keypoint_people import RawKeypoints
from posecast.video.pose_estimation import Person, Region, overlap, without_duplicates
from posecast.video.reader import read_timed_frames, stored_frames

OPENPOSE_SURE = 0.1
"""OpenPose's confidence that counts as 0.5. Its confidences are low: it draws joints from 0.05 on, and those of 0.1 are
mostly correct."""
MAX_COORDINATE = 1e6
MAX_SHARE = 4.0
"""Coordinates that do not exceed this number are shares of the frame; joints may lie outside it."""
OUTLIERS = 0.01
"""Share of the coordinates that may contradict their scale."""
FEW_NEGATIVE, MANY_NEGATIVE = 0.1, 0.25
"""Shares of negative coordinates below which 0 is the frame's left or upper edge, and above which it is the centre."""
ASPECT_TOLERANCE = 0.03
PADDING = 64
"""Pixels by which some estimators enlarge a frame to the right and below."""
MAX_SCORE, USUAL_SCORE, MAX_PERCENT = 20.0, 2.0, 110.0
"""Largest score that is no percentage, largest usual one, and largest percentage. Networks that classify coordinates
(SimCC) have scores above 1."""
FEW_SURE = 0.3
"""Share of the joints below which there is a remark that few are sure."""
CORNER = 0.55
"""Share of width and height within which all joints lie if they are of a smaller video."""
MAX_PEOPLE = 100
"""Number of people in a frame, the most confident, that are kept."""


class Imported:
    """Estimator that returns keypoints from files, by the number of the frame in its video.

    Args:
        path: A folder with a file per frame, or the file of a clip.
        video: The video that the keypoints belong to.

    Raises:
        InputError: The files are missing, damaged, of another format, or do not fit the video.
    """

    def __init__(self, path: Path, video: Path) -> None:
        with closing(read_timed_frames(video)) as frames:
            frame_size = next(frames).frame.shape[:2]
        num_frames, stored_size = stored_frames(video)
        raw = read_keypoints(path)
        self.remarks: list[str] = []
        """Sentences about assumptions on the files, which the user can check."""
        points = _with_confidences(raw, self.remarks)
        joints = to_skeleton(_in_pixels(points, raw, frame_size, stored_size, self.remarks), raw.names, str(path))
        numbers = _numbers_in_video(raw, num_frames, self.remarks)
        _check_positions(joints, raw, frame_size, self.remarks)
        self._people = _by_frame(joints, numbers)
        content = hashlib.blake2b(joints.tobytes() + np.array(numbers).tobytes(), digest_size=6)
        self.name = f"imported from {path.name}, {content.hexdigest()}"  # so that other content is another request

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        """Return all people of a frame; see `Estimator`."""
        return without_duplicates(self._in_frame(number))

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        """Return the person whose box overlaps most with the last one; see `Estimator`."""
        return max(self._in_frame(number), key=lambda person: overlap(person.box, last.box), default=None)

    def _in_frame(self, number: int) -> list[Person]:
        region = Region(0.0, 0.0, 0.0, 0.0)  # regions are not used
        return [Person(keypoints, region) for keypoints in self._people.get(number, [])]


def _with_confidences(raw: RawKeypoints, remarks: list[str]) -> np.ndarray:
    """Return the points `[P, K, 3]` of all people with confidences in [0, 1], decided once for all; 0 where missing."""
    points = np.stack(raw.people)
    missing = ~np.isfinite(points).all(2)
    points[missing] = 0
    scores = points[:, :, 2]
    highest = float(scores.max())
    if highest > MAX_PERCENT or np.abs(points[scores > 0, :2]).max(initial=0) > MAX_COORDINATE:
        raise InputError(
            f"{raw.source} has keypoints out of range, confidences up to {highest:.4g}; expected x, y and a confidence "
            "up to 1, or up to 100 %."
        )
    if highest == 2 and np.isin(scores, (0, 1, 2)).all():
        scores /= 2  # flags of COCO: 2 is visible, 1 hidden
    elif highest > MAX_SCORE and np.median(scores[scores > 0]) > USUAL_SCORE:
        scores /= 100
        remarks.append(f"the confidences go up to {highest:.0f} and are taken for percentages.")
    elif highest > USUAL_SCORE:
        remarks.append(f"the confidences go up to {highest:.1f}; joints of {SURE:g} and more are used.")
    if raw.is_openpose:
        scores *= SURE / OPENPOSE_SURE
    np.clip(scores, 0, 1, out=scores)
    share = (scores >= SURE).sum() / max(1, (scores > 0).sum())
    if share == 0:
        least = OPENPOSE_SURE if raw.is_openpose else SURE
        raise InputError(
            f"{raw.source} has confidences up to {highest:.2g} only; expected {least:g} and more for joints that are "
            "sure."
        )
    if share < FEW_SURE:
        remarks.append(f"only {100 * share:.0f} % of the joints are sure; those of lower confidence are left out.")
    return points


def _in_pixels(
    points: np.ndarray,
    raw: RawKeypoints,
    frame_size: tuple[int, ...],
    stored_size: tuple[int, ...],
    remarks: list[str],
) -> np.ndarray:
    """Convert points `[P, K, 3]` to pixels of the video's frames, from pixels of other images or shares of the frame.

    Args:
        points: Points with confidences; their coordinates are changed.
        raw: Content of the files.
        frame_size: Height and width of the video's frames, upright and with square pixels.
        stored_size: Height and width as stored, on which other estimators work.
        remarks: List to which assumptions are appended.
    """
    sizes = (stored_size, stored_size[::-1], frame_size)
    as_stored = next(s for s in sizes if s[0] == frame_size[0] or s[1] == frame_size[1])
    video, images, stored = (np.array(size[::-1], float) for size in (frame_size, raw.size or as_stored, as_stored))
    is_padded = ((images >= video) & (images - video < PADDING)).all()
    aspects = [abs(np.log(images[0] / images[1] * size[1] / size[0])) for size in (video, stored)]
    if not is_padded and min(aspects) > ASPECT_TOLERANCE:
        raise InputError(
            f"{raw.source} is of images of {images[0]:.0f} x {images[1]:.0f}, the video has {video[0]:.0f} x "
            f"{video[1]:.0f}; expected the same proportions. Find the keypoints on the video itself."
        )
    has_position = (points[:, :, :2] != 0).any(2)
    scale = _scale_of(points[(points[:, :, 2] > 0) & has_position, :2], raw)
    if scale == "-1 to 1":
        points[:, :, :2] = (points[:, :, :2] + 1) / 2
    else:
        points[~has_position, 2] = 0  # (0, 0) stands for missing points
    if scale == "pixels":
        points[:, :, :2] *= 1 if is_padded else video / images
    else:
        points[:, :, :2] *= images if is_padded else video
        remarks.append(f"the coordinates are taken for {scale}, from edge to edge of the frame.")
    return points


def _scale_of(coordinates: np.ndarray, raw: RawKeypoints) -> Literal["pixels", "0 to 1", "-1 to 1"]:
    """Return the scale of the coordinates `[N, 2]` of all points."""
    if not len(coordinates) or np.quantile(np.abs(coordinates), 1 - OUTLIERS) > MAX_SHARE:
        return "pixels"
    negative = float((coordinates < 0).mean())
    if negative > (OUTLIERS if raw.is_openpose else MANY_NEGATIVE):  # OpenPose has no joints outside the frame
        return "-1 to 1"
    if negative > FEW_NEGATIVE:
        raise InputError(
            f"{raw.source} has normalised coordinates, {100 * negative:.0f} % of them negative, which can be of 0 to 1 "
            "or of -1 to 1; expected coordinates in pixels."
        )
    return "0 to 1"


def _numbers_in_video(raw: RawKeypoints, num_frames: int, remarks: list[str]) -> list[int]:
    """Return the number in the video of each person's frame; 0 is the video's first frame.

    Args:
        raw: Keypoints with the numbers of the files.
        num_frames: Number of the video's frames; 0 if unknown.
        remarks: List to which assumptions are appended.
    """
    lowest, highest, first = min(raw.listed), max(raw.listed), 0
    if raw.is_complete and len(raw.listed) == num_frames:
        ranks = {number: rank for rank, number in enumerate(sorted(raw.listed))}
        if highest != num_frames - 1:
            remarks.append(f"the frames are numbered {lowest} to {highest}; {lowest} is taken for the first.")
        return [ranks[number] for number in raw.frames]
    if lowest > 0 and raw.first is not None:
        first = raw.first
    elif lowest == 1 and (raw.is_complete or highest == num_frames):
        first = 1
        remarks.append("the frames are numbered from 1; 1 is taken for the video's first frame.")
    elif lowest == 1:
        remarks.append("no frame has the number 0; numbers are taken to count from 0. Check the preview.")
    if num_frames and lowest - first >= num_frames:
        raise InputError(
            f"{raw.source} is of the frames {lowest} to {highest}, but the video has "
            f"{counted(num_frames, 'frame')}, from 0; expected keypoints of this video."
        )
    beyond = highest - first - num_frames + 1
    if num_frames and beyond > 0:
        remarks.append(
            f"the numbers of the frames go up to {highest}, {beyond} beyond the end of the video, which has "
            f"{counted(num_frames, 'frame')}. If the keypoints are of another version of it, they do not fit."
        )
    if raw.is_complete and beyond < -0.1 * num_frames:
        remarks.append(f"the keypoints end with frame {highest}, but the video has {counted(num_frames, 'frame')}.")
    return [number - first for number in raw.frames]


def _by_frame(joints: np.ndarray, numbers: list[int]) -> dict[int, list[np.ndarray]]:
    """Group people who have a joint by their frames, in each frame at most `MAX_PEOPLE`, the most confident."""
    people: dict[int, list[np.ndarray]] = {}
    for keypoints, number in zip(joints, numbers, strict=True):
        if (keypoints[:, 2] > 0).any():
            people.setdefault(number, []).append(keypoints)
    for number, in_frame in people.items():
        if len(in_frame) > MAX_PEOPLE:
            people[number] = sorted(in_frame, key=lambda keypoints: -keypoints[:, 2].mean())[:MAX_PEOPLE]
    return people


def _check_positions(joints: np.ndarray, raw: RawKeypoints, frame_size: tuple[int, ...], remarks: list[str]) -> None:
    """Raise InputError if most sure joints lie outside the frame; add a remark if they all lie in one corner."""
    shares, confidences = joints[:, :, :2] / np.array(frame_size[1::-1]), joints[:, :, 2]
    sure = shares[confidences >= SURE]
    outside = float(((sure < 0) | (sure > 1)).any(1).mean()) if len(sure) else 0.0
    if outside > 0.5:
        raise InputError(
            f"In {raw.source}, {100 * outside:.0f} % of the joints lie outside the video's frame of {frame_size[1]} x "
            f"{frame_size[0]}; expected keypoints of this video, in its pixels."
        )
    if (confidences > 0).any() and (np.quantile(shares[confidences > 0], 1 - OUTLIERS, axis=0) < CORNER).all():
        remarks.append(
            "all joints lie in the upper left quarter of the frame. If the person does not, the keypoints are of a "
            "smaller version of the video; find them on the video itself."
        )
