"""A person moved within their room: pixel for pixel where that can be said, and never anything impossible."""

import dataclasses

import numpy as np
import pytest
import torch

from posecast.data.augmentation import (
    Augmentation,
    Placement,
    RawClips,
    augment,
    blank_some,
    draw_placement,
    place,
    room_beside,
)
from posecast.data.background import measure_rooms
from posecast.data.clips import ClipCutter, as_clips, as_pixels
from posecast.data.dancer.dance import dance
from posecast.data.pose_map_colours import exchange_sides
from posecast.data.recordings import Recording

from ..conftest import moving_square, still_in

SQUARE = moving_square(24, side=32)
ROOM = torch.full((1, 3, 32, 32), 60 / 255)


def placed(placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    found = place(raw(SQUARE.frames, SQUARE.poses), ROOM, np.array([0]), [placement])
    return as_pixels(found.frames[0]), found.poses[0]


def raw(frames: np.ndarray, poses: np.ndarray, recording: int = 0) -> RawClips:
    """One clip."""
    return RawClips(as_clips(frames[None]), poses[None], np.array([recording]))


def everything(room: torch.Tensor, **changes: float) -> Augmentation:
    chances = {
        "moved": 1.0,
        "shift": 0.3,
        "scale": 0.1,
        "mirrored": 0.5,
        "blank_poses": 0.0,
    }
    return Augmentation(room, **(chances | changes))


def test_a_person_put_into_another_room_leaves_their_own_behind() -> None:
    dark, light = still_in(60, slice(10, 14)), still_in(200, slice(50, 54))
    rooms = measure_rooms([dark, light])
    found = place(raw(dark.frames[:2], dark.poses[:2]), rooms, np.array([1]), [Placement(4, 1.0, False)])
    wanted = np.full((2, 32, 64, 3), 200, np.uint8)
    wanted[:, 5:30, 14:18] = 10
    assert np.abs(as_pixels(found.frames[0]).astype(int) - wanted).max() <= 1
    assert found.recording.tolist() == [1]


def test_left_where_it_is_a_frame_stays_itself() -> None:
    frames, poses = placed(Placement(0, 1.0, False))
    assert np.array_equal(frames, SQUARE.frames)
    assert np.array_equal(poses, SQUARE.poses)


@pytest.mark.parametrize("pixels", [-5, 3])
def test_a_shift_moves_person_and_pose_by_whole_pixels_and_nothing_else(pixels: int) -> None:
    frames, poses = placed(Placement(pixels, 1.0, False))
    inside = slice(8, 24)  # away from the edges, where squares come in or go out
    source = slice(8 - pixels, 24 - pixels)
    assert np.array_equal(frames[:, :, inside], SQUARE.frames[:, :, source])
    assert np.array_equal(poses[:, :, inside], SQUARE.poses[:, :, source])


def test_the_room_stays_where_it_is() -> None:
    """A room with a pattern: after a shift only the person has moved."""
    pattern = np.random.default_rng(0).integers(100, 200, (1, 32, 32, 3)).astype(np.uint8)
    person = (SQUARE.frames != 60).any(-1, keepdims=True)
    frames = np.where(person, np.uint8(0), pattern)
    moved = place(raw(frames, SQUARE.poses), as_clips(pattern[None])[0], np.array([0]), [Placement(4, 1.0, False)])
    found = as_pixels(moved.frames[0])
    wanted = np.where(np.roll(person, 4, 2), np.uint8(0), pattern)
    assert np.array_equal(found[:, :, 8:], wanted[:, :, 8:])


def test_a_mirrored_person_has_left_and_right_exchanged() -> None:
    frames, poses = placed(Placement(0, 1.0, True))
    assert np.array_equal(frames, SQUARE.frames[:, :, ::-1])
    assert np.array_equal(poses, exchange_sides(SQUARE.poses)[:, :, ::-1])


def test_nearer_is_larger() -> None:
    person = [(frames != 60).any(-1).sum() for frames in (placed(Placement(0, s, False))[0] for s in (0.7, 1.0, 1.4))]
    assert person[0] < person[1] < person[2]


def test_frames_stay_pictures_whatever_is_drawn() -> None:
    recording = dance(40, seed=1).recording
    augmentation = everything(measure_rooms([recording]), shift=1.0, scale=0.5, blank_poses=1.0)
    here = np.zeros(20, int)
    clips = RawClips(as_clips(np.stack([recording.frames[k : k + 8] for k in range(20)])), windows_of(recording), here)
    anchors = RawClips(as_clips(recording.frames[:20, None]), recording.poses[:20, None], here)
    (frames, poses, _), (anchor, anchor_pose, _) = augment(augmentation, clips, anchors, np.arange(20))
    for pictures, shape in ((frames, (20, 8, 3, 32, 64)), (anchor, (20, 1, 3, 32, 64))):
        assert pictures.shape == shape
        assert torch.isfinite(pictures).all()
        assert float(pictures.min()) >= 0
        assert float(pictures.max()) <= 1
    assert poses.shape == (20, 10, 32, 64, 3)
    assert anchor_pose.dtype == poses.dtype == np.uint8


def windows_of(recording: Recording) -> np.ndarray:
    return np.stack([recording.poses[k : k + 10] for k in range(20)])


def test_a_clip_is_changed_by_its_own_key_whatever_is_beside_it() -> None:
    recording = dance(40, seed=1).recording
    augmentation = everything(measure_rooms([recording]), moved=0.5, blank_poses=0.5)
    cutter = ClipCutter([recording], 4, 1, augmentation)
    (plan,) = cutter.epoch(12, 12, 0, 0)
    together = cutter.cut(plan)
    for row in range(12):
        alone = cutter.cut(type(plan)(*(part[row : row + 1] for part in plan)))
        for one, several in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], several[row], rtol=0, atol=1e-6)


