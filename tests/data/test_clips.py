"""Clips: windows, anchors, pose windows, and conversion between uint8 and float."""

import numpy as np
import pytest
import torch

from posecast.data.clips import ClipCutter, ClipPlan, as_images, as_pixels, pose_windows
from posecast.data.recordings import Recording, hold_out_tail
from posecast.errors import InputError


def numbered(num_frames: int, first: int = 0) -> Recording:
    """Return a recording whose pixels hold the frame index plus `first`; in pose maps plus 100 more."""
    frames = np.arange(first, first + num_frames, dtype=np.uint8)[:, None, None, None]
    shape = (num_frames, 8, 8, 3)
    return Recording(f"from {first}", np.broadcast_to(frames, shape), np.broadcast_to(frames + 100, shape))


def test_pixels_survive_conversion_to_float_and_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 16, 3), dtype=np.uint8)
    images = as_images(pixels)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(as_pixels(images), pixels)


def test_as_pixels_clamps_and_rounds_to_the_nearest() -> None:
    values = torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 1.5]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert as_pixels(values)[0, :, :, 0].tolist() == [[0, 0], [1, 255]]


def test_pose_windows_stack_neighbours_and_repeat_the_ends() -> None:
    poses = numbered(5).poses
    windows = pose_windows(poses, np.array([0, 2, 4]), 1)
    values = (windows[:, ::3, 0, 0] * 255).round().int().tolist()
    assert windows.shape == (3, 9, 8, 8)
    assert values == [[100, 100, 101], [101, 102, 103], [103, 104, 104]]


def test_a_window_of_zero_is_the_pose_map_itself() -> None:
    poses = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    assert torch.equal(pose_windows(poses, np.arange(4), 0), as_images(poses))


def test_cut_returns_the_planned_frames() -> None:
    cutter = ClipCutter([numbered(10), numbered(10, first=50)], clip_length=3, pose_window=0)
    clip = cutter.cut(ClipPlan(*np.array([[0, 1], [4, 7], [9, 2], [0, 0]])))
    assert (clip.frames[:, :, 0, 0, 0] * 255).round().int().tolist() == [[4, 5, 6], [57, 58, 59]]
    assert (clip.poses[:, :, 0, 0, 0] * 255).round().int().tolist() == [[104, 105, 106], [157, 158, 159]]
    assert (clip.anchor_frame[:, 0, 0, 0] * 255).round().int().tolist() == [9, 52]
    assert (clip.anchor_pose[:, 0, 0, 0] * 255).round().int().tolist() == [109, 152]


def test_an_epoch_uses_every_overlapping_start_once_and_stays_within_recordings() -> None:
    cutter = ClipCutter([numbered(10), numbered(6, first=50)], clip_length=4, pose_window=0)
    plans = list(cutter.epoch(num_clips=10, batch_size=4, seed=1, epoch=0))
    assert [len(plan.start) for plan in plans] == [4, 4, 2]
    rows = {(r, s) for plan in plans for r, s in zip(plan.recording, plan.start, strict=True)}
    assert rows == {(0, s) for s in range(7)} | {(1, s) for s in range(3)}
    lengths = np.array([10, 6])
    assert all((plan.anchor < lengths[plan.recording]).all() for plan in plans)


def test_an_epoch_depends_only_on_seed_and_index() -> None:
    cutter = ClipCutter([numbered(30)], clip_length=4, pose_window=0)

    def starts(seed: int, epoch: int) -> list[int]:
        return [s for plan in cutter.epoch(16, 4, seed, epoch) for s in plan.start]

    assert starts(1, 2) == starts(1, 2)
    assert starts(1, 2) != starts(1, 3)
    assert starts(1, 2) != starts(2, 2)


def test_starts_repeat_only_after_all_are_used() -> None:
    cutter = ClipCutter([numbered(6)], clip_length=4, pose_window=0)
    starts = [s for plan in cutter.epoch(7, 7, 0, 0) for s in plan.start]
    assert [sorted(starts[:3]), sorted(starts[3:6])] == [[0, 1, 2], [0, 1, 2]]
    assert len(starts) == 7


def test_too_short_recordings_and_mixed_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="longest recording has 5"):
        ClipCutter([numbered(5)], clip_length=6, pose_window=0)
    small = Recording("small", np.zeros((5, 4, 4, 3), np.uint8), np.zeros((5, 4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="one size"):
        ClipCutter([numbered(5), small], clip_length=3, pose_window=0)


def test_a_cutter_of_another_length_cuts_the_same_footage() -> None:
    cutter = ClipCutter([numbered(10)], clip_length=6, pose_window=0)
    assert cutter.of_length(2).cut(ClipPlan(*np.zeros((4, 1), int))).frames.shape[1] == 2
    assert len({s for plan in cutter.of_length(2).epoch(9, 9, 0, 0) for s in plan.start}) == 9


def test_a_held_out_tail_shares_no_frame_with_training() -> None:
    footage = hold_out_tail([numbered(40), numbered(3, first=60)])
    (train,), (tail,) = footage.train, footage.validation
    assert (len(train), len(tail)) == (36, 4)
    assert train.frames[-1].max() < tail.frames[0].min()
    assert footage.selected_on == "train tail"
