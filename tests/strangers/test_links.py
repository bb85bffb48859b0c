"""Links and special files in runs, experiments and data sets of strangers: nothing outside them is read."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from posecast.evaluation.evaluate_run import _training_recordings
from posecast.model.checkpoint import read_config

from ..test_moved_data import OPTIONS
from .place import EXPERIMENT, Place, core_first, linux_only

pytestmark = linux_only

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
    recordings, _ = _training_recordings(*read_config(place.folder / "run"), place.folder / "data")
    assert recordings is None
    place.check_outside()
