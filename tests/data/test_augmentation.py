"""Augmentation of clips: exact pixels where they can be predicted, and valid images everywhere."""

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
    free_pixels,
    place,
)
from posecast.data.background import measure_backgrounds
from posecast.data.clips import ClipCutter, as_clips, as_pixels
from posecast.data.dancer.dance import dance
from posecast.data.limb_recognition import exchange_sides
from posecast.data.recordings import Recording

from ..conftest import moving_square, still_in

SQUARE = moving_square(24, side=32)
BACKGROUND = torch.full((1, 3, 32, 32), 60 / 255)


def placed(placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Return frames and pose maps of `SQUARE` after a placement."""
    clips = place(raw(SQUARE.frames, SQUARE.poses), BACKGROUND, np.array([0]), [placement])
    return as_pixels(clips.frames[0]), clips.poses[0]


def raw(frames: np.ndarray, poses: np.ndarray, recording: int = 0) -> RawClips:
    """Return a batch of one clip."""
    return RawClips(as_clips(frames[None]), poses[None], np.array([recording]))


def augmentation_of(backgrounds: torch.Tensor, **changes: float) -> Augmentation:
    """Return an augmentation that moves every person, with some settings changed."""
    defaults = {"shift_prob": 1.0, "max_shift": 0.3, "max_scale": 0.1, "flip_prob": 0.5, "pose_dropout": 0.0}
    return Augmentation(backgrounds, **(defaults | changes))


def test_a_person_placed_before_another_background_leaves_their_own() -> None:
    dark, light = still_in(60, slice(10, 14)), still_in(200, slice(50, 54))
    backgrounds = measure_backgrounds([dark, light])
    clips = place(raw(dark.frames[:2], dark.poses[:2]), backgrounds, np.array([1]), [Placement(4, 1.0, False)])
    expected = np.full((2, 32, 64, 3), 200, np.uint8)
    expected[:, 5:30, 14:18] = 10
    assert np.abs(as_pixels(clips.frames[0]).astype(int) - expected).max() <= 1
    assert clips.recording.tolist() == [1]


def test_an_identity_placement_changes_nothing() -> None:
    frames, poses = placed(Placement(0, 1.0, False))
    assert np.array_equal(frames, SQUARE.frames)
    assert np.array_equal(poses, SQUARE.poses)


@pytest.mark.parametrize("pixels", [-5, 3])
def test_a_shift_moves_person_and_pose_by_whole_pixels(pixels: int) -> None:
    frames, poses = placed(Placement(pixels, 1.0, False))
    inside = slice(8, 24)  # away from the edges, where squares enter or leave
    source = slice(8 - pixels, 24 - pixels)
    assert np.array_equal(frames[:, :, inside], SQUARE.frames[:, :, source])
    assert np.array_equal(poses[:, :, inside], SQUARE.poses[:, :, source])


def test_the_background_does_not_move() -> None:
    """With a patterned background, a shift moves only the person."""
    pattern = np.random.default_rng(0).integers(100, 200, (1, 32, 32, 3)).astype(np.uint8)
    person = (SQUARE.frames != 60).any(-1, keepdims=True)
    frames = np.where(person, np.uint8(0), pattern)
    moved = place(raw(frames, SQUARE.poses), as_clips(pattern[None])[0], np.array([0]), [Placement(4, 1.0, False)])
    expected = np.where(np.roll(person, 4, 2), np.uint8(0), pattern)
    assert np.array_equal(as_pixels(moved.frames[0])[:, :, 8:], expected[:, :, 8:])


def test_a_mirrored_person_has_left_and_right_exchanged() -> None:
    frames, poses = placed(Placement(0, 1.0, True))
    assert np.array_equal(frames, SQUARE.frames[:, :, ::-1])
    assert np.array_equal(poses, exchange_sides(SQUARE.poses)[:, :, ::-1])


def test_a_larger_scale_gives_a_larger_person() -> None:
    person = [(frames != 60).any(-1).sum() for frames in (placed(Placement(0, s, False))[0] for s in (0.7, 1.0, 1.4))]
    assert person[0] < person[1] < person[2]


def test_augmented_clips_are_valid_for_any_draw() -> None:
    recording = dance(40, seed=1).recording
    augmentation = augmentation_of(measure_backgrounds([recording]), max_shift=1.0, max_scale=0.5, pose_dropout=1.0)
    recording_index = np.zeros(20, int)
    clips = RawClips(
        as_clips(np.stack([recording.frames[k : k + 8] for k in range(20)])), windows_of(recording), recording_index
    )
    anchors = RawClips(as_clips(recording.frames[:20, None]), recording.poses[:20, None], recording_index)
    (frames, poses, _), (anchor, anchor_pose, _) = augment(augmentation, clips, anchors, np.arange(20))
    for images, shape in ((frames, (20, 8, 3, 32, 64)), (anchor, (20, 1, 3, 32, 64))):
        assert images.shape == shape
        assert torch.isfinite(images).all()
        assert float(images.min()) >= 0
        assert float(images.max()) <= 1
    assert poses.shape == (20, 10, 32, 64, 3)
    assert anchor_pose.dtype == poses.dtype == np.uint8


def windows_of(recording: Recording) -> np.ndarray:
    return np.stack([recording.poses[k : k + 10] for k in range(20)])


def test_augmentation_of_a_clip_does_not_depend_on_its_batch() -> None:
    recording = dance(40, seed=1).recording
    augmentation = augmentation_of(measure_backgrounds([recording]), shift_prob=0.5, pose_dropout=0.5)
    cutter = ClipCutter([recording], 4, 1, augmentation)
    (plan,) = cutter.epoch(12, 12, 0, 0)
    together = cutter.cut(plan)
    for row in range(12):
        alone = cutter.cut(type(plan)(*(part[row : row + 1] for part in plan)))
        for single, batched in zip(alone, together, strict=True):
            torch.testing.assert_close(single[0], batched[row], rtol=0, atol=1e-6)


def test_free_pixels_end_at_the_edges_and_keep_a_person_close_to_an_edge_there() -> None:
    poses = np.full((2, 32, 64, 3), 255, np.uint8)
    assert free_pixels(poses, Placement(0, 1.0, False)) == (64, 64)  # no limbs
    poses[0, 10, 10] = poses[1, 10, 30] = 0  # limbs from column 10 to 30, over all pose maps
    assert free_pixels(poses, Placement(0, 1.0, False)) == (10, 33)
    assert free_pixels(poses, Placement(0, 1.0, True)) == (33, 10)
    assert free_pixels(poses, Placement(0, 1.5, False)) == (0, 33)  # larger, about the middle
    poses[0, 10, 1] = 0  # close to the left edge
    assert free_pixels(poses, Placement(0, 1.0, False)) == (1, 0)
    assert free_pixels(poses, Placement(0, 1.0, True)) == (0, 1)
    poses[1, 10, 62] = 0  # and to the right edge
    assert free_pixels(poses, Placement(0, 1.0, False)) == (0, 0)


def test_a_moved_person_stays_inside_the_image() -> None:
    recording = dance(200, seed=3).recording
    augmentation = augmentation_of(measure_backgrounds([recording]), max_shift=1.0, max_scale=0.0, flip_prob=0.0)
    shifts = []
    for start in range(0, 192, 8):
        clip = raw(recording.frames[start : start + 8], recording.poses[start : start + 8])
        if (clip.poses[:, :, :, [0, -1]] < 255).any():
            continue  # already cut by an edge
        placement = draw_placement(augmentation, clip.poses[0], np.random.default_rng(start))
        moved = place(clip, augmentation.backgrounds, clip.recording, [placement])
        shifts.append(placement.shift)
        assert (255.0 - moved.poses).sum() == (255.0 - clip.poses).sum()  # no limb has left the image
    assert min(shifts) < -5
    assert max(shifts) > 5


def test_pose_maps_are_blanked_with_the_given_probability() -> None:
    poses = dance(20, seed=2).recording.poses
    before = poses.copy()
    assert all(np.array_equal(blank_some(poses, 0.0, np.random.default_rng(k)), poses) for k in range(5))
    blank = [blank_some(poses, 1.0, np.random.default_rng(k)) for k in range(40)]
    shares = [float((maps == 255).all((1, 2, 3)).mean()) for maps in blank]
    assert 0.2 < np.mean(shares) < 0.5  # two random ends are a third apart on average
    assert np.array_equal(poses, before)


def test_a_cutter_augments_by_the_key_of_the_plan() -> None:
    recording = dance(40, seed=1).recording
    plain = ClipCutter([recording], 4, 1)
    cutter = dataclasses.replace(plain, augmentation=augmentation_of(measure_backgrounds([recording])))
    (plan,) = cutter.epoch(3, 3, 0, 0)
    once, again, untouched = cutter.cut(plan), cutter.cut(plan), plain.cut(plan)
    other = cutter.cut(plan._replace(key=plan.key + 1))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once.frames, other.frames)
    assert not torch.equal(once.frames, untouched.frames)
    assert [part.shape for part in once] == [part.shape for part in untouched]


def test_all_frames_of_a_clip_are_moved_alike() -> None:
    """A person who does not move still does not move after augmentation."""
    still = Recording("still", np.repeat(SQUARE.frames[:1], 10, 0), np.repeat(SQUARE.poses[:1], 10, 0))
    cutter = ClipCutter([still], 5, 1, augmentation_of(BACKGROUND, flip_prob=0.0))
    (plan,) = cutter.epoch(4, 4, 0, 0)
    clip = cutter.cut(plan)
    assert torch.equal(clip.frames, clip.frames[:, :1].expand_as(clip.frames))
    assert torch.equal(clip.poses, clip.poses[:, :1].expand_as(clip.poses))
