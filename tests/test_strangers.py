"""Plans, runs, samples, submissions and settings from strangers: nothing outside the named folders is read or written.

Every case is tried by a command. It ends with exit status 1 or 2 and one sentence, or with 0 and the names shown as
text. A folder outside must be unchanged, and its content must be in no output.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from posecast.cli.main import main
from posecast.config.overrides import build_config
from posecast.data.images import write_png
from posecast.experiments.grids import configurations, find_grid
from posecast.experiments.runner import open_experiment
from posecast.files import write_json
from posecast.model.checkpoint import save_weights, write_config
from posecast.model.predictor import Predictor

from .conftest import TINY
from .hostile_files import write_sounding
from .test_moved_data import OPTIONS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some names and links")
CANARY = "CANARY-8f41c2"
GRID = "[settings.a]\nlearning_rate = 1e-3\n[settings.b]\nlearning_rate = 1e-4\n"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a data set, a run and an experiment that are as posecast writes them, and a clip."""
    folder = tmp_path_factory.mktemp("strangers")
    words = ["synth", str(folder / "data"), "--sequences=1", "--frames=8", "--size=16x16"]
    assert main(words) == 0
    write_run(folder / "run")
    assert main(["evaluate", str(folder / "run"), "--data", str(folder / "data"), "--futures=1"]) == 0
    (folder / "grid.toml").write_text(GRID)
    configs = configurations(find_grid(str(folder / "grid.toml")), "anchored", None, {**TINY, "steps": 2})
    grid = find_grid(str(folder / "grid.toml"))
    open_experiment(grid, configs, folder / "data", folder / "exp", num_seeds=1, futures=1, notify=lambda _: None)
    write_sounding(folder / "clip.mp4")
    return folder


def write_run(run: Path) -> None:
    torch.manual_seed(0)
    config = build_config("anchored", flags={**TINY, "steps": 2})
    run.mkdir()
    machine = {"precision": "32-true", "processes": 1, "threads": 1, "shares": 1, "device": "cpu"}
    write_config(run, config, {"source": {}, "selected_on": "val", "num_steps": 2, "machine": machine})
    save_weights(run / "model.safetensors", Predictor(config).state_dict())
    save_weights(run / "epochs" / "epoch-0001.safetensors", Predictor(config).state_dict())
    (run / "log.jsonl").write_text('{"epoch": 0, "step": 2, "loss": 0.1, "seconds": 1.0}\n')
    for name in ("val-strip.png", "val-traversal.png", "val-futures.png"):
        write_png(run / "samples" / name, np.zeros((4, 4, 3), np.uint8))
    (run / "state").mkdir()


class Place:
    """Folder in which a command is tried, beside a folder that it must neither read nor change."""

    def __init__(self, folder: Path, origin: Path, capture: Capture) -> None:
        self.folder, self.outside, self.capture = folder, folder / "outside", capture
        for name in ("run", "exp"):
            shutil.copytree(origin / name, folder / name)
        (folder / "data").symlink_to(origin / "data")
        for name in ("grid.toml", "clip.mp4"):
            shutil.copy(origin / name, folder / name)
        self.outside.mkdir()
        for name in ("secret.txt", "config.json", "x-strip.png", "val-strip.png", "step-000000001-x.pt", "scores.json"):
            (self.outside / name).write_text(f"{CANARY} {name}")
        self.before = self.snapshot()
        self.status = 0

    def own_data(self) -> Path:
        """Return the data set after putting a copy in the place of the one that the tests share."""
        data = self.folder / "data"
        shared = data.resolve()
        data.unlink()
        return shutil.copytree(shared, data)

    def snapshot(self) -> dict[str, tuple[bytes, int]]:
        files = [path for path in self.outside.rglob("*") if path.is_file()]
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    def run(self, *words: str, status: tuple[int, ...] = (1, 2)) -> str:
        """Run a command and return its output, after checking what holds of every command."""
        self.capture.readouterr()
        self.status = main(list(words))
        output = self.capture.readouterr()
        assert self.status in status, (words, output.err)
        assert "Traceback" not in output.err
        assert all(letter.isprintable() or letter == "\n" for letter in output.out + output.err), output
        if self.status:
            assert len([line for line in output.err.splitlines() if line.startswith("posecast: ")]) == 1, output.err
        self.check_outside()
        assert CANARY not in output.out + output.err
        return output.out + output.err

    def check_outside(self) -> None:
        """Check that the folder outside is unchanged, that nothing of it was copied, and that nothing else appeared."""
        assert self.snapshot() == self.before
        expected = {"data", "run", "exp", "grid.toml", "clip.mp4", "outside", "made", "page.html", "input"}
        assert set(os.listdir(self.folder)) <= expected
        for parent, _, files in os.walk(self.folder):
            if not Path(parent).is_relative_to(self.outside):
                for path in (Path(parent, name) for name in files):
                    if not path.is_symlink() and path.is_file() and path.stat().st_size < 2**30:
                        assert CANARY.encode() not in path.read_bytes(), path


