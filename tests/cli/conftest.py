"""A small data set and a run trained on it, shared by the tests of the commands."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from posecast.cli.main import main
from posecast.data.dancer.dance import dance

TINY = ["--size", "16x16", "--widths", "8", "16", "--blocks", "1", "--clip-length", "4", "--steps", "6"]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "data"
    assert main(["synth", str(out), "--sequences", "2", "--frames", "30", "--size", "16x16"]) == 0
    return out


@pytest.fixture(scope="session")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "--data", str(data), "--out", str(out), *TINY]) == 0
    assert main(["evaluate", str(out), "--data", str(data), "--futures", "2"]) == 0
    return out


@pytest.fixture(scope="session")
def own_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record the synthetic dancer as a video with sound."""
    path = tmp_path_factory.mktemp("own") / "dancer.mov"
    frames = dance(40, seed=1, size=(240, 360)).recording.frames
    with av.open(str(path), "w") as container:
        images, sound = container.add_stream("libx264", rate=20), container.add_stream("aac", rate=16000)
        images.height, images.width, images.pix_fmt = 240, 360, "yuv420p"
        sound.layout = "mono"
        for frame in frames:
            container.mux(images.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        for k in range(32):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = 16000, 1024 * k, Fraction(1, 16000)
            container.mux(sound.encode(block))
        container.mux(images.encode(None))
        container.mux(sound.encode(None))
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that must fail with exit status 2, and return its sentence."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    stderr = capsys.readouterr().err.strip()
    assert "Traceback" not in stderr
    (sentence,) = [line for line in stderr.splitlines() if line.startswith("posecast: ")]
    return sentence


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def generate_words(run: Path, data: Path, out: Path, *more: str) -> list[str]:
    """Return a `generate` command that follows the test sequence."""
    (first,) = (data / "test/test_img/0").iterdir()
    poses = data / "test/test_label/0"
    return ["generate", str(run), "--first-frame", str(first), "--poses", str(poses), "--out", str(out), *more]
