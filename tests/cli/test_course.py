"""The commands submit and import-lab4; score is tested with the submission, export-lab4 with the checkpoints."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from posecast.cli.main import main
from posecast.config.recipes import RECIPES
from posecast.config.schema import Lab4
from posecast.data.cache import load_recordings
from posecast.data.images import read_image
from posecast.model.checkpoint import load_run
from posecast.model.lab4 import Lab4Networks

from ..videos import read_video
from .conftest import generate_words, refused


def test_submit_writes_the_courses_csv(run: Path, data: Path, tmp_path: Path) -> None:
    assert main(["submit", str(run), "--data", str(data), "--out", str(tmp_path / "s")]) == 0
    lines = (tmp_path / "s/submission.csv").read_text().splitlines()
    assert lines[0] == "id," + ",".join(map(str, range(3 * 16 * 16)))
    assert len(lines) == 31
    rows = np.array([[int(value) for value in line.split(",")] for line in lines[1:]])
    assert rows[:, 0].tolist() == list(range(30))
    assert main(generate_words(run, data, tmp_path / "g", "--latent", "mean")) == 0
    frames = [read_image(path) for path in sorted((tmp_path / "g").iterdir())]
    assert np.array_equal(rows[:, 1:].reshape(30, 3, 16, 16), np.stack(frames).transpose(0, 3, 1, 2))
    assert len(list(read_video(tmp_path / "s/pred_seq0.gif"))) == 30


@pytest.mark.parametrize("batchnorm", ["running", "batch"])
def test_an_imported_checkpoint_predicts_the_pixels_of_the_courses_networks(
    data: Path, tmp_path: Path, batchnorm: str
) -> None:
    """Compare a rollout with the networks, applied frame by frame; the course's code never leaves training mode."""
    torch.manual_seed(0)
    networks = lab4_networks().eval()
    networks.label_transformation.train(batchnorm == "batch")
    networks.output = "none"
    torch.save(
        {"state_dict": networks.state_dict(), "lr": 1e-3, "last_epoch": 7, "tfr": 0.0}, tmp_path / "epoch=7.ckpt"
    )
    out = tmp_path / "run"
    assert main(["import-lab4", str(tmp_path / "epoch=7.ckpt"), "--out", str(out), "--batchnorm", batchnorm]) == 0
    assert main(generate_words(out, data, tmp_path / "frames", "--latent", "mean")) == 0
    names = sorted((tmp_path / "frames").iterdir())
    (first,) = (data / "test/test_img/0").iterdir()

    def image(path: Path) -> torch.Tensor:
        return torch.from_numpy(read_image(path, (32, 64))).permute(2, 0, 1)[None] / 255

    frame = image(first)
    with torch.inference_mode():
        for name in names[1:6]:
            pose = networks.label_transformation(image(data / "test/test_label/0" / name.name))
            z = torch.zeros(1, 12, 32, 64)
            fused = networks.Decoder_Fusion(torch.cat((networks.frame_transformation(frame), pose, z), 1))
            frame = networks.Generator(fused).clamp(0, 1)
            written = torch.from_numpy(read_image(name)).permute(2, 0, 1)
            assert (frame[0] * 255 - written).abs().max() <= 2


def test_an_import_measures_batchnorm_on_a_data_set(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = lab4_networks()
    torch.save({"state_dict": networks.state_dict()}, tmp_path / "lagging.ckpt")
    words = ["import-lab4", str(tmp_path / "lagging.ckpt"), "--out", str(tmp_path / "run"), "--data", str(data)]
    assert main(words) == 0
    assert "measured on the training pose maps" in capsys.readouterr().err
    imported = load_run(tmp_path / "run").networks
    assert isinstance(imported, Lab4Networks)
    poses = [recording.poses for recording in load_recordings(data, "train", (32, 64))]
    features = networks.label_transformation[:2](torch.from_numpy(np.concatenate(poses)).permute(0, 3, 1, 2) / 255)
    norm = imported.label_transformation[2]
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
    refused(capsys, *words, "--force", "--batchnorm", "batch")


def lab4_networks() -> Lab4Networks:
    config = RECIPES["lab4"].networks
    assert isinstance(config, Lab4)
    return Lab4Networks(config, (32, 64))


class RunsCode:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("owned",)


def test_hostile_and_damaged_checkpoints_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "args": RunsCode()}, "code.ckpt")
    Path("code.pkl").write_bytes(pickle.dumps(RunsCode()))
    Path("text.ckpt").write_text("not a checkpoint")
    Path("empty.ckpt").touch()
    torch.save({"state_dict": {"x": torch.ones(2)}}, "other.ckpt")
    torch.save([1, 2], "list.ckpt")
    weights = lab4_networks().state_dict()
    weights["Generator.7.bias"][0] = float("nan")
    torch.save({"state_dict": weights}, "nan.ckpt")
    del weights["Generator.7.bias"]
    torch.save({"state_dict": weights}, "missing.ckpt")
    Path("cut.ckpt").write_bytes(Path("nan.ckpt").read_bytes()[:5000])
    for name in ("code.ckpt", "code.pkl", "text.ckpt", "empty.ckpt", "other.ckpt", "list.ckpt", "nan.ckpt"):
        refused(capsys, "import-lab4", name, "--out", "run")
    for name in ("missing.ckpt", "cut.ckpt", "absent.ckpt"):
        refused(capsys, "import-lab4", name, "--out", "run")
    assert not Path("owned").exists()
    assert not Path("run").exists()