@pytest.fixture
def place(tmp_path: Path, origin: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, origin, capsys)


# Links and special files in runs and experiments.

FILES = "config.json log.jsonl scores.json model.safetensors state/step-000000001-x.pt epochs/epoch-0001.safetensors"
IN_RUN = [*FILES.split(), *"samples samples/x-strip.png samples/x-side-by-side.webp state epochs tensorboard".split()]
IN_RUN += ["samples/x-traversal.png", "samples/deeper/x"]


def link(to: str) -> Callable[[Path, Path], None]:
    return lambda path, outside: path.symlink_to(to.format(outside=outside))


def listen(path: Path, _: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # addresses are short
        server.bind(path.name)


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "secret": link("{outside}/secret.txt"),
    "folder": link("{outside}"),
    "missing": link("{outside}/missing"),
    "etc": link("/etc"),
    "device": link("/dev/zero"),
    "circle": lambda path, _: path.symlink_to(path.name),
    "pipe": lambda path, _: os.mkfifo(path),
    "socket": listen,
}


def put(place: Place, path: Path, kind: str) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    KINDS[kind](path, place.outside)
    os.chdir(place.folder)


def core_first(cases: list[tuple[str, ...]], is_core: Callable[..., bool]) -> list[Any]:
    """Return parameters of a test, marked as long except some."""
    return [pytest.param(*case, marks=() if is_core(*case) else pytest.mark.long) for case in cases]


def some_long(values: list[Any], every: int) -> list[Any]:
    """Return parameters of a test, marked as long except every n-th."""
    return [pytest.param(value, marks=pytest.mark.long) if k % every else value for k, value in enumerate(values)]


@pytest.mark.parametrize(
    ("name", "kind"),
    core_first(
        [(name, kind) for name in IN_RUN for kind in KINDS],
        lambda name, kind: kind == "secret" or name in ("samples/x-strip.png", "config.json"),
    ),
)
def test_run_with_a_link_out_of_it_or_a_special_file_is_refused(place: Place, name: str, kind: str) -> None:
    put(place, place.folder / "run" / name, kind)
    assert name.split("/")[0] in place.run("check", "run")
    if name.startswith(("samples", "config", "log", "scores")):
        assert name.split("/")[0] in place.run("report", "run", "--out", "page.html")


USES = {
    "evaluate": "evaluate run --data data --futures 1",
    "generate": "generate run --first-frame data/test/test_img/0/frame000010.png "
    "--poses data/test/test_label/0 --out made",
    "submit": "submit run --data data --out made",
    "export": "export-lab4 run --out made",
    "resume": f"train --data data --out run --resume {' '.join(OPTIONS)} --steps 2",
    "repeat": "train --data data --out made --repeat run",
    "from": f"train --data data --out made --from run {' '.join(OPTIONS)} --steps 2",
    "lab4": "lab4 test --DR data --save_root made --ckpt_path run --val_vi_len 8 --frame_H 16 --frame_W 16",
}


@pytest.mark.parametrize(
    ("use", "name", "kind"),
    core_first(
        [
            (use, name, kind)
            for use in USES
            for name in ("model.safetensors", "samples", "state", "config.json")
            for kind in ("secret", "folder", "device", "pipe")
            if (use != "from" or name == "model.safetensors")  # only the weights are read
            if (use != "resume" or name != "config.json" or kind == "secret")  # else there is no run to resume
        ],
        lambda use, name, kind: (name, kind) in (("model.safetensors", "pipe"), ("samples", "folder")),
    ),
)
def test_every_use_of_such_a_run_is_refused(place: Place, use: str, name: str, kind: str) -> None:
    put(place, place.folder / "run" / name, kind)
    assert f"run/{name}" in place.run(*USES[use].split())


