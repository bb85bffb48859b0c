"""Damaged and hostile files, made from valid ones, as input of every reader of posecast.

A reader may return or raise an `InputError`. Failures are: any other exception, a crash, excessive time or memory, and
a file written outside its folder. `test_damage.py` runs the readers in other processes, so that a crash is noticed.
Run some by hand: `python -m tests.damage READER,READER COUNT SEED`.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import signal
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posecast.errors import InputError

SECONDS = 10
"""Limit of processor time for one input."""
MEGABYTES = 1500
"""Limit of the peak memory of the process."""


@dataclass(frozen=True)
class Reader:
    """Kind of file: functions that write a valid one into a folder and that read it."""

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    hostile: Callable[[], list[bytes]] = list
    """Returns contents designed to do harm."""


# Damage -----------------------------------------------------------------------------------------------------------


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Return the content of a valid file with one kind of damage, drawn at random."""
    length = len(whole)
    kind = rng.integers(0, 9)
    place = int(rng.integers(0, max(1, length)))
    if kind == 0:  # cut off
        return whole[:place]
    if kind == 1:  # bits flipped
        array = bytearray(whole)
        for _ in range(int(rng.integers(1, 9))):
            array[int(rng.integers(0, max(1, length)))] ^= 1 << int(rng.integers(0, 8))
        return bytes(array)
    if kind == 2:  # a sector of zeros
        return whole[:place] + bytes(min(512, length - place)) + whole[place + 512 :]
    if kind == 3:  # a sector of noise
        return whole[:place] + rng.bytes(min(512, length - place)) + whole[place + 512 :]
    if kind == 4:  # a piece repeated
        return whole[:place] + whole[place // 2 : place] + whole[place:]
    if kind == 5:  # a piece missing
        return whole[:place] + whole[place + int(rng.integers(1, 64)) :]
    if kind == 6:  # the largest number, perhaps in place of a length
        return whole[:place] + b"\xff\xff\xff\x7f" + whole[place + 4 :]
    if kind == 7:  # bytes of the header changed
        header = bytearray(whole)
        for _ in range(3):
            header[int(rng.integers(0, min(length, 64) or 1))] = int(rng.integers(0, 256))
        return bytes(header)
    return FOREIGN[int(rng.integers(0, len(FOREIGN)))]


FOREIGN = (
    b"",
    b"\0",
    b"{}",
    b"[]",
    b"null",
    b'{"posecast": 1}',
    b"NaN",
    b"[" * 50_000,
    b'{"a":' * 20_000,
    b"\x80\x04cos\nsystem\n(S'touch harm'\ntR.",
    b"%PDF-1.7\n",
    "name,werte\n1,ü\n".encode("utf-16"),
    b"\x89PNG\r\n\x1a\n",
    b"PK\x05\x06" + bytes(18),
    b"a: &a [*a, *a]\n",
    b"\xff" * 4096,
)


def png_bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """Return a PNG of a few kilobytes that decodes to gigabytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


def text_bomb_png() -> bytes:
    """Return a PNG with a comment that expands to 64 MB, a thousand times its size."""
    whole = png_of(4, 4)
    comment = zlib.compress(bytes(64 * 2**20), 9)
    body = b"Comment\0\0" + comment
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    return whole[:33] + chunk + whole[33:]


def png_of(height: int, width: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def npz_bomb(name: str = "keypoints.npy") -> bytes:
    """Return an archive with an array whose header states three hundred gigabytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 25, 3)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for other in ("names", "joints", "keypoints", "windows", "frame_sizes", "size", "fps"):
            array = io.BytesIO()
            np.save(array, np.ones(2))
            archive.writestr(f"{other}.npy", header.getvalue() if name == f"{other}.npy" else array.getvalue())
    return buffer.getvalue()


