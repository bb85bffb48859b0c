"""Settings files: numbers of YAML, repeated settings, encodings and endings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from posecast.config.overrides import build_config
from posecast.config.settings_file import read_settings
from posecast.errors import InputError

NUMBERS: dict[str, Any] = {
    "1e-3": 1e-3,
    "1E-3": 1e-3,
    "1.0e-3": 1e-3,
    "1.e-3": 1e-3,
    ".1e-2": 1e-3,
    "1e3": 1000.0,
    "1e+3": 1000.0,
    "2E5": 2e5,
    "+1e2": 100.0,
    "-1e2": -100.0,
    "0.5": 0.5,
    ".5": 0.5,
    "5.": 5.0,
    "-.5": -0.5,
    "+7": 7,
    "-7": -7,
    "0": 0,
    "010": 10,
    "1e-3 # a comment": 1e-3,
    "!!float 1e-3": 1e-3,
    "!!int 7": 7,
}
TEXTS: dict[str, Any] = {
    "'1e-3'": "1e-3",
    "1:30": "1:30",
    "1_000": "1_000",
    "1e": "1e",
    "e3": "e3",
    "1-3": "1-3",
    ".": ".",
    "+": "+",
    "1.2.3": "1.2.3",
    "32x64": "32x64",
    "none": "none",
    "1e-3x": "1e-3x",
    "null": None,
    "~": None,
}


@pytest.mark.parametrize(("text", "value"), [*NUMBERS.items(), *TEXTS.items()])
def test_a_number_of_yaml_is_read_as_one(tmp_path: Path, text: str, value: Any) -> None:
    (tmp_path / "a.yaml").write_text(f"learning_rate: {text}\n")
    read = read_settings(tmp_path / "a.yaml")["learning_rate"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["{0}", "[{0}, {0}]", "\n  - {0}\n  - {0}"])
def test_numbers_in_lists_are_read_likewise(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text("milestones: " + text.format("5e-1"))
    assert read_settings(tmp_path / "a.yaml")["milestones"] in (0.5, [0.5, 0.5])


def test_a_learning_rate_without_a_point_trains(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("training:\n  learning_rate: 1e-3\n")
    assert build_config(file=tmp_path / "a.yml").training.learning_rate == 1e-3


TWICE = {
    "yaml": "batch_size: 4\nlearning_rate: 0.1\nbatch_size: 6\n",
    "quoted yaml": "batch_size: 4\n'batch_size': 6\n",
    "equal values in yaml": "batch_size: 4\nbatch_size: 4\n",
    "yaml in one line": "{batch_size: 4, batch_size: 6}\n",
    "a section of yaml": "training:\n  batch_size: 4\n  batch_size: 6\n",
    "yaml inside and outside a section": "batch_size: 4\ntraining:\n  batch_size: 6\n",
    "yaml in two sections": "bound:\n  batch_size: 4\ntraining:\n  batch_size: 6\n",
    "toml": "batch_size = 4\nbatch_size = 6\n",
    "a section of toml": "[training]\nbatch_size = 4\nbatch_size = 6\n",
    "toml inside and outside a section": "batch_size = 4\n[training]\nbatch_size = 6\n",
    "toml in two sections": "[bound]\nbatch_size = 4\n[training]\nbatch_size = 6\n",
}


@pytest.mark.parametrize("name", TWICE)
def test_a_setting_that_is_given_twice_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"a.{'toml' if 'toml' in name else 'yaml'}"
    file.write_text(TWICE[name])
    with pytest.raises(InputError, match=r"a\.(toml|yaml).*(batch_size.*twice|line 2|Cannot overwrite)"):
        read_settings(file)


@pytest.mark.parametrize("section", ["training", "bound"])
def test_a_section_that_is_given_twice_is_refused(tmp_path: Path, section: str) -> None:
    (tmp_path / "a.yaml").write_text(f"{section}:\n  kl_peak: 1\n{section}:\n  batch_size: 4\n")
    with pytest.raises(InputError, match=f"{section} is given twice"):
        read_settings(tmp_path / "a.yaml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("ending", ["toml", "TOML", "yaml", "YAML", "yml", "Yml"])
def test_files_of_any_editor_are_read(tmp_path: Path, encoding: str, line_end: str, ending: str) -> None:
    sign = "=" if ending.lower() == "toml" else ":"
    file = tmp_path / f"設定.{ending}"
    file.write_bytes(f"# é{line_end}batch_size{sign} 4{line_end}".encode(encoding))
    assert read_settings(file) == {"batch_size": 4}


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "null\n"])
def test_an_empty_yaml_file_has_no_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert read_settings(tmp_path / "a.yaml") == {}


@pytest.mark.parametrize(
    "text", ["- 1\n", "7\n", "a\n", "? [1]\n: 2\n", "a: [\n", "a: b: c\n", "\t\n\ta: 1\n", "--- 1\n--- 2\n"]
)
def test_other_yaml_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml"):
        read_settings(tmp_path / "a.yaml")


@pytest.mark.parametrize("text", ["7: 1\n", "~: 1\n", "training: {1.5: 2}\n", "1e-3: 1\n"])
def test_keys_of_yaml_that_are_no_text_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"names a setting \S+; expected text"):
        build_config(file=tmp_path / "a.yaml")
