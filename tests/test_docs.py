"""Checks of the documents: their Python, commands, links and file names, and the site that is built from them."""

import ast
import doctest
import importlib
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from cyclopts import App

from posecast.cli.main import app, main
from posecast.config.recipes import RECIPES
from posecast.config.schema import SECTIONS, Config, settings_of
from posecast.data.dancer.dance import dance
from posecast.video.writer import open_writer

ROOT = Path(__file__).parents[1]
PAGES = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts]
DOCUMENTS = ["README.md", "README.zh-TW.md", "CONTRIBUTING.md", "SECURITY.md", *PAGES]
CURRENT = [name for name in DOCUMENTS if "lab-notes" not in name]
"""Lab notes name commits whose commands and settings may differ."""
WITH_EXAMPLES = [
    str(path.relative_to(ROOT / "src").with_suffix("")).replace("/", ".")
    for path in sorted((ROOT / "src").rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if ">>> " in (ROOT / name).read_text()])
def test_interactive_python_runs(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(ROOT / document), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 5
    assert result.failed == 0


def python_blocks(document: str) -> list[str]:
    """The Python of a document that is not interactive."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    return [block for block in blocks if ">>> " not in block]


@pytest.mark.parametrize("document", [name for name in CURRENT if python_blocks(name)])
def test_python_compiles_and_imports_what_exists(document: str) -> None:
    for block in python_blocks(document):
        for statement in ast.parse(block).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                exec(ast.unparse(statement), {})


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def commands(document: str = "README.md") -> list[list[str]]:
    """A document's posecast commands, without their comments."""
    blocks = re.findall(r"^```(?:sh|text)?\n(.*?)^```", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    text = "".join(blocks).replace("\\\n", "")
    lines = re.findall(r"^(?:\w+=\S+ )*posecast (.*)$", text, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("document", [name for name in CURRENT if commands(name)])
def test_commands_and_their_options_exist(document: str) -> None:
    for words in commands(document):
        words = [word for word in words if word not in ("[RUN", "...]", "[options]")]
        if words != ["--version"]:
            app.parse_args(words, exit_on_error=False, print_error=False)


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


def test_the_chinese_course_guide_has_the_same_commands() -> None:
    english = commands("docs/tutorials/course-project.md")
    assert commands("docs/zh-TW/course-project.md") == english
    assert len(english) > 10


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
    for name in re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_documents_that_the_code_names_exist() -> None:
    files = [ROOT / "Makefile", *(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    named = {name for path in files for name in re.findall(r"\bdocs/[\w/-]+\.\w+", path.read_text())}
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_architecture_names_every_file() -> None:
    text = (ROOT / "docs/explanation/architecture.md").read_text()
    source = ROOT / "src" / "posecast"
    files = {str(path.relative_to(source)) for path in source.rglob("*.py") if not path.name.startswith("__")}
    assert {name for name in files if f"`{name}`" not in text} == set()
    named = {name for name in re.findall(r"`(\w[\w/]*/\w+\.py)`", text) if not name.startswith("tests/")}
    assert named <= files


def test_the_tutorials_dancer_is_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worked example of docs/tutorials/own-video.md, with fewer frames."""
    (film,) = python_blocks("docs/tutorials/own-video.md")
    monkeypatch.chdir(tmp_path)
    exec(film.replace("1500", "4"), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dancer.mp4", "other.mp4"]


class LoadedByPage(HTMLParser):
    """Collects the addresses of what a browser loads by itself when it shows a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "a":  # a link is only followed by a reader
            self.addresses += [value for name, value in attrs if name in ("src", "srcset", "href", "data") and value]


def all_commands(parent: App, names: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words that call each command."""
    found = []
    for name in (name for name in parent if not name.startswith("-")):
        inner = all_commands(parent[name], (*names, name))
        found += inner or [(*names, name)]
    return found


@pytest.mark.skipif(find_spec("myst_parser") is None, reason="the extra posecast[docs]")
def test_the_site_is_complete_and_loads_nothing_from_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = "-W --keep-going -n -q".split()
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *strict, str(ROOT / "docs"), str(tmp_path)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    pages = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*.html")}
    assert {name.removeprefix("docs/").replace(".md", ".html") for name in PAGES} <= pages.keys()

    reference, settings = pages["reference/commands.html"], pages["reference/settings.html"]
    for words in all_commands(app):
        assert main([*words, "--help"]) == 0
        for option in set(re.findall(r"(--[a-zA-Z][\w-]*)", capsys.readouterr().out)) - {"--help"}:
            anchor = f'id="cmdoption-posecast-{"-".join(words)}-{option[2:]}"'
            setting = f'id="confval-{option[2:].replace("-", "_")}"'
            assert anchor.lower() in reference.lower() or setting in settings, (words, option)
    for config in RECIPES.values():
        for section in (Config, *(type(getattr(config, name)) for name in SECTIONS)):
            for name, _, _ in settings_of(section):
                assert f'id="confval-{name}"' in settings

    for name, page in pages.items():
        addresses = LoadedByPage(page).addresses
        assert addresses
        assert [one for one in addresses if re.match(r"(\w+:)?//", one)] == [], name
    for path in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(\w+:)?//|@import", path.read_text()), path
