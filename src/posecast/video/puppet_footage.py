"""Footage of a data set for a puppet page: a photo, and its recordings as dances.

In: a data set of `posecast extract`, of `posecast synth`, or of images and pose maps alone.
Out: `PuppetFootage`. Joints come from poses.npz, from the specification of the synthetic dancer, or, where there are
pose maps alone, from a standing person of the same height. Next: `export/page.py`, which writes the page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from posecast.data.cache import load_recordings
from posecast.data.dancer.dance import synthesise
from posecast.data.dancer.dataset import MARKER, Choreography
from posecast.data.dancer.kinematics import CHANNELS, Build, pose_joints
from posecast.data.folder_dataset import list_recordings
from posecast.data.pose_maps import SURE, draw_pose_map
from posecast.data.recordings import Recording
from posecast.errors import InputError
from posecast.export.page import MAX_DANCES, PuppetFootage, RecordedDance
from posecast.files import read_json
from posecast.video.extracted_poses import FILE_NAME as POSES
from posecast.video.extracted_poses import read_poses
from posecast.video.retargeting import body_of_maps, fit

USUAL_FPS = 28.0
"""Frames per second where the data set does not state them; about those of the dancer and of the course's footage."""
MAX_FRAMES = 1200
"""Longest dance in a page; later frames are left out."""
MOST_MAPS = 500
"""Pose maps that a standing person's height is measured on."""
LARGEST_DIFFERENCE = 12.0
"""Largest mean difference between a stored pose map and one drawn from keypoints, of 255."""


def puppet_footage(data: Path, size: tuple[int, int]) -> PuppetFootage:
    """Read a photo and dances; the photo is the first frame of val (else of train) that shows the most joints.

    Args:
        data: The data set.
        size: Height and width of the run.

    Raises:
        InputError: The data set cannot be read.
    """
    splits = [split for split in ("val", "train") if (data / split).is_dir()]
    recordings = [
        (split, k, recording) for split in splits for k, recording in enumerate(load_recordings(data, split, size))
    ][:MAX_DANCES]
    if not recordings:
        raise InputError(f"{data} has no folder train or val; expected a data set, as 'posecast extract' makes it.")
    keypoints, fps = _keypoints(data, [(split, k) for split, k, _ in recordings], size)
    first = recordings[0][2]
    joints = _fitting(keypoints[0], first)
    start = 0 if joints is None else int(np.isfinite(joints[: len(joints) // 2 + 1, :, 0]).sum(1).argmax())
    dances = []
    for number, (split, k, recording) in enumerate(recordings):
        begin = start + 1 if number == 0 else 0
        rows = slice(begin, begin + MAX_FRAMES)
        points = _fitting(keypoints[number], recording)
        if len(recording) > begin:
            name = f"{split} {k + 1}"
            maps = None if points is not None else np.asarray(recording.poses[rows])
            dances.append(RecordedDance(name, None if points is None else points[rows], maps))
    shown = _standing(first) if joints is None else joints[start]
    photo, pose = np.array(first.frames[start]), np.array(first.poses[start])
    return PuppetFootage(photo, pose, shown, joints is not None, dances, fps)


def _keypoints(
    data: Path, wanted: Sequence[tuple[str, int]], size: tuple[int, int]
) -> tuple[list[np.ndarray | None], float]:
    """Return the joints `[T, J, 2]` of recordings, given by split and number, and the frames per second."""
    if (data / POSES).is_file():
        return _extracted(data, wanted, size)
    if (data / MARKER).is_file():
        return _synthetic(data, wanted, size), USUAL_FPS
    return [None] * len(wanted), USUAL_FPS


def _extracted(
    data: Path, wanted: Sequence[tuple[str, int]], size: tuple[int, int]
) -> tuple[list[np.ndarray | None], float]:
    poses = read_poses(data / POSES)
    rows = {name: row for row, name in enumerate(poses.names)}
    files = {split: list_recordings(data, split) for split in {split for split, _ in wanted}}
    tables: list[np.ndarray | None] = []
    for split, k in wanted:
        names = [f"{split}/{frame.name}" for frame in files[split][k].frames]
        known = all(name in rows for name in names)
        tables.append(_scaled(poses.keypoints[[rows[name] for name in names]], poses.size, size) if known else None)
    return tables, poses.fps


def _synthetic(data: Path, wanted: Sequence[tuple[str, int]], size: tuple[int, int]) -> list[np.ndarray | None]:
    """Compute the keypoints of the dancer again, from the specification of the data set."""
    content = read_json(data / MARKER, "the specification of a synthetic data set")
    try:
        names = ("sequences", "frames", "seed", "look", "looks")
        numbers = {name: int(content[name]) for name in names}
        height, width = (int(side) for side in content["size"])
        choreography = Choreography(**numbers, size=(height, width), hidden=float(content["hidden"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{data / MARKER} is damaged ({error!r}); run 'posecast synth' again.") from error
    c = choreography
    train, val = synthesise(c.sequences, c.frames, c.size, c.seed, c.look, c.hidden, c.looks)
    dances = {("val", 0): val, **{("train", k): dance for k, dance in enumerate(train)}}
    return [_scaled(dances[key].keypoints, c.size, size) if key in dances else None for key in wanted]


def _scaled(keypoints: np.ndarray, drawn: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Return the sure joints of keypoints `[T, J, 3]` in pixels of another size, NaN elsewhere."""
    sure = np.where(keypoints[:, :, 2:] >= SURE, keypoints[:, :, :2], np.nan)
    return (sure * np.array([size[1] / drawn[1], size[0] / drawn[0]])).astype(np.float32)


def _fitting(joints: np.ndarray | None, recording: Recording) -> np.ndarray | None:
    """Return joints if they are those of a recording's pose maps, as far as its first frame shows."""
    if joints is None or len(joints) != len(recording):
        return None
    drawn = draw_pose_map(joints[0], recording.size).astype(float)
    return joints if np.abs(drawn - recording.poses[0]).mean() <= LARGEST_DIFFERENCE else None


def _standing(recording: Recording) -> np.ndarray:
    """Return the joints `[J, 2]` of a standing person as tall as pose maps show, where the first one shows them."""
    height, width = recording.size
    every = max(1, len(recording) // MOST_MAPS)
    body = body_of_maps(recording.poses[::every])
    first_x = body_of_maps(recording.poses[:1]).x
    if np.isfinite(first_x):
        body = dataclasses.replace(body, x=first_x)
    joints = pose_joints({channel: np.zeros(1) for channel in CHANNELS}, Build())  # [1, J, 3], y upwards
    keypoints = np.stack([joints[:, :, 0], -joints[:, :, 1], np.ones(joints.shape[:2])], axis=2)
    return fit(keypoints, body, width / height, USUAL_FPS)[0, :, :2] * height
