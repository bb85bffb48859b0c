"""The synthetic dancer: deterministic, smooth, inside the image, with the stated hidden factors."""

from __future__ import annotations

import numpy as np
import pytest

from posecast.data.dancer.dance import Dance, ceiling_psnr_db, dance, hidden_arrays, hidden_factors, synthesise
from posecast.data.dancer.renderer import CHOSEN_LOOKS, look_of, render_person
from posecast.data.pose_maps import JOINT_INDEX, draw_pose_maps
from posecast.errors import InputError


@pytest.fixture(scope="module")
def usual() -> Dance:
    return dance(1400, seed=5)


def test_equal_arguments_give_equal_bytes_and_a_shorter_dance_is_a_prefix(usual: Dance) -> None:
    again, shorter = dance(1400, seed=5), dance(90, seed=5)
    np.testing.assert_array_equal(usual.recording.frames, again.recording.frames)
    np.testing.assert_array_equal(usual.recording.poses, again.recording.poses)
    np.testing.assert_array_equal(usual.keypoints[:90], shorter.keypoints)


def test_seeds_change_the_choreography_but_not_the_look() -> None:
    dances = dance(200, seed=1, hidden=0), dance(200, seed=2, hidden=0)
    assert np.abs(dances[0].points - dances[1].points).max() > 5
    # Every dance begins with nearly the same stance: equal stature, background and clothes.
    statures = [np.ptp(d.points[0, :, 1]) for d in dances]
    assert abs(statures[0] - statures[1]) < 0.5
    backgrounds = [np.median(d.recording.frames, axis=0) for d in dances]
    assert np.median(np.abs(backgrounds[0] - backgrounds[1])) == 0  # except where they mostly stood
    darkest = [d.recording.frames[0].min(axis=(0, 1)).astype(int) for d in dances]  # hair and shoes
    assert np.abs(darkest[0] - darkest[1]).max() < 25


def test_looks_change_the_dancer_but_not_the_choreography() -> None:
    dances = dance(60, look=0, hidden=0), dance(60, look=1, hidden=0)
    assert np.abs(dances[0].recording.frames[0].astype(int) - dances[1].recording.frames[0]).max() > 60
    paths = [d.points[:, JOINT_INDEX["neck"]] - d.points[0, JOINT_INDEX["neck"]] for d in dances]
    assert np.corrcoef(paths[0][:, 1], paths[1][:, 1])[0, 1] > 0.99


def test_without_hidden_factors_frames_follow_from_the_pose_alone() -> None:
    plain = dance(120, seed=3, hidden=0)
    assert (plain.hidden.values == 0).all()
    rendered = render_person(plain.points, np.zeros(120), (32, 64), look_of(0))
    np.testing.assert_array_equal(plain.recording.frames, np.rint(np.clip(rendered, 0, 1) * 255))
    assert ceiling_psnr_db(plain) == pytest.approx(10 * np.log10(12 * 255**2))


def test_hidden_scales_the_hidden_factors() -> None:
    usual, more = dance(300, seed=4), dance(300, seed=4, hidden=2)
    np.testing.assert_array_equal(usual.keypoints, more.keypoints)
    np.testing.assert_allclose(2 * usual.hidden.values, more.hidden.values, rtol=1e-6)
    assert ceiling_psnr_db(more) < ceiling_psnr_db(usual) - 3


def test_light_has_the_stated_deviation_and_correlation_time() -> None:
    light = hidden_factors(60_000, np.random.default_rng(0), 1.0)
    for name in ("brightness", "warmth"):
        path = light[name].astype(float)
        assert path.std() == pytest.approx(0.03, rel=0.2)
        correlation = np.corrcoef(path[:-75], path[75:])[0, 1]
        assert -75 / np.log(correlation) == pytest.approx(150, rel=0.25)


def test_hidden_factors_are_visible_in_the_frames() -> None:
    lit = dance(400, seed=6)
    corner = lit.recording.frames[:, :6, :6].mean(axis=(1, 2))
    assert np.corrcoef(corner[:, 1], lit.hidden["brightness"])[0, 1] > 0.97
    assert np.corrcoef(corner[:, 0] / corner[:, 2], lit.hidden["warmth"])[0, 1] > 0.9
    still, swung = (render_person(lit.points[:1], np.array([a]), (32, 64), look_of(0)) for a in (0.0, 0.4))
    assert (np.abs(still - swung).max(axis=3) > 0.05).sum() >= 5


@pytest.mark.parametrize("seed", range(4))
def test_the_default_ceiling_is_between_35_and_45_db(seed: int) -> None:
    assert 35 <= ceiling_psnr_db(dance(630, seed=seed, look=seed)) < 45


