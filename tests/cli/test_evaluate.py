"""The commands evaluate, generate and report."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from posecast.cli.main import main
from posecast.data.images import read_image

from ..videos import read_video
from .conftest import TINY, generate_words, refused, tree


def test_scores_json_has_its_agreed_content(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    assert {"split", "selected_on", "psnr", "ssim", "sequences", "summary", "reconstruction", "baselines"} <= set(
        scores
    )
    assert set(scores["baselines"]) == {"copy_first_frame", "mean_frame", "nearest_pose", "mean_of_8_nearest_poses"}
    assert None not in scores["baselines"].values()
    assert scores["summary"]["futures"] == 2
    (sequence,) = scores["sequences"]
    for metric in ("psnr_db", "ssim"):
        assert {kind: len(values) for kind, values in sequence[metric].items()} == dict.fromkeys(
            ("mean", "sample", "best"), 29
        )
    assert (run / "samples/val-strip.png").is_file()
    assert len(list(read_video(run / "samples/val-side-by-side.webp"))) == 30


def test_evaluate_needs_only_its_split(run: Path, data: Path, tmp_path: Path) -> None:
    """Baselines from training footage are null when the run's own recordings are gone."""
    alone = tmp_path / "alone"
    shutil.copytree(data / "val", alone / "val")
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    config = json.loads((copied / "config.json").read_text())
    config["source"]["path"] = str(tmp_path / "gone")
    (copied / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(copied), "--data", str(alone), "--futures", "2"]) == 0
    scores = json.loads((copied / "scores.json").read_text())
    assert scores["baselines"]["nearest_pose"] is None
    assert scores["baselines"]["copy_first_frame"] is not None
    original = json.loads((run / "scores.json").read_text())
    assert scores["summary"] == original["summary"]


def test_a_dancer_without_hidden_factors_is_scored_without_them(run: Path, tmp_path: Path) -> None:
    data, copy = tmp_path / "plain", tmp_path / "run"
    shutil.copytree(run, copy)
    assert main(["synth", str(data), "--frames", "12", "--size", "16x16", "--hidden", "0"]) == 0
    assert main(["evaluate", str(copy), "--data", str(data), "--futures", "2"]) == 0
    scores = json.loads((copy / "scores.json").read_text(), parse_constant=pytest.fail)
    assert scores["factors"] == []


def test_wrong_runs_and_splits_are_refused(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no true frames" in refused(capsys, "evaluate", run, "--data", data, "--split", "test")
    refused(capsys, "evaluate", data, "--data", data)
    refused(capsys, "evaluate", tmp_path / "nowhere", "--data", data)
    refused(capsys, "report", data, "--out", tmp_path / "r.html")
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    (damaged / "model.safetensors").write_bytes(b"\x00" * 100)
    refused(capsys, "evaluate", damaged, "--data", data)
    (damaged / "config.json").write_text("{")
    refused(capsys, "evaluate", damaged, "--data", data)


def test_generate_fills_a_folder_with_frames_and_nothing_else(run: Path, data: Path, tmp_path: Path) -> None:
    assert main(generate_words(run, data, tmp_path / "a")) == 0
    assert main(generate_words(run, data, tmp_path / "b")) == 0
    names = sorted(path.name for path in (data / "test/test_label/0").iterdir())
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    (first,) = (data / "test/test_img/0").iterdir()
    assert np.array_equal(read_image(tmp_path / "a" / names[0]), read_image(first))


@pytest.mark.parametrize("suffix", ["gif", "mp4", "webp"])
def test_generate_videos(run: Path, data: Path, tmp_path: Path, suffix: str) -> None:
    assert main(generate_words(run, data, tmp_path / f"v.{suffix}", "--futures", "2", "--scale", "4")) == 0
    for number in range(2):
        frames = list(read_video(tmp_path / f"v-{number:02d}.{suffix}"))
        assert len(frames) == 30
        assert frames[0].shape == (64, 64, 3)


def test_generate_several_futures_into_folders(run: Path, data: Path, tmp_path: Path) -> None:
    assert main(generate_words(run, data, tmp_path / "out", "--futures", "2")) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["future00", "future01"]
    assert main(generate_words(run, data, tmp_path / "one")) == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "out/future00")


def test_force_replaces_only_what_would_be_written_again(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = generate_words(run, data, tmp_path / "out")
    assert main(command) == 0
    assert "--force" in refused(capsys, *command)
    (tmp_path / "out/mine.txt").write_text("mine")
    assert "mine.txt" in refused(capsys, *command, "--force")
    (tmp_path / "out/mine.txt").unlink()
    assert main([*command, "--force"]) == 0


def test_a_run_trained_on_an_extracted_video_follows_that_video(
    own_video: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Extract, train and generate with the real pose estimator."""
    pytest.importorskip("mediapipe", reason="needs posecast[video], which is not available for Python 3.13")
    out, trained = tmp_path / "mine", tmp_path / "trained"
    assert main(["extract", str(own_video), str(out), "--size", "16x24", "--val", "20%"]) == 0
    stdout = capsys.readouterr().out
    assert "32 frames to train on, 8 to validate on" in stdout
    assert "the person was found in 40 of 40 frames" in stdout
    assert main(["check", str(out)]) == 0
    assert main(["train", "--data", str(out), "--out", str(trained), *TINY[2:], "--size", "16x24"]) == 0
    body = json.loads((trained / "config.json").read_text())["body"]
    assert 0.5 < body["ground"] < 1
    first = out / "val" / "val_img" / "frame000034.png"
    words = ["generate", str(trained), "--first-frame", str(first), "--poses", str(own_video)]
    assert main([*words, "--out", str(tmp_path / "v.mp4"), "--audio"]) == 0
    assert len(list(read_video(tmp_path / "v.mp4"))) == 40  # as many as in the video, so that the sound fits
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert len(container.streams.audio) == 1
        assert container.streams.video[0].average_rate == 20
    assert main([*words[:-1], str(out), "--out", str(tmp_path / "w.gif"), "--no-fit"]) == 0
    assert len(list(read_video(tmp_path / "w.gif"))) == 40


def test_generate_refuses_what_cannot_be_followed(
    own_video: Path, run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = next((data / "test/test_img/0").iterdir())
    words = ["generate", run, "--first-frame", first, "--out"]
    assert "has no sound" in refused(capsys, *words, tmp_path / "a.mp4", "--poses", data, "--audio")
    assert "cannot hold sound" in refused(capsys, *words, tmp_path / "a.gif", "--poses", own_video, "--audio")


def test_generate_cannot_fit_a_motion_to_a_run_without_body_measures(
    own_video: Path, run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mediapipe", reason="needs posecast[video], which is not available for Python 3.13")
    first = next((data / "test/test_img/0").iterdir())
    older = tmp_path / "older"
    shutil.copytree(run, older)
    config = json.loads((older / "config.json").read_text())
    del config["body"]
    (older / "config.json").write_text(json.dumps(config))
    words = ["generate", older, "--first-frame", first, "--poses", own_video, "--out", tmp_path / "a.gif"]
    assert "--no-fit" in refused(capsys, *words)
    assert not (tmp_path / "a.gif").exists()


def test_report_of_a_real_run(run: Path, tmp_path: Path) -> None:
    assert main(["report", str(run), "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert "nearest" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
