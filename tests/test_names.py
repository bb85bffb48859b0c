"""Names of files are names, never addresses, patterns or options; a file makes no program open another one.

Names and contents are those that FFmpeg, shells, terminals, glob, rich or file systems interpret. Run as a program, it
uses all of them in the folder given, for the test that traces its sockets.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from posecast.cli.main import main
from posecast.data.images import write_png
from posecast.errors import InputError
from posecast.video import driving, writer
from posecast.video import extract as extraction
from posecast.video.audio import add_sound
from posecast.video.containers import open_input
from posecast.video.reader import default_fps, length_s, list_videos, read_timed_frames

from .hostile_files import CONTENTS, ENDINGS, OUTPUTS, PORT, STEMS, Standing, fill, write_sounding
from .syscalls import can_trace, sockets_of
from .videos import read_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the same video under every name."""
    folder = tmp_path_factory.mktemp("clips")
    fill(folder)
    return folder


def shown(output: str) -> str:
    """Return output after checking that a terminal can show it."""
    assert "Traceback" not in output
    assert all(letter.isprintable() or letter == "\n" for letter in output), repr(output)
    return output


@pytest.mark.parametrize("stem", STEMS)
def test_name_is_read_as_a_file(clips: Path, stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clips)  # a relative name has no slash before the colon
    path = Path(f"{stem}.mp4")
    assert [frame.number for frame in read_timed_frames(path)] == list(range(12))
    assert (length_s(path), default_fps(path)) == (0.5, 24.0)