def test_some_pose_maps_are_blank_but_never_the_first(usual: Dance) -> None:
    blank = (usual.recording.poses == 255).all(axis=(1, 2, 3))
    assert 0.002 < blank.mean() < 0.015
    assert not blank[0]
    edges = np.flatnonzero(np.diff(np.pad(blank.astype(int), 1)))
    assert (edges[1::2] - edges[::2]).max() <= 4


def test_pose_maps_show_the_keypoints(usual: Dance) -> None:
    np.testing.assert_array_equal(usual.recording.poses[:50], draw_pose_maps(usual.keypoints[:50], (32, 64)))
    present = usual.keypoints[:, :, 2] > 0
    np.testing.assert_allclose(usual.keypoints[present][:, :2], usual.points[present][:, :2])


def test_joints_move_by_a_few_pixels_at_most(usual: Dance) -> None:
    steps = np.linalg.norm(np.diff(usual.points[:, :, :2], axis=0), axis=2)
    assert steps.max() < 4
    assert np.quantile(steps, 0.5) > 0.02  # and it rarely stands still


def test_feet_are_on_the_floor_and_the_dancer_partly_leaves_the_image(usual: Dance) -> None:
    feet = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("heel", "toe")]
    lowest = usual.points[:, feet, 1].max(axis=1)
    assert lowest.min() > 26
    assert lowest.max() < 31
    outside = (usual.points[:, :, 0] < 0) | (usual.points[:, :, 0] > 64)
    share = outside.mean(axis=1)
    assert ((share > 0.2) & (share < 0.9)).any()
    assert (share == 0).mean() > 0.7


def test_the_dancer_turns_around_and_crouches(usual: Dance) -> None:
    shoulders = usual.points[:, JOINT_INDEX["left_shoulder"], 0] - usual.points[:, JOINT_INDEX["right_shoulder"], 0]
    assert shoulders.max() > 3.5
    assert shoulders.min() < -3.5
    assert (np.abs(shoulders) < 1).mean() > 0.1
    hips = usual.points[:, JOINT_INDEX["mid_hip"], 1]
    assert hips.max() - hips.min() > 3


def test_validation_poses_are_close_to_training_poses() -> None:
    training, validation = synthesise(3, 630, hidden=0)
    assert len(training) == 3
    assert len({d.recording.frames.tobytes() for d in (*training, validation)}) == 4
    known, new = (_poses_about_neck(dances) for dances in (training, [validation]))
    distance_px = np.array([np.linalg.norm(known - pose, axis=2).mean(axis=1).min() for pose in new[::5]])
    assert np.quantile(distance_px, 0.95) < 1.0  # the dancer is 23 pixels high


def _poses_about_neck(dances: list[Dance]) -> np.ndarray:
    points = np.concatenate([d.points[:, :, :2] for d in dances])
    return points - points[:, JOINT_INDEX["neck"], None]


def test_a_dance_looks_the_same_at_another_size() -> None:
    small, large = dance(40, seed=2, hidden=0), dance(40, size=(128, 256), seed=2, hidden=0)
    shrunk = large.recording.frames.reshape(40, 32, 4, 64, 4, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small.recording.frames).mean() < 2


def test_the_ceiling_hardly_depends_on_the_size() -> None:
    small, large = (ceiling_psnr_db(dance(20, size=size, seed=3), 8, 16) for size in ((32, 64), (256, 512)))
    assert small == pytest.approx(large, abs=1.5)


def test_hidden_arrays_name_every_factor_and_the_ceiling() -> None:
    d = dance(50, seed=1)
    arrays = hidden_arrays(d)
    assert list(arrays) == ["brightness", "warmth", "breeze", "swing", "ceiling_psnr_db"]
    assert all(arrays[name].shape == (50,) for name in d.hidden.names)
    assert arrays["ceiling_psnr_db"] == ceiling_psnr_db(d)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        dance(1)
    with pytest.raises(InputError, match="at least 16 pixels"):
        dance(10, size=(8, 64))
    with pytest.raises(InputError, match="negative"):
        dance(10, hidden=-1)


def test_looks_take_turns_and_validation_has_another_look() -> None:
    train, val = synthesise(5, 2, looks=2, look=3)
    assert [d.look for d in train] == [3, 4, 3, 4, 3]
    assert val.look == 5
    alone, val = synthesise(2, 2, look=3)
    assert [d.look for d in (*alone, val)] == [3, 3, 3]
    assert np.array_equal(
        alone[0].recording.frames, train[0].recording.frames
    )  # the first dance does not depend on `looks`


def test_random_looks_differ_from_each_other_and_from_the_chosen_ones() -> None:
    outfits = [look_of(number).outfit for number in range(CHOSEN_LOOKS + 70)]
    random = outfits[CHOSEN_LOOKS:]
    assert len(set(random)) == len(random)
    assert not set(random) & set(outfits[:CHOSEN_LOOKS])
    assert all(0 <= value <= 255 for outfit in random for colour in outfit for value in colour)
    assert look_of(50) == look_of(50)
