"""What the documents say is run: the README's Python, the docstrings' examples, its commands, its links."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

from posecast.cli import main

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
WITH_EXAMPLES = [
    str(path.relative_to(ROOT / "src").with_suffix("")).replace("/", ".")
    for path in sorted((ROOT / "src").rglob("*.py"))
    if ">>> " in path.read_text()
]


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 5
    assert result.failed == 0


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def commands() -> list[list[str]]:
    """The README's posecast commands, without their comments."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^posecast (.*)$", "".join(blocks), flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_the_readmes_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names stand for things made here, sizes and budgets are made small; the options are the README's own."""
    monkeypatch.chdir(tmp_path)
    assert main("synth DATA --sequences 1 --frames 30 --size 16x16".split()) == 0
    small = "--size 16x16 --widths 8 16 --blocks 1 --clip-length 4".split()
    seen = set()
    for words in commands():
        name = words[0]
        if name in ("import-lab4", "demo"):  # tested whole in test_cli.py: one needs a checkpoint, one minutes
            continue
        words = [word for word in words if word not in ("[RUN", "...]")]
        words = [
            "0.05" if previous == "--minutes" else word for previous, word in zip(["", *words], words, strict=False)
        ]
        words = ["DATA/test/test_label/0" if p == "--poses" else w for p, w in zip(["", *words], words, strict=False)]
        words = [str(next(Path("DATA/test/test_img/0").iterdir())) if w == "ME.png" else w for w in words]
        if name == "synth":
            words = ["synth", "OTHER", "--frames", "20", "--size", "16x16"]
        assert main([*words, *(small if name == "train" else [])]) == 0, words
        seen.add(name)
    assert seen == {"check", "train", "evaluate", "generate", "submit", "report", "synth"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (ROOT / document).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    for name in re.findall(r"`((?:src|tests|docs)/[\w./]+)`", text):
        assert (ROOT / name).exists(), name