@pytest.mark.parametrize(
    ("name", "kind"),
    core_first(
        [
            (name, kind)
            for name in ("experiment.json", "runs", "runs/a-seed0", "claims", "figures", "curves")
            for kind in KINDS
        ],
        lambda name, kind: kind in ("secret", "pipe"),
    ),
)
def test_experiment_with_a_link_out_of_it_is_refused(place: Place, name: str, kind: str) -> None:
    put(place, place.folder / "exp" / name, kind)
    assert name.split("/")[0] in place.run(*EXPERIMENT)


def test_links_inside_and_to_a_run_are_followed(place: Place) -> None:
    run = place.folder / "run"
    run.rename(place.folder / "made")
    run.symlink_to("made")
    (run / "samples" / "y-strip.png").symlink_to("val-strip.png")
    (run / "model.safetensors").unlink()
    (run / "model.safetensors").symlink_to("epochs/epoch-0001.safetensors")
    place.run("check", "run", status=(0,))
    place.run("report", "run", "--out", "page.html", status=(0,))
    assert "y strip" in (place.folder / "page.html").read_text()


def test_links_in_a_data_set_are_followed(place: Place) -> None:
    images = place.own_data() / "train" / "train_img"
    images.rename(place.folder / "input")
    images.mkdir()
    for file in (place.folder / "input").iterdir():
        (images / file.name).symlink_to(file)
    place.run("check", "data", status=(0,))


IN_DATA = ["train/train_img/frame000001.png", "val/val_label/frame000010.png", "hidden.npz", "poses.npz"]
IN_DATA += [".posecast/train-16x16/index.json", ".posecast/train-16x16/frames.npy"]


@pytest.mark.parametrize(
    ("name", "kind"),
    core_first(
        [(name, kind) for name in IN_DATA for kind in ("device", "pipe", "socket", "circle")],
        lambda name, kind: kind == "pipe" and not name.startswith(".posecast"),
    ),
)
def test_special_file_in_a_data_set_is_refused_or_ignored(place: Place, name: str, kind: str) -> None:
    path = place.own_data() / name
    assert path.exists() or name == "poses.npz"
    put(place, path, kind)
    status = (2,) if path.suffix == ".png" else (0,)
    place.run("check", "data", status=status)
    place.run(*f"train --data data --out made {' '.join(OPTIONS)} --steps 1".split(), status=status)


@pytest.mark.parametrize("path", ["{outside}", "//127.0.0.1/x", "\\\\127.0.0.1\\x", "a\0b", "/dev/zero", "\ud800", "~"])
def test_footage_that_a_run_records_is_neither_read_nor_packed(place: Place, path: str) -> None:
    """The folder outside holds a data set, which would be read and packed if its path were trusted."""
    shutil.copytree(place.folder / "data", place.outside, dirs_exist_ok=True)
    shutil.rmtree(place.outside / ".posecast", ignore_errors=True)
    shutil.rmtree(place.own_data() / "train")
    place.before = place.snapshot()
    config = json.loads((place.folder / "run" / "config.json").read_text())
    config["source"] = {"path": path.format(outside=place.outside), "fingerprint": "x"}
    (place.folder / "run" / "config.json").write_text(json.dumps(config))
    from posecast.evaluation.evaluate_run import _training_recordings
    from posecast.model.checkpoint import read_config

    recordings, _ = _training_recordings(*read_config(place.folder / "run"), place.folder / "data")
    assert recordings is None
    place.check_outside()


# Names in plans and grids.

