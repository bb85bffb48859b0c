"""The README's commands in surroundings that people have: no home, odd encodings, schedulers, names and drives."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from posecast.cli.main import main
from posecast.training.distributed import single_process

from .hostile_files import write_sounding

NOBODY = 12345
"""Number of a user without a name."""
AS_NOBODY = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --inh-caps +dac_read_search".split()
AS_NOBODY += ["--ambient-caps", "+dac_read_search"]  # to read Python, which may lie in a home; nothing more is written

TO_FILE = ["sh", "-c", '"$@" > ../stdout 2> ../stderr', "sh"]


@functools.cache
def can_be_nobody() -> bool:
    command = [*AS_NOBODY, sys.executable, "-c", "pass"]
    return shutil.which("setpriv") is not None and subprocess.run(command, capture_output=True).returncode == 0


@dataclass(frozen=True)
class Surrounding:
    """Circumstances in which a command is run."""

    variables: dict[str, str] = field(default_factory=dict)
    has_home: bool = True
    is_data_read_only: bool = False
    to_file: bool = False
    folder: str = "work"


SLURM = dict.fromkeys(("SLURM_NTASKS", "SLURM_NPROCS"), "4") | {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}
SLURM |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NAME": "train"}
STALE = {"MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "1", "NODE_RANK": "1", "LOCAL_RANK": "3"}
CP950 = {"PYTHONIOENCODING": "cp950"}
SURROUNDINGS = {
    "no home": Surrounding(has_home=False),
    "cp950": Surrounding(CP950),
    "Slurm": Surrounding(SLURM),
    "stale variables": Surrounding(STALE),
    "C locale": Surrounding({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, folder="影片"),
    "output to a file": Surrounding(to_file=True),
    "read-only data": Surrounding(is_data_read_only=True),
    "an odd folder": Surrounding(folder="my run: 影片"),
    "all at once": Surrounding(
        SLURM | STALE | CP950, has_home=False, is_data_read_only=True, to_file=True, folder="my run: 影片"
    ),
}

TINY = "--size 16x16 --widths 8 16 --blocks 1 --clip-length 4 --steps 2".split()
STEPS = TINY[-2:]
TINY_LAB4 = "--recipe lab4 --frame-channels 8 --pose-channels 4 --latent-channels 4 --fusion-channels 8".split()
TRAIN = ["train", "--data", "data", "--out", "new"]
GENERATE = "generate run --first-frame photo.png --poses data/test/test_label/0 --out".split()
COMMANDS: dict[str, tuple[list[str], str]] = {
    # Words, and a file that is written, or a word of the output.
    "help": (["--help"], "COMMAND"),
    "plan": ([*TRAIN, *TINY, "--dry-run"], "anchored"),
    "check data": (["check", "data"], "No errors"),
    "train": ([*TRAIN, *TINY], "new/model.safetensors"),
    "synth": ("synth new --sequences 1 --frames 8 --size 16x16".split(), "new/val"),
    "check run": (["check", "run"], "No errors"),
    "train in two processes": ([*TRAIN, *TINY, "--devices", "2"], "new/model.safetensors"),
    "resume": (["train", "--data", "data", "--out", "run", *TINY, "--resume"], "run/model.safetensors"),
    "evaluate": ("evaluate run --data data --futures 1".split(), "run/scores.json"),
    "mp4": ([*GENERATE, "new.mp4"], "new.mp4"),
    "gif": ([*GENERATE, "new.gif", "--scale", "2"], "new.gif"),
    "report": ("report run lab4 --out new.html".split(), "new.html"),
    "experiment": (
        "experiment grid.toml --data data --out new --seeds 1 --futures 1".split() + TINY,
        "comparison.html",
    ),
    "submit": ("submit run --data data --out new".split(), "new/submission.csv"),
    "score": ("score sent/submission.csv --truth data/val/val_img --size 16x16".split(), "PSNR"),
    "the template's options": (
        "lab4 train --DR data --save_root new --num_epoch 1 --dry_run".split(),
        "posecast train",
    ),
    "export": ("export-lab4 lab4 --out new.ckpt".split(), "new.ckpt"),
    "import": ("import-lab4 old.ckpt --out new --size 16x16".split(), "new/model.safetensors"),
    "doctor": (["doctor"], "what to expect"),
    "extract": ("extract ok.mp4 new --keypoints keypoints.json --size 16x16 --preview".split(), "new/preview.mp4"),
    "demo": ("demo --out new --minutes 0.1 --sequences 1 --frames 60 --size 16x16".split(), "new/report.html"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an input for every command."""
    base = tmp_path_factory.mktemp("base")
    data, lab4 = str(base / "data"), str(base / "lab4")
    assert main(["synth", data, "--sequences", "1", "--frames", "12", "--size", "16x16"]) == 0
    assert main(["train", "--data", data, "--out", str(base / "run"), *TINY]) == 0
    shutil.copy(next((base / "data/test/test_img/0").iterdir()), base / "photo.png")
    grid = 'recipe = "anchored"\n[settings.low]\nlearning_rate = 1e-4\n[settings.high]\nlearning_rate = 1e-3\n'
    (base / "grid.toml").write_text(grid)
    assert (
        main(["train", "--data", data, "--out", lab4, *TINY_LAB4, "--size", "16x16", "--clip-length", "4", *STEPS]) == 0
    )
    assert main(["export-lab4", lab4, "--out", str(base / "old.ckpt")]) == 0
    assert main(["submit", str(base / "run"), "--data", data, "--out", str(base / "sent")]) == 0
    write_sounding(base / "ok.mp4")
    joints = np.linspace((20, 8, 0.9), (28, 40, 0.9), 17).flatten().tolist()
    people = [{"image_id": k, "category_id": 1, "keypoints": joints, "score": 0.9} for k in range(12)]
    (base / "keypoints.json").write_text(json.dumps(people))
    shutil.rmtree(base / "data/.posecast")
    return base


