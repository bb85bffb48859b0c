"""What the documents say is run: the README's Python, the docstrings' examples, its commands, its links."""

import doctest
import importlib
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from posecast.cli.main import main
from posecast.data.dancer.dance import dance
from posecast.video.writer import open_writer

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "README.zh-TW.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
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


def commands(document: str = "README.md") -> list[list[str]]:
    """A README's posecast commands, without their comments."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^posecast (.*)$", "".join(blocks), flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


SMALL = "--size 16x16 --widths 8 16 --blocks 1 --clip-length 4".split()
SMALL_LAB4 = "--frame-channels 8 --pose-channels 4 --latent-channels 4 --fusion-channels 8 --size 16x16".split()
TEMPLATE = "--frame_H 16 --frame_W 16 --train_vi_len 4 --F_dim 8 --L_dim 4 --N_dim 4 --D_out_dim 8".split()
MADE_SMALL = {  # options that stand for size and time: their values here
    "--minutes": "0.05",
    "--num_epoch": "1",
}


@pytest.mark.long
@pytest.mark.skipif(find_spec("mediapipe") is None, reason="the extra posecast[video], not there for Python 3.13")
def test_the_readmes_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names stand for things made here, sizes and budgets are made small; the options are the README's own."""
    monkeypatch.chdir(tmp_path)
    assert main("synth DATA --sequences 1 --frames 16 --size 16x16".split()) == 0
    photo = str(next(Path("DATA/test/test_img/0").iterdir()))
    for name in ("ME.mp4", "OTHER.mp4"):
        with open_writer(name, fps=10) as video:
            for frame in dance(12, seed=1, size=(180, 320)).recording.frames:
                video.write(frame)
    named = {"ME.png": photo, "CKPT": "epoch=70.ckpt"}
    extra = {
        "train": SMALL,
        "experiment": [*SMALL_LAB4, "--clip-length", "4", "--steps", "20", "--seeds", "1", "--futures", "1"],
        "lab4": TEMPLATE,
        "score": ["--size", "16x16"],
        "import-lab4": ["--size", "16x16"],
    }
    seen = set()
    for words in commands():
        name = words[0]
        if name == "demo":  # tested whole in test_cli.py: it takes minutes
            continue
        pairs = zip(["", *words], words, strict=False)
        words = [MADE_SMALL.get(previous, word) for previous, word in pairs if word not in ("[RUN", "...]")]
        words = [named.get(word, word) for word in words]
        if name == "generate":
            words = [word.replace("DIR", "DATA/test/test_label/0") for word in words]
        if name == "extract":
            words = [word.replace("DATA", "MINE") for word in words]
        if name == "synth":
            words = ["synth", "OTHER", "--frames", "20", "--size", "16x16"]
        if name == "experiment":
            words = words[: words.index("--minutes")]
        assert main([*words, *extra.get(name, [])]) == 0, words
        seen.add(name)
    assert seen >= {"extract", "check", "train", "evaluate", "generate", "report", "synth", "experiment"}
    assert seen >= {"lab4", "submit", "score", "export-lab4", "import-lab4"}


def test_the_chinese_readme_says_the_same() -> None:
    """The same commands in the same order, the same Python, the same numbers measured, the same files."""
    english, chinese = ((ROOT / name).read_text() for name in ("README.md", "README.zh-TW.md"))
    assert commands("README.zh-TW.md") == commands()
    for pattern in (
        r"^(>>> .*?)(?:  #.*)?$",
        r"^\|.*?((?:\| \*{0,2}[\d.]+.*)+)\|$",
        r"^\| \[?`?((?:src|tests|docs|bench|constr)[\w./]*)",
    ):
        found, expected = (re.findall(pattern, text, flags=re.MULTILINE) for text in (chinese, english))
        assert found == expected
        assert len(found) > 2


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


def test_the_architecture_names_every_file() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    source = ROOT / "src" / "posecast"
    files = {str(path.relative_to(source)) for path in source.rglob("*.py") if not path.name.startswith("__")}
    assert {name for name in files if f"`{name}`" not in text} == set()
    named = {name for name in re.findall(r"`(\w[\w/]*/\w+\.py)`", text) if not name.startswith("tests/")}
    assert named <= files


def test_every_pinned_package_has_its_licence_named() -> None:
    text = (ROOT / "docs" / "licences.md").read_text()
    pinned = {
        line.split("==")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert {name for name in pinned if f"{name} (" not in text} == set()


def test_the_guides_dancer_is_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worked example of docs/own-video.md, with fewer frames."""
    text = (ROOT / "docs" / "own-video.md").read_text()
    (film, api) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(film.replace("1500", "4"), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dancer.mp4", "other.mp4"]
    compile(api, "own-video.md", "exec")
    for line in api.splitlines():
        if line.startswith("from "):
            exec(line, {})
