"""Folders with odd names: every command works in them and prints sentences that can be printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from posecast.cli.main import main
from posecast.data.cache import load_recordings

from .test_moved_data import OPTIONS

NAMES = [
    *("a b", " first", "last ", "-dash", "--", "=", "a:b", "http:", "a;b", "a,b", "a@b", "a#b?c&d", "a\\b", "a'b\"c"),
    *(
        "100%",
        "%d%s{x}",
        "$HOME",
        "~",
        "*",
        "[a]",
        "[bold]a[/bold]",
        "[/a]",
        "<b>",
        "file.gif",
        "train it",
        "..a",
        "x" * 150,
    ),
    *("資料", "ä", "a\u0308", "\u3000", "😀", "\u202eabc", "a\nb", "a\tb", "a\rb", "a\x1b[31mb", "a\x7fb"),
    *(os.fsdecode(b"a\xffb"), os.fsdecode(b"\xe4\xb8")),
]


def print_safely(said: str) -> bool:
    """Return whether nothing but printable characters and line ends was printed."""
    return all(letter.isprintable() or letter == "\n" for letter in said)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some names")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_data_set_may_have_any_name(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", "--sequences=1", "--frames=4", "--size=16x16", "--", name]) == 0
    assert main(["check", "--", name]) == 0
    assert main(["check", f"./{name}/missing"]) == 2
    (recording,) = load_recordings(Path(name), "train", (16, 16))
    assert len(recording) == 4
    said = capsys.readouterr()
    assert print_safely(said.out + said.err)
    assert len([line for line in said.err.splitlines() if line.startswith("posecast: ")]) == 1


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some names")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_every_folder_may_have_any_name(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, test = f"{name}/{name}", f"./{name}/test"
    train = ["train", f"--data={name}", f"--out={run}", *OPTIONS, "--steps=2"]
    generate = ["generate", f"--first-frame={test}/test_img/0/frame000010.png", f"--poses={test}/test_label/0"]
    for words in (
        ["synth", "--sequences=1", "--frames=8", "--size=16x16", "--", name],
        train,
        [*train, "--resume"],
        ["evaluate", f"--data={name}", "--futures=1", "--", run],
        ["report", f"--out={run}.html", "--", run],
        ["submit", f"--data={name}", f"--out={run}-submission", "--", run],
        [*generate, f"--out={name}/frames", "--", run],
        *([*generate, f"--out={run}{ending}", "--", run] for ending in (".gif", ".mp4", ".webp")),
    ):
        assert main(words) == 0, capsys.readouterr().err
    assert not list(place.rglob(".writing-*"))