@pytest.fixture
def work() -> Iterator[Path]:
    """Return a folder that every user may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def own(folder: Path) -> None:
    """Give a folder to the user without a name."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)


CORE = {("all at once", "check data"), ("all at once", "train")}
TELLING = ("train", "evaluate", "mp4")
"""Commands that are run in every surrounding; the others are run in all surroundings at once."""
CASES = [
    pytest.param(name, command, marks=[] if (name, command) in CORE else pytest.mark.long)
    for name in SURROUNDINGS
    for command in COMMANDS
    if name == "all at once" or command in TELLING
]


@pytest.mark.parametrize(("surrounding", "command"), CASES)
def test_command_runs(surrounding: str, command: str, base: Path, work: Path) -> None:
    place, (words, result) = SURROUNDINGS[surrounding], COMMANDS[command]
    needs_nobody = not place.has_home or place.is_data_read_only
    if needs_nobody and not can_be_nobody():
        pytest.skip("only root can become another user")
    folder = work / place.folder
    shutil.copytree(base, folder)
    environment = {} if not place.has_home else {**os.environ, "XDG_CACHE_HOME": str(work / "cache")}
    environment |= {"PATH": os.environ["PATH"], "TMPDIR": tempfile.gettempdir(), "PYTHONDONTWRITEBYTECODE": "1"}
    if needs_nobody:
        own(folder)
    if place.is_data_read_only:
        for path in (folder / "data", *(folder / "data").rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
    before = {path for path in (folder / "data").rglob("*") if ".posecast" not in path.parts}
    prefix = (AS_NOBODY if needs_nobody else []) + (TO_FILE if place.to_file else [])
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "posecast", *words],
        cwd=folder,
        env=environment | place.variables,
        capture_output=True,
    )
    encoding = "cp950" if "PYTHONIOENCODING" in place.variables else "utf-8"
    streams = {"stdout": done.stdout, "stderr": done.stderr}
    streams |= {path.name: path.read_bytes() for path in work.glob("std*")}
    output, messages = (streams[name].decode(encoding) for name in ("stdout", "stderr"))
    assert done.returncode == 0, messages
    assert "Traceback" not in output + messages
    assert (folder / result).exists() or list(folder.rglob(result)) or result in output
    assert before == {path for path in (folder / "data").rglob("*") if ".posecast" not in path.parts}
    if place.is_data_read_only:
        assert not (folder / "data/.posecast").exists()
        for path in (folder / "data", *(folder / "data").rglob("*")):
            path.chmod(path.stat().st_mode | 0o700)  # so that it can be removed


LAUNCHED = {"TORCHELASTIC_RUN_ID": "7", "RANK": "1", "WORLD_SIZE": "4", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "4"}


@pytest.mark.parametrize("variables", [SLURM, STALE, LAUNCHED, SLURM | STALE | LAUNCHED], ids=lambda v: next(iter(v)))
def test_a_measurement_is_made_in_one_process(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fabric = single_process("cpu")
    assert (fabric.world_size, fabric.global_rank) == (1, 0)
