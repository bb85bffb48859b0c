"""Hidden factors: read off frames of the dancer, and measured on processes whose pace is known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from posecast.data.dancer.dance import LIGHT_DEVIATION, hidden_arrays, synthesise
from posecast.errors import InputError
from posecast.evaluation.factor_probe import apart, deviation, fit_probe, r_squared, recorded_factors, time_constant

from ..conftest import moving_square


def factors_of(dances: list) -> list[dict[str, np.ndarray]]:
    return [{name: one.hidden[name] for name in one.hidden.names} for one in dances]


def test_a_reader_reads_light_off_frames_it_has_never_seen() -> None:
    train, val = synthesise(3, 160)
    reader = fit_probe([one.recording for one in train], factors_of(train))
    assert reader is not None
    read = reader.read(val.recording.frames, val.recording.poses)
    for name in ("brightness", "warmth"):
        error = read[:, reader.names.index(name)] - val.hidden[name]
        assert np.sqrt(np.nanmean(np.square(error))) < 0.3 * LIGHT_DEVIATION, name
    # Another light, the same pose: it is the light that is read.
    warmth = read[:, reader.names.index("warmth")]
    redder = np.clip(val.recording.frames * np.array([1.05, 1.0, 0.95]), 0, 255).astype(np.uint8)
    moved = reader.read(redder, val.recording.poses)[:, reader.names.index("warmth")]
    assert np.nanmean(moved - warmth) == pytest.approx(0.1, rel=0.2)


def test_a_frame_without_a_pose_is_not_read() -> None:
    train, val = synthesise(1, 60)
    reader = fit_probe([train[0].recording], factors_of(train))
    assert reader is not None
    poses = val.recording.poses[:4].copy()
    poses[2] = 255
    read = reader.read(val.recording.frames[:4], poses)
    assert np.isnan(read[2]).all()
    assert np.isfinite(read[[0, 1, 3]]).all()


def test_pace_and_spread_of_a_process_that_is_known() -> None:
    """Mean-reverting paths of memory 20 about 3, of deviation 2."""
    rng, keep = np.random.default_rng(0), np.exp(-1 / 20)
    paths = [rng.normal(size=300)]
    for _ in range(499):
        paths.append(keep * paths[-1] + np.sqrt(1 - keep**2) * rng.normal(size=300))
    found = 3.0 + 2.0 * np.stack(paths, 1)
    found[:, 100] = np.nan
    assert deviation(found, 3.0) == pytest.approx(2.0, rel=0.05)
    assert time_constant(found, 3.0) == pytest.approx(20.0, rel=0.1)
    assert time_constant(np.full((2, 40), 5.0), 3.0) == 20.0  # it never moves: the longest that can be told


def test_r_squared_is_one_for_the_truth_and_nothing_for_its_mean() -> None:
    truth = np.random.default_rng(0).normal(size=50)
    assert r_squared(truth, truth) == pytest.approx(1.0)
    assert r_squared(np.full(50, truth.mean()), truth) == pytest.approx(0.0)
    gap = truth.copy()
    gap[3] = np.nan
    assert r_squared(gap, truth) == pytest.approx(1.0)
    assert np.isnan(r_squared(truth, np.zeros(50)))  # there is no variance to tell a share of


def test_what_does_not_move_or_is_not_seen_has_no_reader() -> None:
    train, _ = synthesise(2, 12, hidden=0.0)
    recordings = [one.recording for one in train]
    assert fit_probe(recordings, factors_of(train)) is None
    train, _ = synthesise(2, 12)
    unseen = [dataclasses.replace(one.recording, poses=np.full_like(one.recording.poses, 255)) for one in train]
    assert fit_probe(unseen, factors_of(train)) is None
    assert np.isnan(deviation(np.full((2, 5), np.nan), 0.0))


def test_futures_lie_apart_by_what_differs_between_them_only() -> None:
    rng = np.random.default_rng(0)
    common, own = 5.0 * rng.normal(size=400), 0.3 * rng.normal(size=(20, 400))
    paths = common + own
    paths[:, 7] = np.nan
    assert apart(paths) == pytest.approx(0.3, rel=0.05)
    assert apart(np.repeat(common[None], 4, axis=0)) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(apart(paths[:1]))


def test_recorded_factors_are_those_of_their_recordings(tmp_path: Path) -> None:
    assert recorded_factors(tmp_path, "val", [moving_square(24)]) is None
    train, val = synthesise(1, 24)
    arrays = {f"train0_{k}": v for k, v in hidden_arrays(train[0]).items()}
    arrays |= {f"val0_{k}": v for k, v in hidden_arrays(val).items()}
    np.savez(tmp_path / "hidden.npz", **arrays)
    found = recorded_factors(tmp_path, "val", [val.recording])
    assert found is not None
    assert set(found[0]) == set(val.hidden.names)  # the ceiling is a number, no path
    assert np.array_equal(found[0]["warmth"], val.hidden["warmth"])
    with pytest.raises(InputError, match="no factors of 12 frames for recording 0 of 'val'"):
        recorded_factors(tmp_path, "val", [moving_square(12)])


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "hidden.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(InputError, match="cannot be read"):
        recorded_factors(tmp_path, "val", [moving_square(24)])
