"""Machine profiles: measured once, kept, and measured again if damaged; devices and precisions."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from posecast.errors import InputError
from posecast.model import device
from posecast.model.device import (
    MachineProfile,
    available_cores,
    machine_profile,
    profile_key,
    profile_path,
    resolve_device,
    resolve_precision,
)
from posecast.model.threads import operator_threads

PROFILE = MachineProfile(
    "a processor", 4, 100.0, 10.0, 100.0, 3.0, bfloat16=False, operator_threads=2, shares=4, quiet=True
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(device, "_measured", {})
    monkeypatch.setattr(device, "cache_folder", lambda: tmp_path / "posecast")
    return tmp_path / "posecast"


def measured_as(monkeypatch: pytest.MonkeyPatch, profile: MachineProfile) -> list[int]:
    """Replace the measurement by a profile; return a list that grows with every measurement."""
    calls: list[int] = []

    def measure() -> MachineProfile:
        calls.append(1)
        return profile

    monkeypatch.setattr(device, "measure_machine", measure)
    return calls


def test_a_machine_is_measured_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, sentences = measured_as(monkeypatch, PROFILE), []
    assert machine_profile(sentences.append) == machine_profile(sentences.append) == PROFILE
    assert len(calls) == len(sentences) == 1
    device._measured.clear()  # as in another process
    assert machine_profile(sentences.append) == PROFILE
    assert len(calls) == len(sentences) == 1
    assert "4 cores" in PROFILE.sentence()
    assert "1 core;" in dataclasses.replace(PROFILE, cores=1).sentence()


def test_a_profile_measured_while_other_programs_were_busy_is_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = dataclasses.replace(PROFILE, quiet=False)
    calls = measured_as(monkeypatch, busy)
    assert machine_profile() == machine_profile() == busy
    device._measured.clear()
    assert machine_profile() == busy
    assert len(calls) == 2
    assert "busy" in busy.sentence()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 0}', "counts", "unknown"])
def test_a_damaged_profile_is_measured_again(cache: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    calls, path = measured_as(monkeypatch, PROFILE), profile_path(profile_key())
    valid = {"format": device.FORMAT, **dataclasses.asdict(PROFILE)}
    changed = {"counts": {**valid, "shares": 0}, "unknown": {**valid, "surprise": 1}}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(changed[content]) if content in changed else content)
    assert machine_profile() == PROFILE
    assert calls


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_measured", {})
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(device, "cache_folder", lambda: tmp_path / "file" / "posecast")
    measured_as(monkeypatch, PROFILE)
    assert machine_profile() == PROFILE


def test_a_profile_holds_for_one_code_path(monkeypatch: pytest.MonkeyPatch) -> None:
    before = profile_key()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert profile_key() != before


def test_a_profile_does_not_depend_on_the_current_number_of_threads() -> None:
    """Training computes with one operator thread while it writes the profile of its machine."""
    with operator_threads(1):
        key = profile_key()
    with operator_threads(2):
        assert profile_key() == key


def test_bfloat16_is_chosen_where_it_was_measured_to_be_faster(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for faster, precision in ((False, "32-true"), (True, "bf16-mixed")):
        monkeypatch.setattr(
            device, "machine_profile", lambda faster=faster: dataclasses.replace(PROFILE, bfloat16=faster)
        )
        assert resolve_precision("auto", "cpu") == precision
        assert resolve_precision("32-true", "cpu") == "32-true"


def test_the_number_of_cores_is_plausible() -> None:
    assert 1 <= available_cores() <= 4096


def test_a_device_that_is_not_available_is_refused() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="this machine has cpu"):
            resolve_device("cuda")
    assert resolve_device("cpu") == "cpu"
