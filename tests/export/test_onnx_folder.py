"""The exported folder: its program, its description, and refusals."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from posecast.cli.main import main
from posecast.data.images import write_png
from posecast.data.pose_maps import SKELETON
from posecast.errors import InputError
from posecast.export import engine
from posecast.export.engine import is_installed
from posecast.export.onnx_folder import export_onnx
from posecast.model.checkpoint import load_run
from posecast.model.onnx_rollout import import_runtime
from posecast.model.rollout import predict

from ..conftest import moving_square

if not is_installed():
    pytest.skip("the extra posecast[export]", allow_module_level=True)


def test_the_program_in_the_readme_predicts_the_same_frames(run: Path, tmp_path: Path) -> None:
    square, out = moving_square(10, seed=7), tmp_path / "graphs"
    parity = export_onnx(run, out)
    assert json.loads((out / "parity.json").read_text()) == parity.as_json()
    for number, pose in enumerate(square.poses):
        (tmp_path / "poses").mkdir(exist_ok=True)
        write_png(tmp_path / "poses" / f"{number:03d}.png", pose)
    write_png(tmp_path / "photo.png", square.frames[0])
    [program] = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    (tmp_path / "drive.py").write_text(program)
    names = [tmp_path / name for name in ("drive.py", "graphs", "photo.png", "poses", "video")]
    subprocess.run([sys.executable, *map(str, names)], check=True, timeout=300)
    expected = list(predict(load_run(run), square.frames[0], square.poses, latent="mean"))[1:]
    files = sorted((tmp_path / "video").iterdir())
    assert len(files) == len(expected) == 9
    for file, (frame,) in zip(files, expected, strict=True):
        assert np.abs(np.asarray(Image.open(file)).astype(int) - frame).max() <= 1


def test_the_metadata_describe_the_run(run: Path, tmp_path: Path) -> None:
    export_onnx(run, tmp_path / "graphs")
    for path in (tmp_path / "graphs").glob("*.onnx"):
        about = import_runtime().InferenceSession(path).get_modelmeta().custom_metadata_map
        assert (about["size"], about["recipe"]) == ("16x16", "anchored")
        assert json.loads(about["latent_shape"]) == list(load_run(run).latent_shape)
        assert [joint["name"] for joint in json.loads(about["skeleton"])] == [joint.name for joint in SKELETON]


def test_a_folder_in_use_is_refused_before_anything_is_computed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr("posecast.export.onnx_folder.keep_graphs", lambda predictor: pytest.fail("computed"))
    for words in ([], ["--force"]):
        assert main(["export", str(run), "--out", str(tmp_path), *words]) == 2
        assert (tmp_path / "notes.txt").read_text() == "mine"
    monkeypatch.setattr(engine, "is_installed", lambda: False)
    with pytest.raises(InputError, match=r"posecast\[export\]"):
        export_onnx(run, tmp_path / "new")


@pytest.mark.long
def test_commands_say_what_computed_the_rollouts(run: Path, tmp_path: Path) -> None:
    assert main(["synth", str(tmp_path / "data"), "--sequences", "1", "--frames", "40", "--size", "16x16"]) == 0
    engines, scores = [], []
    for words in (["--engine", "auto"], ["--engine", "onnx"], ["--engine", "auto"]):
        assert main(["evaluate", str(run), "--data", str(tmp_path / "data"), "--futures", "2", *words]) == 0
        content = json.loads((run / "scores.json").read_text())
        engines.append(content["engine"].split()[0])
        scores.append(content["summary"]["psnr_db"])
    assert engines == ["torch", "onnxruntime", "onnxruntime"]
    assert scores[1] == scores[2]
    assert scores[0] == pytest.approx(scores[1], abs=0.01)