EXPERIMENT = "experiment grid.toml --data data --out exp --seeds 1 --futures 1 --recipe anchored".split()
EXPERIMENT += [*OPTIONS[: OPTIONS.index("--warmup-steps")], "--steps", "2"]
REFUSED = [
    *("../x", "../../outside/x", "..", ".", "", "/", "/etc/x", "a/b", "a/../../x", "a\\b", "..\\x", "C:x", "C:\\x"),
    *("\\\\host\\x", "//host/x", "a..b", "http://x", "a:b", "~/../x", "%2e%2e/x", "./x", "x/.", "outside/../../x"),
    *("a\0b", "\x1b[31mred", "\x1b]0;title\x07", "a\nb", "a\rb", "a\tb", "\x7f", "\x9b1m", "\u202egpj", "\u2066x"),
    *("\u200b", "\ufeffx", "\ud800", "\udcff", "-x", "--out", ".hidden", ".posecast", " x", "x ", "x.", "\u3000"),
    *("x" * 101, "影" * 34, "x" * 100_000, "con", "NUL", "aux.txt", "Com1", "lpt9.x", "[link=http://x]y[/link]"),
    *("<img src=http://127.0.0.1:9/x>", "</title><script>alert(1)</script>"),
]
SHOWN = [
    *("[red]x", "[bold red]", "=1+1", "@SUM(A1)", "+x", "=cmd|'!A1", "'=x", "\uff1dx", "<b>x", "<script>alert(1)<"),
    *("$x^2$", "$\\frac$".replace("\\", ""), "$x", "{{ 7*7 }}", "{% raw %}", "&lt;", "&", "\"q' onload='x", "%s%n"),
    *("{0}", "%(x)s", "#x", "$HOME", "`id`", "$(id)", ";id", "*", "?", "影片", "é", "a b", "x" * 90, "_", "1e-3"),
]


def rename_setting(place: Place, name: str) -> None:
    plan = json.loads((place.folder / "exp" / "experiment.json").read_text())
    plan["settings"] = {name: plan["settings"]["a"], "b": plan["settings"]["b"]}
    (place.folder / "exp" / "experiment.json").write_text(json.dumps(plan))


@pytest.mark.parametrize("name", some_long(REFUSED, 3), ids=ascii)
def test_name_in_a_plan_or_a_grid_that_leads_elsewhere_is_refused(place: Place, name: str) -> None:
    rename_setting(place, name)
    assert "names a setting" in place.run(*EXPERIMENT)
    assert not (place.folder / "exp" / "runs").exists()
    if name.isprintable():  # TOML has no other names
        (place.folder / "grid.toml").write_text(f"[settings.{json.dumps(name, ensure_ascii=False)}]\n")
        assert "names a setting" in place.run(*EXPERIMENT)


@pytest.mark.parametrize("key", ["seeds", "futures", "experiment", "question", "data", "settings", "request"])
@pytest.mark.parametrize(
    "value",
    some_long(
        [None, ["../../outside/x"], "../x", -1, 1e999, 2**70, True, {"../x": 1}, [], [1.5], [None], [2**63], {}], 4
    ),
    ids=str,
)
def test_plan_of_another_form_is_refused(place: Place, key: str, value: Any) -> None:
    plan = json.loads((place.folder / "exp" / "experiment.json").read_text())
    kinds = {"experiment": str, "question": str, "data": str}
    if isinstance(value, kinds.get(key, ())) or (key == "futures" and value in (2**70, True)):
        pytest.skip("it is shown as text, or a number")
    plan[key] = value
    (place.folder / "exp" / "experiment.json").write_text(json.dumps(plan))
    place.run(*EXPERIMENT)


