"""The machine measured once: choices follow the figures, profiles are kept, and damaged ones are made again."""

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
    choose_threads,
    fewest,
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
    monkeypatch.setattr(device, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "posecast"


def measured_as(monkeypatch: pytest.MonkeyPatch, profile: MachineProfile) -> list[int]:
    calls: list[int] = []

    def measure() -> MachineProfile:
        calls.append(1)
        return profile

    monkeypatch.setattr(device, "measure_machine", measure)
    return calls


def test_a_machine_is_measured_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, told = measured_as(monkeypatch, PROFILE), []
    assert machine_profile(told.append) == machine_profile(told.append) == PROFILE
    assert len(calls) == len(told) == 1
    device._measured.clear()  # another process
    assert machine_profile(told.append) == PROFILE
    assert len(calls) == len(told) == 1
    assert "float32" in PROFILE.sentence()


def test_a_profile_made_beside_busy_programs_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    whole = {"format": device.FORMAT, **dataclasses.asdict(PROFILE)}
    changed = {"counts": {**whole, "shares": 0}, "unknown": {**whole, "surprise": 1}}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(changed[content]) if content in changed else content)
    assert machine_profile() == PROFILE
    assert calls


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_measured", {})
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(device, "user_cache_path", lambda name: tmp_path / "file" / name)
    measured_as(monkeypatch, PROFILE)
    assert machine_profile() == PROFILE


def test_another_code_path_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = profile_key()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert profile_key() != before


def test_the_threads_of_the_moment_are_no_other_machine() -> None:
    """A training computes with one operator thread while its machine is written down."""
    with operator_threads(1):
        alone = profile_key()
    with operator_threads(2):
        assert profile_key() == alone


def test_bfloat16_is_taken_where_it_was_measured_to_be_faster(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for faster, precision in ((False, "32-true"), (True, "bf16-mixed")):
        monkeypatch.setattr(
            device, "machine_profile", lambda faster=faster: dataclasses.replace(PROFILE, bfloat16=faster)
        )
        assert resolve_precision("auto", "cpu") == precision
        assert resolve_precision("32-true", "cpu") == "32-true"


def test_speeds_are_found_and_threads_chosen() -> None:
    assert device.product_gflops(torch.float32, 64) > 0
    assert device.convolution_gflops(torch.float32) > 0
    operators, shares = choose_threads(2, torch.float32)
    assert operators in (1, 2)
    assert shares in (1, 2)
    assert choose_threads(1, torch.float32) == (1, 1)
    assert 1 <= available_cores() <= 4096


def test_more_threads_must_pay() -> None:
    trials = {("operators", 1): [1.0, 1.01], ("operators", 2): [0.98, 1.0], ("shares", 2): [0.1]}
    assert fewest(trials, "operators") == 1
    assert fewest({**trials, ("operators", 4): [0.5]}, "operators") == 4


def test_a_device_that_is_not_there_is_named() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="this machine has cpu"):
            resolve_device("cuda")
    assert resolve_device("cpu") == "cpu"