@pytest.mark.parametrize("name", OUTPUTS)
def test_name_is_written_into_a_folder_that_does_not_exist(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(f"in {name}"[:200], name)
    write(path)
    assert os.listdir(tmp_path) == [path.parent.name]
    assert os.listdir(path.parent) == [name]
    assert len(list(read_video(path) if path.is_file() else path.iterdir())) == 2


def write(path: Path) -> None:
    with writer.open_writer(path) as video:
        for k in range(2):
            video.write(np.full((16, 16, 3), 100 * k, np.uint8))


@pytest.mark.parametrize("stem", STEMS)
def test_sound_is_taken_from_and_added_to_any_name(
    clips: Path, tmp_path: Path, stem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with writer.open_writer(Path(f"{stem}.mp4"), fps=24.0) as video:
        video.write(np.zeros((16, 16, 3), np.uint8))
    add_sound(Path(f"{stem}.mp4"), clips / f"{stem}.mp4")
    with open_input(Path(f"{stem}.mp4")) as container:
        assert (len(container.streams.video), len(container.streams.audio)) == (1, 1)
    assert os.listdir(tmp_path) == [f"{stem}.mp4"]


@pytest.mark.parametrize("content", CONTENTS)
def test_file_that_names_others_is_refused(clips: Path, content: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = clips / "names others"
    path.write_bytes(CONTENTS[content])
    with pytest.raises(InputError, match=r"no readable video|no video stream|no frames"):
        list(read_timed_frames(path))
    assert default_fps(path) == 25.0
    path.unlink()


def test_reference_to_the_frames_of_another_file_is_not_followed(tmp_path: Path) -> None:
    """QuickTime calls it an alias; the moov box is at the end, so that it can grow."""
    write(tmp_path / "other.mp4")
    content = (tmp_path / "other.mp4").read_bytes()
    target = os.fsencode(tmp_path / "other.mp4")
    record = bytes(10) + bytes(28) + bytes(12) + b"\x09other.mp4".ljust(64, b"\0") + bytes(16) + b"\0\1\0\1" + bytes(16)
    record += struct.pack(">hH", 2, len(target)) + target + bytes(len(target) % 2) + b"\xff\xff"
    alias = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    entry = b"\0\0\0\x0curl \0\0\0\1"
    grown = content.replace(entry, alias)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = grown.index(box) - 4
        (size,) = struct.unpack(">I", grown[place : place + 4])
        grown = grown[:place] + struct.pack(">I", size + len(alias) - len(entry)) + grown[place + 4 :]
    (tmp_path / "a.mp4").write_bytes(grown)
    assert grown.count(b"alis") == 1
    with pytest.raises(InputError, match="no frames"):
        list(read_timed_frames(tmp_path / "a.mp4"))
    with av.open(str(tmp_path / "a.mp4"), options={"enable_drefs": "1", "use_absolute_path": "1"}) as followed:
        assert len(list(followed.decode(video=0))) == 2  # so the reference is a valid one


def test_folder_of_all_names_is_extracted(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extraction, "BlazePose", Standing)
    monkeypatch.chdir(tmp_path)
    out = "http:out\n\udcff\x1b[31m*"
    assert len(list_videos([clips])) == len([stem for stem in STEMS if not stem.startswith(".")]) + 1
    assert main(["extract", str(clips), out, "--size", "16x16"]) == 0
    output = capsys.readouterr()
    shown(output.out), shown(output.err)
    facts = json.loads(Path(out, "extract.json").read_text(encoding="utf-8"))
    json.dumps(facts, ensure_ascii=False).encode()  # no lone surrogates
    assert main(["check", out]) == 0
    shown(capsys.readouterr().out)


COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "check": lambda name: ["check", name],
    "extract": lambda name: ["extract", name, "out"],
    "report": lambda name: ["report", name, "--out", "page.html"],
    "score": lambda name: ["score", name, "--data", name],
    "extract with keypoints": lambda name: ["extract", name, "out", "--keypoints", name],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("stem", STEMS)
def test_missing_file_of_any_name_is_named_in_one_line(
    tmp_path: Path, stem: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(COMMANDS[command](f"./{stem}")) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = shown(output.err).splitlines()
    assert line.startswith("posecast: ")


def use_names(folder: Path) -> None:
    """Read, write and extract files of all names and contents in a folder."""
    os.chdir(folder)
    for k, content in enumerate(CONTENTS.values()):
        Path(f"content{k}.mp4").write_bytes(content)
        assert main(["extract", f"content{k}.mp4", "out"]) == 2
        Path(f"content{k}.mp4").unlink()
    for name in OUTPUTS:
        write(Path("written", name))
        if name.endswith(".mp4"):
            add_sound(Path("written", name), Path(name))
    extraction.BlazePose = Standing  # pyright: ignore[reportAttributeAccessIssue]
    assert main(["extract", *(f"{stem}.mp4" for stem in STEMS[:12]), "http:out", "--size", "16x16"]) == 0
    assert main(["extract", f"http:127.0.0.1:{PORT}?x.mp4", "http:one", "--size", "16x16", "--preview"]) == 0


WORST = (f"http:127:{PORT}?%03d*[a]", "--x {0}\n\x1b[31m", "\udcff\udcfe 影片", "simplecache::x", "[red]<b>'\"\\")
SMALL = "--size 16x16 --widths 8 16 --blocks 1 --clip-length 4 --steps 2".split()
TEMPLATE = "--frame_H 16 --frame_W 16 --val_vi_len 20 --device cpu --F_dim 8 --L_dim 4 --N_dim 4 --D_out_dim 8".split()
TEMPLATE += ["--train_vi_len", "4"]
LAB4 = "--recipe lab4 --frame-channels 8 --pose-channels 4 --latent-channels 4 --fusion-channels 8".split()


def every_command(name: str) -> list[list[str]]:
    """Return the commands for a folder that has a video `ok.mp4`, with inputs and outputs of this name."""
    data, run, lab4 = (f"./{name} {kind}" for kind in ("data", "run", "lab4"))
    clip, photo = f"./{name}.mp4", f"./{name}.png"
    tensorboard = ["--tensorboard"] if name.isprintable() else []  # it takes only valid UTF-8
    generate = ["generate", run, "--first-frame", photo, "--first-pose", photo, "--force"]
    return [
        ["synth", data, "--sequences", "2", "--frames", "20", "--size", "16x16"],
        ["check", data],
        ["train", "--data", data, "--out", run, *SMALL],
        ["check", run],
        ["evaluate", run, "--data", data, "--futures", "1"],
        ["report", run, "--out", f"./{name}.html"],
        ["extract", clip, f"./{name} own", "--size", "16x16", "--preview"],
        *([*generate, "--poses", clip, "--no-fit", "--out", f"./{name} made{ending}"] for ending in ENDINGS),
        [*generate, "--poses", clip, "--no-fit", "--out", f"./{name}.made.mp4", "--audio"],
        [*generate, "--poses", f"./{name} own", "--no-fit", "--out", f"./{name}.made.gif", "--futures", "2"],
        ["submit", run, "--data", data, "--out", f"./{name} sent"],
        ["train", "--data", data, "--out", lab4, *LAB4, "--size", "16x16", "--clip-length", "4", "--steps", "2"],
        ["export-lab4", lab4, "--out", f"./{name}.ckpt"],
        ["import-lab4", f"./{name}.ckpt", "--out", f"./{name} imported", "--size", "16x16"],
        ["train", "--data", data, "--out", f"./{name} more", *SMALL, "--from", run, *tensorboard],
        ["experiment", "grid.toml", "--data", data, "--out", f"./{name} grid", "--seeds=1", "--futures=1", *SMALL],
        ["score", f"./{name} sent/submission.csv", "--truth", f"{data}/test/test_label", "--size", "16x16"],
        ["lab4", "train", "--DR", data, "--save_root", f"./{name} taught", *TEMPLATE, "--num_epoch", "1"],
        ["lab4", "train", "--DR", data, "--save_root", f"./{name} root", *TEMPLATE, "--test", "--ckpt_path", lab4],
        ["lab4", "test", "--DR", data, "--save_root", f"./{name} told", *TEMPLATE[:6], "--ckpt_path", f"./{name}.ckpt"],
        ["demo", "--out", f"./{name} demo", *"--minutes 0.05 --sequences 1 --frames 40 --size 16x16".split()],
        ["doctor"],
    ]


def prepare(folder: Path, name: str) -> None:
    write_sounding(folder / f"{name}.mp4")
    write_png(folder / f"{name}.png", np.zeros((16, 16, 3), np.uint8))
    grid = 'recipe = "anchored"\n[settings.low]\nlearning_rate = 1e-4\n[settings.high]\nlearning_rate = 1e-3\n'
    (folder / "grid.toml").write_text(grid)
    os.chdir(folder)
    extraction.BlazePose = driving.BlazePose = Standing  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.long
@pytest.mark.parametrize("name", WORST)
def test_every_command_takes_every_name(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (extraction, driving):
        monkeypatch.setattr(module, "BlazePose", Standing)
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, name)
    for words in every_command(name):
        status, output = main(words), capsys.readouterr()
        assert status == 0, (words, output.err)
        shown(output.out), shown(output.err)


def use_every_command(folder: Path) -> None:
    """Run every command with the first of the worst names."""
    prepare(folder, WORST[0])
    for words in every_command(WORST[0]):
        assert main(words) == 0, words


CALL = (
    "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from tests import test_names; "
    "getattr(test_names, sys.argv[2])(pathlib.Path(sys.argv[3]))"
)
"""Program that calls a function above; PYTHONPATH could not name a folder with a colon."""
needs_strace = pytest.mark.skipif(not can_trace(), reason="strace is not installed or may not trace")


@needs_strace
@pytest.mark.parametrize("use", ["use_names", pytest.param("use_every_command", marks=pytest.mark.long)])
def test_names_and_contents_open_no_socket(tmp_path: Path, use: str) -> None:
    (tmp_path / "clips").mkdir()
    fill(tmp_path / "clips")
    status, sockets = sockets_of([sys.executable, "-c", CALL, str(Path(__file__).parents[1]), use, "clips"], tmp_path)
    assert sockets == []
    assert status == 0, (tmp_path / "output").read_text()[-2000:]


@needs_strace
def test_trace_shows_the_sockets_of_child_processes(tmp_path: Path) -> None:
    code = "import socket; socket.socket(); socket.socketpair()"
    status, sockets = sockets_of(["sh", "-c", f"{sys.executable} -c '{code}'; true"], tmp_path)
    assert status == 0
    assert len(sockets) == 1