class Text(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def check_page(path: Path) -> Text:
    """Return a page after checking that it holds no markup but ours, and nothing that a browser hides."""
    content = path.read_text(encoding="utf-8")
    page = Text(content)
    assert not page.tags & {"script", "iframe", "object", "link", "base", "form"}
    assert not any(name.startswith("on") for name in page.names)
    assert all(letter.isprintable() or letter == "\n" for letter in content), repr(content)
    return page


def check_csv(path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            for cell in row:
                assert cell.isprintable()
                assert not cell.lstrip().startswith(("=", "+", "@", "-")) or math.isfinite(float(cell))


def finish(place: Place, name: str) -> None:
    for setting in (name, "b"):
        shutil.copytree(place.folder / "run", place.folder / "exp" / "runs" / f"{setting}-seed0")


@pytest.mark.parametrize(
    "name", [value if k % 10 == 2 else pytest.param(value, marks=pytest.mark.long) for k, value in enumerate(SHOWN)]
)
@pytest.mark.filterwarnings("ignore:Glyph")  # matplotlib's font has no Chinese; SVG needs none
def test_other_name_in_a_plan_is_shown_as_text(place: Place, name: str) -> None:
    rename_setting(place, name)
    finish(place, name)
    output = place.run(*EXPERIMENT, status=(0,))
    assert name in output.replace("\n", "") or len(name) > 60
    assert name in check_page(place.folder / "exp" / "comparison.html").text
    for path in (place.folder / "exp" / "curves").iterdir():
        check_csv(path)


# Text in runs.

TEXTS = [
    *("\x1b[31mred\x1b[0m", "\x1b]8;;http://x\x07y", "\x07\x08\x00", "a\nposecast: no", "a\rb", "\u202egpj.exe\u202c"),
    *("[red]x[/red]", "[/]", "[link=http://x]y[/link]", "<script>alert(1)</script>", "</svg><img src=x onerror=y>"),
    *("'\" onload='x", "{{ 7*7 }}", "$\\undefined{$", '=HYPERLINK("http://x")', "\ud800", "x" * 20_000, "&#60;b>"),
]
"""Text that terminals, rich, pages or matplotlib interpret."""


@pytest.mark.parametrize("text", some_long(TEXTS, 4), ids=ascii)
def test_text_in_a_run_is_shown_as_text(place: Place, text: str) -> None:
    run = place.folder / "run"
    if "\ud800" not in text:
        name = f"{text[:90].replace('/', '_')}-strip.png".replace("\0", "_")
        shutil.copy(run / "samples" / "val-strip.png", run / "samples" / name)
    config, scores = (json.loads((run / name).read_text()) for name in ("config.json", "scores.json"))
    rows = {kind: [20.0, 21.0] for kind in ("mean", "sample", "best")}
    scores |= {"psnr": text, "ssim": text, "split": text, "selected_on": text, "seed": text}
    scores |= {"sequences": [{"name": text, "psnr_db": rows}]}
    config["machine"] |= {"device": text}
    (run / "scores.json").write_text(json.dumps(scores))
    (run / "config.json").write_text(json.dumps(config | {"posecast": text, "imported_from": text}))
    place.run("check", "run", status=(0, 2))
    (run / "config.json").write_text(json.dumps(config | {"posecast": text, text: text, "recipe": text}))
    place.run("report", "run", "--out", "page.html", status=(0,))
    visible = max(text.replace("\n", "\x1b").split("\x1b"), key=len).strip("\x07\x00\x08\u202e\u202c\r")[:20]
    assert visible.isprintable() is False or visible in check_page(place.folder / "page.html").text
    place.run("check", "run", status=(0, 2))


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_text_in_a_log_makes_no_formula_and_no_column_of_its_own(place: Place, text: str) -> None:
    from posecast.reporting.experiment_figures import write_rows

    path = place.folder / "made"
    write_rows(path, ("setting", text), [(text, text), (f"={text}", f" @{text}"), ("-1.5e-05", -2), (None, [text])])
    check_csv(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [len(row) for row in rows] == [2] * 5
    assert rows[3] == ["-1.5e-05", "-2"]


# Numbers and nesting that exhaust a machine.

BOMBS = {
    "deep list": "[" * 100_000,
    "deep and closed": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "90 deep": '{"posecast": "1", "a": ' + "[" * 90 + "]" * 90 + "}",
    "900 deep": '{"posecast": "1", "a": ' + '{"a":' * 900 + "1" + "}" * 901,
    "million digits": '{"posecast": "1", "loss": ' + "9" * 1_000_000 + "}",
    "400 digits": '{"posecast": "1", "loss": ' + "9" * 400 + "}",
    "infinite": '{"posecast": "1", "loss": 1e999, "rate": -Infinity, "step": NaN}',
    "not JSON": "posecast\0" * 1000,
    "UTF-16": "\ufeff{}",
    "empty": "",
    "a list": "[1, 2]",
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", ["run/config.json", "run/scores.json", "run/log.jsonl", "exp/experiment.json"])
def test_json_that_exhausts_a_machine_is_refused(place: Place, name: str, bomb: str) -> None:
    (place.folder / name).write_text(BOMBS[bomb])
    if name.startswith("exp"):
        assert "experiment.json" in place.run(*EXPERIMENT)
        return
    place.run("check", "run", status=(0, 2))
    place.run("report", "run", "--out", "page.html", status=(0, 2))


HUGE = ["config.json", "scores.json", "log.jsonl", "model.safetensors", "samples/val-strip.png"]


@pytest.mark.parametrize("name", HUGE)
def test_huge_file_is_refused_before_it_is_read(place: Place, name: str) -> None:
    with (place.folder / "run" / name).open("wb") as file:
        file.truncate(2**40)
    command = ["report", "run", "--out", "page.html"] if "samples" in name or "scores" in name else ["check", "run"]
    assert "bytes" in place.run(*command)


EXTREME = [0, -1, 10**300, -(10**300), 1e308, -1e308, 5e-324, 1e999, "x", None, True, [], {}, [1], {"a": 1}]


@pytest.mark.parametrize("value", some_long(EXTREME, 3), ids=str)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy and matplotlib; a line of text for users
def test_extreme_numbers_in_scores_and_log_are_shown_or_refused(place: Place, value: Any) -> None:
    run = place.folder / "run"
    entry = dict.fromkeys(("epoch", "step", "loss", "rate", "seconds", "validation_psnr_db", "learning_rate"), value)
    (run / "log.jsonl").write_text(json.dumps(entry) + "\n")
    scores = {"summary": {"psnr_db": {"mean": value, "best": 1.0}, "futures": value}, "drift": value, "factors": value}
    write_json(run / "scores.json", {**scores, "sequences": value, "baselines": value, "latent": {"units": value}})
    place.run("check", "run", status=(0, 2))
    place.run("report", "run", "--out", "page.html", status=(0, 2))


def bomb_of_merges(levels: int = 12) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}" for k in range(1, levels)]
    return "\n".join(lines)


def bomb_of_lists(levels: int = 12) -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, levels)]
    return "\n".join([*lines, f"learning_rate: *a{levels - 1}"])


SETTINGS = {
    "lists.yaml": bomb_of_lists(),
    "merges.yaml": bomb_of_merges(),
    "few aliases.yaml": "a: &a [1, 1]\nb: &b [*a, *a]\nlearning_rate: [*b, *b, *b]",
    "circle.yaml": "learning_rate: &a [*a]",
    "deep.yaml": "learning_rate: " + "[" * 3000,
    "digits.yaml": "seed: " + "9" * 100_000,
    "code.yaml": "seed: !!python/object/apply:os.system ['touch outside/x']",
    "keys.yaml": "? [1, 2]\n: 3",
    "recipe.yaml": "recipe: [lab4]",
    "recipe of a table.yaml": "recipe: {a: 1}",
    "size.yaml": "size: " + "9" * 5000 + "x16",
    "name.yaml": '"\\e[31m": 1',
    "hex.toml": "seed = 0x" + "f" * 100_000,
    "digits.toml": "seed = " + "9" * 100_000,
    "deep.toml": "seed = " + "[" * 3000,
    "tables.toml": "[" + ".".join("a" * 2000) + "]\nx = 1",
    "name.toml": '"[red]\\u001b[31m" = 1',
    "bytes.toml": "seed = 1 # \udcff",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_exhaust_a_machine_are_refused(place: Place, name: str) -> None:
    path = place.folder / "input" / name
    path.parent.mkdir()
    path.write_text(SETTINGS[name], errors="surrogateescape")
    place.run("train", "--data", "data", "--out", "made", "--config", str(path), "--dry-run")
    if name.endswith(".toml"):
        path.write_text(f"[settings.a]\n{SETTINGS[name]}", errors="surrogateescape")
        words = [*EXPERIMENT]
        words[1] = str(path)
        place.run(*words)


def tensors(header: Any, size: int = 64) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(8, "little") + text + bytes(size)


def tensor(dtype: str = "F32", shape: Any = (4, 4), offsets: Any = (0, 64)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


WEIGHTS = {
    "long header": (2**62).to_bytes(8, "little") + b"{}",
    "header beyond the file": (2**20).to_bytes(8, "little") + b"{}",
    "shape beyond the file": tensors({"x": tensor(shape=(2**40, 2**20))}),
    "overflowing shape": tensors({"x": tensor(shape=(2**63, 2))}),
    "offsets beyond the file": tensors({"x": tensor(offsets=(0, 2**40))}),
    "negative offsets": tensors({"x": tensor(offsets=(-64, 0))}),
    "overlapping": tensors({"x": tensor(), "y": tensor()}),
    "unknown type": tensors({"x": tensor("F33")}),
    "half bytes": tensors({"x": tensor("F4", (128,))}),
    "complex": tensors({"x": tensor("C64", (8,))}),
    "other metadata": tensors({"__metadata__": None, "x": tensor()}),
    "metadata of numbers": tensors({"__metadata__": {"blake2b": 1}, "x": tensor()}),
    "wrong digest": tensors({"__metadata__": {"blake2b": "0"}, "x": tensor()}),
    "deep header": tensors(b'{"x":' + b"[" * 100_000),
    "no tensor": tensors({}, 0),
    "escapes in a name": tensors({"\x1b[31m\n../../outside/x": tensor()}),
    "long name": tensors({"x" * 1_000_000: tensor()}),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_lie_are_refused(place: Place, case: str) -> None:
    (place.folder / "run" / "model.safetensors").write_bytes(WEIGHTS[case])
    output = place.run("evaluate", "run", "--data", "data")
    assert "model.safetensors" in output
    assert len(output) < 1000


def png(height: int, width: int) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000)))]
    framed = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [*chunks, (b"IEND", b"")]
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("size", [(60_000, 60_000), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1), (0, 0), (9000, 9000)])
def test_image_that_claims_to_be_huge_is_refused(place: Place, size: tuple[int, int]) -> None:
    (place.folder / "input").write_bytes(png(*size))
    words = "generate run --first-frame input --poses data/test/test_label/0 --out made"
    assert "input" in place.run(*words.split())
    frame = next((place.own_data() / "train" / "train_img").iterdir())
    frame.write_bytes(png(*size))
    assert frame.name in place.run("check", "data", status=(1, 2))


