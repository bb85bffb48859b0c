"""The diagnosis of a machine."""

import getpass
import importlib.metadata
import platform
import socket
from pathlib import Path

import pytest

from posecast.cli import doctor
from posecast.cli.main import main
from posecast.config.recipes import RECIPES
from posecast.model.device import machine_profile


def test_the_page_is_complete_and_names_no_person_host_or_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "measure_recipe", lambda config, recording: (0.1, 0.01))
    assert main(["doctor"]) == 0
    page = capsys.readouterr().out
    for title in ("software", "processor", "GPU", "memory and disk", "what to expect", "advice"):
        assert f"\n{title}\n" in f"\n{page}"
    assert f"torch              {importlib.metadata.version('torch')}" in page
    assert platform.python_version() in page
    assert "140 frames/s trained, 100 frames/s rolled out" in page
    assert str(Path.home()) not in page
    assert socket.gethostname() not in page
    if getpass.getuser() not in ("posecast", "none"):
        assert f"/{getpass.getuser()}" not in page


def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    advice: list[str] = []
    lines = dict(doctor.software(advice))
    assert lines["extra video"] == "not installed: pip install 'posecast[video]'"
    assert any("posecast[video]" in sentence for sentence in advice)


def test_there_is_advice_on_little_memory_and_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    advice: list[str] = []
    monkeypatch.setattr(doctor, "free_memory_gib", lambda: 0.5)
    doctor.space(advice)
    assert any("0.5 GiB of memory" in sentence for sentence in advice)
    doctor.processor(machine_profile(), False, advice)
    assert any("Other programs" in sentence for sentence in advice)


@pytest.mark.long
def test_expectations_are_measured_on_the_default_recipe() -> None:
    lines = dict(doctor.expectations(machine_profile()))
    assert float(lines["default recipe"].split()[0]) > 0
    assert RECIPES["anchored"].size == "32x64"
