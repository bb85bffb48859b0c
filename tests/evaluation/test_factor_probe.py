"""Tests of the probe of hidden factors on frames of the synthetic dancer, and of reading hidden.npz."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from posecast.data.dancer.dance import LIGHT_DEVIATION, Dance, hidden_arrays, synthesise
from posecast.errors import InputError
from posecast.evaluation.factor_probe import fit_probe, recorded_factors

from ..conftest import moving_square


def factors_of(dances: list[Dance]) -> list[dict[str, np.ndarray]]:
    return [{name: dance.hidden[name] for name in dance.hidden.names} for dance in dances]


def test_probe_reads_light_off_unseen_frames() -> None:
    train, val = synthesise(3, 160)
    probe = fit_probe([dance.recording for dance in train], factors_of(train))
    assert probe is not None
    readings = probe.read(val.recording.frames, val.recording.poses)
    for name in ("brightness", "warmth"):
        error = readings[:, probe.names.index(name)] - val.hidden[name]
        assert np.sqrt(np.nanmean(np.square(error))) < 0.3 * LIGHT_DEVIATION, name
    # The same poses in warmer light.
    warmth = readings[:, probe.names.index("warmth")]
    redder = np.clip(val.recording.frames * np.array([1.05, 1.0, 0.95]), 0, 255).astype(np.uint8)
    warmer = probe.read(redder, val.recording.poses)[:, probe.names.index("warmth")]
    assert np.nanmean(warmer - warmth) == pytest.approx(0.1, rel=0.2)


def test_frame_without_a_pose_has_no_reading() -> None:
    train, val = synthesise(1, 60)
    probe = fit_probe([train[0].recording], factors_of(train))
    assert probe is not None
    poses = val.recording.poses[:4].copy()
    poses[2] = 255
    readings = probe.read(val.recording.frames[:4], poses)
    assert np.isnan(readings[2]).all()
    assert np.isfinite(readings[[0, 1, 3]]).all()


def test_no_probe_of_constant_factors_or_invisible_people() -> None:
    train, _ = synthesise(2, 12, hidden=0.0)
    recordings = [dance.recording for dance in train]
    assert fit_probe(recordings, factors_of(train)) is None
    train, _ = synthesise(2, 12)
    recordings = [dance.recording for dance in train]
    blank = [dataclasses.replace(recording, poses=np.full_like(recording.poses, 255)) for recording in recordings]
    assert fit_probe(blank, factors_of(train)) is None


def test_recorded_factors_belong_to_their_recordings(tmp_path: Path) -> None:
    assert recorded_factors(tmp_path, "val", [moving_square(24)]) is None
    train, val = synthesise(1, 24)
    arrays = {f"train0_{k}": v for k, v in hidden_arrays(train[0]).items()}
    arrays |= {f"val0_{k}": v for k, v in hidden_arrays(val).items()}
    np.savez(tmp_path / "hidden.npz", **arrays)
    factors = recorded_factors(tmp_path, "val", [val.recording])
    assert factors is not None
    assert set(factors[0]) == set(val.hidden.names)  # without the ceiling, which is a number
    assert np.array_equal(factors[0]["warmth"], val.hidden["warmth"])
    with pytest.raises(InputError, match="no factors of 12 frames for recording 0 of 'val'"):
        recorded_factors(tmp_path, "val", [moving_square(12)])


def test_damaged_factor_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "hidden.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(InputError, match="cannot be read"):
        recorded_factors(tmp_path, "val", [moving_square(24)])
