"""The commands synth, extract and check."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from posecast.cli.main import main
from posecast.data.images import read_image

from .conftest import TINY, refused, tree


def test_synth_writes_the_courses_layout(data: Path) -> None:
    assert len(list((data / "train/train_img").iterdir())) == 60
    assert {p.name for p in (data / "val/val_img").iterdir()} == {p.name for p in (data / "val/val_label").iterdir()}
    assert len(list((data / "test/test_img/0").iterdir())) == 1
    assert len(list((data / "test/test_label/0").iterdir())) == 30
    hidden = np.load(data / "hidden.npz")
    assert hidden["val0_brightness"].shape == (30,)
    assert hidden["val0_ceiling_psnr_db"] > 30


def test_synth_is_repeatable(data: Path, tmp_path: Path) -> None:
    assert main(["synth", str(tmp_path / "again"), "--sequences", "2", "--frames", "30", "--size", "16x16"]) == 0
    first, again = tree(data), tree(tmp_path / "again")
    assert {k: v for k, v in first.items() if ".posecast" not in k} == again


def test_synth_draws_several_dancers_and_another_for_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["synth", str(tmp_path / "many"), "--sequences", "3", "--frames", "4", "--size", "16x16"]
    assert main([*arguments, "--looks", "3"]) == 0
    assert "3 dancers, val another" in capsys.readouterr().out
    images = sorted((tmp_path / "many/train/train_img").iterdir())
    corners = {read_image(image)[0, 0].tobytes() for image in images[::4]}
    assert len(corners) == 3  # three backgrounds
    assert main([*arguments, "--looks", "4", "--force"]) == 2
    assert "--looks is 4" in capsys.readouterr().err


def test_check_accepts_the_synthetic_dancer(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(data)]) == 0
    assert "No errors" in capsys.readouterr().out


def test_check_reads_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(run)]) == 0
    stdout = capsys.readouterr().out
    assert "model.safetensors: intact" in stdout
    assert "No errors." in stdout


@pytest.fixture
def broken(data: Path, tmp_path: Path) -> Path:
    out = tmp_path / "broken"
    shutil.copytree(data, out, ignore=shutil.ignore_patterns(".posecast"))
    return out


def first_of(folder: Path) -> Path:
    return min(folder.iterdir())


@pytest.mark.parametrize("harm", ["cut", "text", "no pose map", "no folder", "empty folder", "another size"])
def test_data_that_cannot_be_trained_on_is_refused(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    image, label = (first_of(broken / "train" / name) for name in ("train_img", "train_label"))
    if harm == "cut":
        image.write_bytes(image.read_bytes()[:60])
    elif harm == "text":
        image.write_text("not an image")
    elif harm == "no pose map":
        label.unlink()
    elif harm == "no folder":
        shutil.rmtree(broken / "train")
    elif harm == "empty folder":
        for path in (broken / "train/train_img").iterdir():
            path.unlink()
    elif harm == "another size":
        Image.new("RGB", (20, 10)).save(image)
    refused(capsys, "check", broken)
    sentence = refused(capsys, "train", "--data", broken, "--out", tmp_path / "run", *TINY)
    culprit = {"no folder": "train", "no pose map": label.name, "empty folder": "train_img"}.get(harm, image.name)
    assert culprit in sentence
    assert not (tmp_path / "run").exists()


def test_extract_refuses_wrong_arguments(own_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "expected a video" in refused(capsys, "extract", own_video)
    assert "--val" in refused(capsys, "extract", own_video, out, "--val", "many")
    assert "is not a time" in refused(capsys, "extract", own_video, out, "--start", "soon")
    assert "--keypoints" in refused(capsys, "extract", own_video, own_video, out, "--keypoints", tmp_path)
    assert "There is no video" in refused(capsys, "extract", tmp_path / "none.mp4", out)
    assert "OpenPose" in refused(capsys, "extract", own_video, out, "--keypoints", tmp_path)
    assert not out.exists()