# Submissions and keypoints.

SUBMISSIONS = {
    "empty": "",
    "escapes": "id,\x1b[31mvalue\n1,2\n",
    "formulas": "id,pixel_0\n=1+1,@x\n",
    "long line": "id," + ",".join(["pixel"] * 200_000),
    "long cell": "id," + "9" * 300_000 + "\n",
    "many digits": "id,pixel_0\n" + "9" * 5000 + ",1\n",
    "infinite": "id,pixel_0\n0,1e999\n",
    "nulls": "id,\0,\0\n0,\0\n",
    "markup": "[red]id[/red],[link=http://x]y\n0,1\n",
    "quotes": 'id,"' + "x\n" * 10_000,
    "no text": "\udcff\udcfe\n",
}


@pytest.mark.parametrize("case", SUBMISSIONS)
def test_hostile_submission_is_refused(place: Place, case: str) -> None:
    path = place.folder / "input"
    path.write_text(SUBMISSIONS[case], errors="surrogateescape")
    words = ["score", "input", "--truth", "data/test/test_label", "--size", "16x16"]
    output = place.run(*words)
    assert "input" in output
    assert len(output) < 1000
    path.write_text(SUBMISSIONS[case].replace("pixel_0", "Usage"), errors="surrogateescape")
    place.run("score", "made", "--truth", "data/test/test_label", "--parts", "input")


@pytest.mark.parametrize("case", [*BOMBS, "hostile names"])
def test_hostile_keypoints_are_refused(place: Place, case: str) -> None:
    if case == "infinite":
        pytest.skip("a file without people is read")
    people = [{"image_id": text, "keypoints": [1.0] * 51, "category_id": 1} for text in (*REFUSED[:20], *TEXTS)]
    content = json.dumps(people) if case == "hostile names" else BOMBS[case]
    (place.folder / "input").write_text(content, errors="surrogatepass")
    (place.folder / "input").rename(place.folder / "made")
    (place.folder / "input").mkdir()
    (place.folder / "made").rename(place.folder / "input" / "poses.json")
    words = ["extract", "clip.mp4", "made", "--size", "16x16", "--keypoints", "input/poses.json"]
    place.run(*words)


def test_at_least_two_hundred_cases_are_tried() -> None:
    names = len(REFUSED) + len(SHOWN) + len(TEXTS)
    files = len(IN_RUN) * len(KINDS) + len(BOMBS) * 4 + len(SETTINGS) + len(WEIGHTS) + len(SUBMISSIONS)
    assert names + files >= 200