class Harm:
    """Object whose unpickling creates a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch harm",))


def pickles() -> list[bytes]:
    """Return pickles that run code, plain and in the archive format of torch."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state": Harm()}))
        archive.writestr("archive/version", "3\n")
    return [pickle.dumps(Harm()), pickle.dumps({"model": Harm()}, protocol=2), buffer.getvalue()]


# Readers ----------------------------------------------------------------------------------------------------------


def _png(folder: Path) -> Path:
    (folder / "a.png").write_bytes(png_of(24, 32))
    return folder / "a.png"


def _read_png(path: Path) -> object:
    from posecast.data.images import read_image

    return read_image(path)


def _course(folder: Path) -> Path:
    from posecast.data.folder_dataset import write_recordings
    from posecast.data.recordings import Recording

    pixels = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), dtype=np.uint8)
    write_recordings(folder / "data", "train", [Recording("a", pixels, pixels)])
    return folder / "data" / "train" / "train_img" / "frame000002.png"


def _check(path: Path) -> object:
    from posecast.data.check import check

    return check(path.parents[2])


def _pack(what: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from posecast.data.cache import load_recordings

        _course(folder)
        load_recordings(folder / "data", "train", (8, 8))
        return folder / "data" / ".posecast" / "train-8x8" / what

    return make


def _load_pack(path: Path) -> object:
    from posecast.data.cache import load_recordings

    (recording,) = load_recordings(path.parents[2], "train", (8, 8))
    return recording.frames.sum()


def _trained_run(what: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from posecast.config.overrides import build_config
        from posecast.data.dancer.dance import dance
        from posecast.data.recordings import Footage
        from posecast.training.train import train

        tiny = {"size": "16x16", "widths": [8, 16], "blocks": 1, "clip_length": 4, "steps": 2, "latent_channels": 2}
        recording = dance(12, seed=0, size=(16, 16)).recording
        train(build_config("anchored", flags=tiny), Footage([recording], [recording]), folder / "run")
        if what == "state":
            return next((folder / "run" / "state").glob("step-*.pt"))
        return folder / "run" / what

    return make


def _scores(folder: Path) -> Path:
    from posecast.data.dancer.dance import dance
    from posecast.evaluation.evaluate import evaluate
    from posecast.files import write_json
    from posecast.model.checkpoint import load_run

    path = _trained_run("scores.json")(folder)
    recording = dance(12, seed=0, size=(16, 16)).recording
    write_json(path, evaluate(load_run(path.parent), [recording], training=[recording], futures=2).as_json())
    return path


def _read_body(path: Path) -> object:
    from posecast.video.generate import trained_body

    return trained_body(path.parent)


def _load_run(path: Path) -> object:
    from posecast.model.checkpoint import load_run

    return load_run(path.parent)


def _load_state(path: Path) -> object:
    from posecast.training.checkpoints import load_state

    return load_state(path.parents[1])


def _report(path: Path) -> object:
    from posecast.reporting.run_report import write_report

    return write_report([path.parent], path.parent.parent / "page.html", force=True)


def _check_run(path: Path) -> object:
    from posecast.training.check_run import inspect_run

    return inspect_run(path.parents[1] if path.parent.name == "state" else path.parent)


def _course_checkpoint(folder: Path) -> Path:
    import torch

    from posecast.model.lab4_checkpoint import PREFIXES

    weights = {f"{prefix}.weight": torch.ones(3) for prefix in PREFIXES}
    torch.save({"state_dict": weights, "lr": 0.1, "last_epoch": 3}, folder / "epoch=3.ckpt")
    return folder / "epoch=3.ckpt"


def _import_lab4(path: Path) -> object:
    from posecast.model.lab4_checkpoint import read_checkpoint

    return read_checkpoint(path)


def _submission(folder: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (3, 12))
    lines = [",".join(["id", *map(str, range(12))])]
    lines += [",".join([str(k), *map(str, row)]) for k, row in enumerate(values)]
    (folder / "submission.csv").write_text("\n".join(lines) + "\n")
    return folder / "submission.csv"


def _read_submission(path: Path) -> object:
    from posecast.course.submission_rows import read_ids, read_rows

    return read_ids(path, 3, (2, 2)), list(read_rows(path, (2, 2)))


def _video(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from posecast.video.writer import open_writer

        with open_writer(folder / f"a{suffix}") as video:
            for k in range(8):
                video.write(np.full((32, 48, 3), 20 * k, np.uint8))
        return folder / f"a{suffix}"

    return make


def _read_timed_frames(path: Path) -> object:
    from posecast.video.reader import read_timed_frames

    return sum(1 for _ in read_timed_frames(path))


def _openpose(folder: Path) -> Path:
    people = [{"pose_keypoints_2d": np.random.default_rng(0).random(75).tolist()}]
    (folder / "a_0_keypoints.json").write_text(json.dumps({"people": people}))
    return folder / "a_0_keypoints.json"


def _read_imported_folder(path: Path) -> object:
    return _read_imported(path.parent)


def _coco(folder: Path) -> Path:
    annotation = {"image_id": 1, "keypoints": np.random.default_rng(0).random(51).tolist()}
    (folder / "coco.json").write_text(json.dumps({"images": [{"id": 1}], "annotations": [annotation]}))
    return folder / "coco.json"


def _mmpose(folder: Path) -> Path:
    points = np.random.default_rng(0).random((4, 17, 3))
    instances = [{"keypoints": person[:, :2].tolist(), "keypoint_scores": person[:, 2].tolist()} for person in points]
    content = [{"frame_id": k, "instances": instances[k : k + 2]} for k in range(4)]
    (folder / "mmpose.json").write_text(json.dumps(content))
    return folder / "mmpose.json"


def _yolo(folder: Path) -> Path:
    (folder / "a_1.txt").write_text("0 " + " ".join(f"{value:g}" for value in np.random.default_rng(0).random(55)))
    return folder / "a_1.txt"


def _read_imported(path: Path) -> object:
    from posecast.video.keypoint_files import Imported
    from posecast.video.writer import open_writer

    video = path.parent / "video.gif"
    if not video.exists():
        with open_writer(video) as writer:
            writer.write(np.zeros((32, 48, 3), np.uint8))
    return Imported(path, video)


def _poses(folder: Path) -> Path:
    from posecast.data.pose_maps import SKELETON

    with (folder / "poses.npz").open("wb") as file:
        np.savez(
            file,
            names=np.array(["train/frame000001", "train/frame000002"]),
            keypoints=np.ones((2, len(SKELETON), 3), np.float32),
            windows=np.ones((2, 4)),
            frame_sizes=np.ones((2, 2)),
            joints=np.array([joint.name for joint in SKELETON]),
            size=np.array([8, 8]),
            fps=np.array(25.0),
        )
    return folder / "poses.npz"


def _read_poses(path: Path) -> object:
    from posecast.video.extracted_poses import read_poses

    return read_poses(path)


def _settings(suffix: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / f"a{suffix}").write_text(text)
        return folder / f"a{suffix}"

    return make


def _read_settings(path: Path) -> object:
    from posecast.config.overrides import build_config

    return build_config("anchored", file=path)


def _read_grid(path: Path) -> object:
    from posecast.experiments.grids import read_grid

    return read_grid(path)


GRID = 'question = "Two rates?"\n[settings.low]\nlearning_rate = 1e-4\n[settings.high]\nlearning_rate = 1e-3\n'

READERS: dict[str, Reader] = {
    "picture": Reader(_png, _read_png, lambda: [png_bomb(), png_bomb(2**31 - 1, 1), text_bomb_png()]),
    "data set": Reader(_course, _check, lambda: [png_bomb(), png_of(9, 9)]),
    "pack index": Reader(_pack("index.json"), _load_pack),
    "pack frames": Reader(_pack("frames.npy"), _load_pack),
    "config.json": Reader(_trained_run("config.json"), _load_run),
    "weights": Reader(
        _trained_run("model.safetensors"), _load_run, lambda: [struct.pack("<Q", 2**60) + b"{", *pickles()]
    ),
    "state": Reader(_trained_run("state"), _load_state, pickles),
    "log": Reader(_trained_run("log.jsonl"), _report),
    "scores": Reader(_scores, _report),
    "body": Reader(_trained_run("config.json"), _read_body),
    "run folder": Reader(_trained_run("model.safetensors"), _check_run),
    "course checkpoint": Reader(_course_checkpoint, _import_lab4, pickles),
    "submission": Reader(_submission, _read_submission, lambda: [b"id," + b"0," * 10**6, b"9" * 10**7]),
    "mp4": Reader(_video(".mp4"), _read_timed_frames),
    "gif": Reader(_video(".gif"), _read_timed_frames),
    "openpose": Reader(_openpose, _read_imported_folder),
    "coco": Reader(_coco, _read_imported),
    "mmpose": Reader(_mmpose, _read_imported),
    "yolo": Reader(_yolo, _read_imported_folder),
    "poses.npz": Reader(_poses, _read_poses, lambda: [npz_bomb(), npz_bomb("fps.npy"), *pickles()]),
    "toml": Reader(_settings(".toml", 'learning_rate = 1e-3\nsize = "32x64"\n'), _read_settings),
    "yaml": Reader(_settings(".yaml", "learning_rate: 0.001\nsize: 32x64\n"), _read_settings),
    "grid": Reader(_settings(".toml", GRID), _read_grid),
}


# Test run --------------------------------------------------------------------------------------------------------


def inputs(reader: Reader, whole: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield the hostile contents of a reader, then `count` damaged ones."""
    yield from reader.hostile()
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield damaged(whole, rng)


def attempt(name: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Run one reader on all its inputs; return counts and descriptions of the failures."""
    reader = READERS[name]
    outcome: dict[str, Any] = {"reader": name, "tried": 0, "refused": 0, "returned": 0, "failures": []}
    with tempfile.TemporaryDirectory(prefix="damage-") as top:
        home = Path(top, "home")
        home.mkdir()
        os.chdir(home)
        path = reader.make(home)
        reader.read(path)  # the valid file must be readable
        whole = path.read_bytes()
        backup = Path(top, "backup")
        shutil.copytree(home, backup)
        before = set(Path(top).rglob("*"))
        for number, content in enumerate(inputs(reader, whole, count, seed)):
            path.write_bytes(content)
            began = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # processor time, so that a busy machine is no failure
            try:
                reader.read(path)
                outcome["returned"] += 1
            except InputError as error:
                outcome["refused"] += 1
                if not str(error).strip() or len(str(error)) > 2000:
                    outcome["failures"].append(f"input {number}: a message of {len(str(error))} characters")
            except BaseException as error:
                outcome["failures"].append(f"input {number}: {type(error).__name__}: {error}"[:300])
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            outcome["tried"] += 1
            if time.process_time() - began > SECONDS:
                outcome["failures"].append(f"input {number}: took {time.process_time() - began:.1f} s")
            if Path("harm").exists():
                outcome["failures"].append(f"input {number}: ran code")
                Path("harm").unlink()
            if not path.exists() or path.read_bytes() != content:  # packs are rebuilt
                shutil.rmtree(home)
                shutil.copytree(backup, home)
                os.chdir(home)
        written = {path for path in set(Path(top).rglob("*")) - before if home not in path.parents}
        outcome["failures"] += [f"wrote {path}" for path in written]
    outcome["peak_mb"] = peak_mb()
    if outcome["peak_mb"] > MEGABYTES:
        outcome["failures"].append(f"held {outcome['peak_mb']:.0f} MB")
    return outcome


def peak_mb() -> float:
    """Return the peak memory of this process; getrusage would include that of the parent process."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="damage-cache-") as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        for reader in sys.argv[1].split(","):
            print(json.dumps(attempt(reader, int(sys.argv[2]), int(sys.argv[3]))), flush=True)
