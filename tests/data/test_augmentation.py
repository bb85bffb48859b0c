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
    draw_colours,
    draw_placement,
    place,
    recolour,
    room_beside,
    splice,
    spoil_poses,
)
from posecast.data.clips import ClipCutter, as_clips, as_pixels
from posecast.data.dancer import dance
from posecast.data.limbs import exchange_sides
from posecast.data.recordings import Recording
from posecast.data.rooms import measure_rooms

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
        "spliced": 0.0,
        "moved": 1.0,
        "shift": 0.3,
        "scale": 0.1,
        "mirrored": 0.5,
        "drop_limbs": 0.0,
        "blank_poses": 0.0,
        "recoloured": 0.0,
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
    augmentation = everything(
        measure_rooms([recording]), spliced=1.0, shift=1.0, scale=0.5, drop_limbs=1.0, blank_poses=1.0
    )
    here = np.zeros(20, int)
    clips = RawClips(as_clips(np.stack([recording.frames[k : k + 8] for k in range(20)])), windows_of(recording), here)
    anchors = RawClips(as_clips(recording.frames[:20, None]), recording.poses[:20, None], here)
    others = RawClips(clips.frames.flip(0), clips.poses[::-1], here)
    (frames, poses, _), (anchor, anchor_pose, _) = augment(
        augmentation, clips, anchors, lambda generators: others, np.arange(20)
    )
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
    augmentation = everything(measure_rooms([recording]), spliced=0.5, moved=0.5, drop_limbs=0.5, blank_poses=0.5)
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


def test_poses_are_spoilt_as_often_as_asked() -> None:
    poses = dance(20, seed=2).recording.poses
    limbs, blanks, none = (
        everything(ROOM, drop_limbs=limbs, blank_poses=blanks) for limbs, blanks in ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
    )
    before = poses.copy()
    assert all(np.array_equal(spoil_poses(poses, none, np.random.default_rng(k)), poses) for k in range(5))
    blank = [spoil_poses(poses, blanks, np.random.default_rng(k)) for k in range(40)]
    shares = [float((one == 255).all((1, 2, 3)).mean()) for one in blank]
    assert 0.2 < np.mean(shares) < 0.5  # two ends drawn at random are a third apart on average
    spoilt = [spoil_poses(poses, limbs, np.random.default_rng(k)) for k in range(40)]
    assert all((one >= poses).all() for one in spoilt)  # ink is only ever taken away
    assert 0.05 < np.mean([(255.0 - one).sum() / (255.0 - poses).sum() for one in spoilt]) < 0.97
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


def splice_one(
    augmentation: Augmentation, mine: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], key: int
) -> tuple[np.ndarray, np.ndarray]:
    found = splice(augmentation, raw(*mine), raw(*other), [np.random.default_rng(key)])
    return as_pixels(found.frames[0]), found.poses[0]


def test_spliced_with_itself_a_clip_stays_itself() -> None:
    clip = SQUARE.frames[:4], SQUARE.poses[:6]
    for key in range(10):
        frames, poses = splice_one(everything(ROOM, mirrored=0.0), clip, clip, key)
        assert np.array_equal(frames, clip[0])
        assert np.array_equal(poses, clip[1])


def test_spliced_parts_are_cut_alike_in_frames_and_poses() -> None:
    """A black and a white person in one room: what is white has the white person's limbs, and nothing else has."""
    room = np.full((2, 32, 64, 3), 128, np.uint8)

    def person(column: int, value: int, limb: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        frames, poses = room.copy(), np.full_like(room, 255)
        frames[:, 6:28, column : column + 6], poses[:, 6:28, column : column + 6] = value, limb
        return frames, poses

    black, white = person(20, 0, (255, 0, 0)), person(40, 255, (0, 0, 255))
    augmentation = everything(torch.full((1, 3, 32, 64), 128 / 255), mirrored=0.0)
    shares = []
    for key in range(20):
        pixels, poses = splice_one(augmentation, black, white, key)
        is_white, is_black = (pixels == 255).all(-1), (pixels == 0).all(-1)
        assert np.array_equal(is_white, (poses == (0, 0, 255)).all(-1))
        assert np.array_equal(is_black, (poses == (255, 0, 0)).all(-1))
        assert (is_white | is_black)[:, 6:28, 20:26].all()  # put exactly where the first person stood
        shares.append(is_white[:, 6:28, 20:26].mean())
    assert min(shares) > 0.2
    assert max(shares) < 0.8


def test_nothing_is_spliced_without_limbs() -> None:
    square, nobody = (SQUARE.frames[:4], SQUARE.poses[:4]), (SQUARE.frames[4:8], np.full_like(SQUARE.poses[:4], 255))
    for mine, other in ((nobody, square), (square, nobody)):
        frames, poses = splice_one(everything(ROOM), mine, other, 0)
        assert np.array_equal(frames, mine[0])
        assert np.array_equal(poses, mine[1])


def test_a_turn_of_hues_keeps_greys_and_what_is_black_or_white() -> None:
    greys = torch.linspace(0, 1, 12).view(1, 1, 1, 3, 4).expand(1, 2, 3, 3, 4)
    clip = RawClips(greys, np.zeros((1, 2, 3, 4, 3), np.uint8), np.array([0]))
    colours = draw_colours(np.random.default_rng(3))
    untouched = colours._replace(gamma=np.ones(3))
    torch.testing.assert_close(recolour(clip, [untouched]).frames, greys)
    ends = recolour(clip, [colours]).frames.flatten(3)[..., [0, -1]]
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0]).expand_as(ends), atol=1e-5, rtol=0)
    assert np.allclose(colours.mixture @ colours.mixture.T, np.eye(3))  # a rotation: no colour is lost


def test_clip_and_anchor_are_seen_in_the_same_colours_and_poses_stay() -> None:
    recording = dance(16, seed=1).recording
    augmentation = everything(measure_rooms([recording]), moved=0.0, recoloured=1.0)
    clips = RawClips(as_clips(recording.frames[None, :8]), recording.poses[None, :8], np.array([0]))
    anchors = RawClips(as_clips(recording.frames[None, :1]), recording.poses[None, :1], np.array([0]))
    found, anchor = augment(augmentation, clips, anchors, lambda generators: clips, np.array([[1, 2]]))
    assert torch.equal(found.frames[:, :1], anchor.frames)
    assert (found.frames - clips.frames).abs().mean() > 0.02
    assert np.array_equal(found.poses, clips.poses)
    other, _ = augment(augmentation, clips, anchors, lambda generators: clips, np.array([[1, 3]]))
    assert not torch.allclose(other.frames, found.frames)


def test_recolouring_draws_last() -> None:
    """What else is drawn does not depend on it, so a run without it is what it was before it was there."""
    recording = dance(24, seed=1).recording
    clips = RawClips(as_clips(recording.frames[None, :8]), recording.poses[None, :8], np.array([0]))
    found = [
        augment(
            everything(measure_rooms([recording]), blank_poses=1.0, recoloured=share),
            clips,
            clips,
            lambda generators: clips,
            np.array([[1, 2]]),
        )[0]
        for share in (0.0, 1.0)
    ]
    assert np.array_equal(found[0].poses, found[1].poses)
    assert not torch.equal(found[0].frames, found[1].frames)
