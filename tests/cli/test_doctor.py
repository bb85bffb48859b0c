"""What the doctor finds: complete, plain text, and nobody's name."""

import getpass
import platform
import socket
from pathlib import Path

import pytest
import torch

from posecast.cli import doctor
from posecast.cli.main import main
from posecast.config.recipes import RECIPES
from posecast.model.device import machine_profile


def test_the_page_is_complete_and_names_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "measured", lambda config, moves: (0.1, 0.01))
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for title in ("software", "processor", "GPU", "memory and disk", "what to expect", "advice"):
        assert f"\n{title}\n" in f"\n{said}"
    assert f"torch              {torch.__version__}" in said
    assert platform.python_version() in said
    assert "140 frames/s trained, 100 frames/s rolled out" in said
    assert str(Path.home()) not in said
    assert socket.gethostname() not in said
    if getpass.getuser() not in ("posecast", "none"):
        assert f"/{getpass.getuser()}" not in said


def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    advice: list[str] = []
    found = dict(doctor.software(advice))
    assert found["extra video"] == "not installed: pip install 'posecast[video]'"
    assert any("posecast[video]" in sentence for sentence in advice)


def test_little_room_and_a_busy_machine_are_advised_about(monkeypatch: pytest.MonkeyPatch) -> None:
    advice: list[str] = []
    monkeypatch.setattr(doctor, "free_memory_gib", lambda: 0.5)
    doctor.space(advice)
    assert any("0.5 GiB of memory" in sentence for sentence in advice)
    doctor.processor(machine_profile(), False, advice)
    assert any("Other programs" in sentence for sentence in advice)


@pytest.mark.long
def test_expectations_are_measured_on_the_default_recipe() -> None:
    found = dict(doctor.expectations(machine_profile()))
    assert float(found["default recipe"].split()[0]) > 0
    assert RECIPES["anchored"].size == "32x64"