def test_there_is_room_up_to_the_edges_and_nobody_close_to_one_is_taken_from_it() -> None:
    poses = np.full((2, 32, 64, 3), 255, np.uint8)
    assert room_beside(poses, Placement(0, 1.0, False)) == (64, 64)  # nobody to lose
    poses[0, 10, 10] = poses[1, 10, 30] = 0  # limbs from column 10 to 30, over the whole clip
    assert room_beside(poses, Placement(0, 1.0, False)) == (10, 33)
    assert room_beside(poses, Placement(0, 1.0, True)) == (33, 10)
    assert room_beside(poses, Placement(0, 1.5, False)) == (0, 33)  # larger, about the middle
    poses[0, 10, 1] = 0  # close to the left edge
    assert room_beside(poses, Placement(0, 1.0, False)) == (1, 0)
    assert room_beside(poses, Placement(0, 1.0, True)) == (0, 1)
    poses[1, 10, 62] = 0  # and to the right one
    assert room_beside(poses, Placement(0, 1.0, False)) == (0, 0)


def test_everybody_who_is_moved_stays_in_the_picture() -> None:
    recording = dance(200, seed=3).recording
    augmentation = everything(measure_rooms([recording]), shift=1.0, scale=0.0, mirrored=0.0)
    shifts = []
    for start in range(0, 192, 8):
        clip = raw(recording.frames[start : start + 8], recording.poses[start : start + 8])
        if (clip.poses[:, :, :, [0, -1]] < 255).any():
            continue  # already cut by an edge
        placement = draw_placement(augmentation, clip.poses[0], np.random.default_rng(start))
        moved = place(clip, augmentation.rooms, clip.recording, [placement])
        shifts.append(placement.shift)
        assert (255.0 - moved.poses).sum() == (255.0 - clip.poses).sum()  # no limb has left
    assert min(shifts) < -5
    assert max(shifts) > 5


def test_poses_are_blank_as_often_as_asked() -> None:
    poses = dance(20, seed=2).recording.poses
    before = poses.copy()
    assert all(np.array_equal(blank_some(poses, 0.0, np.random.default_rng(k)), poses) for k in range(5))
    blank = [blank_some(poses, 1.0, np.random.default_rng(k)) for k in range(40)]
    shares = [float((one == 255).all((1, 2, 3)).mean()) for one in blank]
    assert 0.2 < np.mean(shares) < 0.5  # two ends drawn at random are a third apart on average
    assert np.array_equal(poses, before)


def test_a_cutter_augments_by_the_plans_key_alone() -> None:
    recording = dance(40, seed=1).recording
    plain = ClipCutter([recording], 4, 1)
    cutter = dataclasses.replace(plain, augmentation=everything(measure_rooms([recording])))
    (plan,) = cutter.epoch(3, 3, 0, 0)
    once, again, untouched = cutter.cut(plan), cutter.cut(plan), plain.cut(plan)
    other = cutter.cut(plan._replace(key=plan.key + 1))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once.frames, other.frames)
    assert not torch.equal(once.frames, untouched.frames)
    assert [part.shape for part in once] == [part.shape for part in untouched]


def test_one_clip_is_moved_as_one() -> None:
    """All frames of a clip are put at one place: a still person stays still."""
    still = Recording("still", np.repeat(SQUARE.frames[:1], 10, 0), np.repeat(SQUARE.poses[:1], 10, 0))
    cutter = ClipCutter([still], 5, 1, everything(ROOM, mirrored=0.0))
    (plan,) = cutter.epoch(4, 4, 0, 0)
    clip = cutter.cut(plan)
    assert torch.equal(clip.frames, clip.frames[:, :1].expand_as(clip.frames))
    assert torch.equal(clip.poses, clip.poses[:, :1].expand_as(clip.poses))
