"""Every command end to end, and what each says to bad input: exit status 2, one sentence, nothing written."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from posecast.cli.main import main
from posecast.config.recipes import RECIPES
from posecast.data.images import read_picture
from posecast.model.lab4 import Lab4Networks

from ..videos import read_video

TINY = ["--size", "16x16", "--widths", "8", "16", "--blocks", "1", "--clip-length", "4", "--steps", "6"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "data"
    assert main(["synth", str(out), "--sequences", "2", "--frames", "30", "--size", "16x16"]) == 0
    return out


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "--data", str(data), "--out", str(out), *TINY]) == 0
    assert main(["evaluate", str(out), "--data", str(data), "--futures", "2"]) == 0
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that must fail as the user's fault; returns its sentence."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.startswith("posecast: ")]
    assert len(lines) == 1
    return lines[0]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def test_synth_draws_several_dancers_and_judges_by_one_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["synth", str(tmp_path / "many"), "--sequences", "3", "--frames", "4", "--size", "16x16"]
    assert main([*arguments, "--looks", "3"]) == 0
    assert "3 dancers, val another" in capsys.readouterr().out
    pictures = sorted((tmp_path / "many/train/train_img").iterdir())
    corners = {read_picture(picture)[0, 0].tobytes() for picture in pictures[::4]}
    assert len(corners) == 3  # three rooms
    assert main([*arguments, "--looks", "4", "--force"]) == 2
    assert "--looks is 4" in capsys.readouterr().err


def test_a_dancer_of_whom_nothing_is_hidden_is_scored_without_factors(run: Path, tmp_path: Path) -> None:
    data, copy = tmp_path / "plain", tmp_path / "run"
    shutil.copytree(run, copy)
    assert main(["synth", str(data), "--frames", "12", "--size", "16x16", "--hidden", "0"]) == 0
    assert main(["evaluate", str(copy), "--data", str(data), "--futures", "2"]) == 0
    scores = json.loads((copy / "scores.json").read_text(), parse_constant=pytest.fail)
    assert scores["factors"] == []


def test_check_accepts_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(data)]) == 0
    assert "No errors" in capsys.readouterr().out


def test_scores_are_written_as_agreed(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    assert {"split", "selected_on", "psnr", "ssim", "sequences", "summary", "reconstruction", "baselines"} <= set(
        scores
    )
    assert set(scores["baselines"]) == {"copy_first_frame", "mean_frame", "nearest_pose"}
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


def generate(run: Path, data: Path, out: Path, *more: str) -> list[str]:
    (first,) = (data / "test/test_img/0").iterdir()
    poses = data / "test/test_label/0"
    return ["generate", str(run), "--first-frame", str(first), "--poses", str(poses), "--out", str(out), *more]


def test_generate_fills_a_folder_with_frames_and_nothing_else(run: Path, data: Path, tmp_path: Path) -> None:
    assert main(generate(run, data, tmp_path / "a")) == 0
    assert main(generate(run, data, tmp_path / "b")) == 0
    names = sorted(path.name for path in (data / "test/test_label/0").iterdir())
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    (first,) = (data / "test/test_img/0").iterdir()
    assert np.array_equal(read_picture(tmp_path / "a" / names[0]), read_picture(first))


@pytest.mark.parametrize("suffix", ["gif", "mp4", "webp"])
def test_generate_videos(run: Path, data: Path, tmp_path: Path, suffix: str) -> None:
    assert main(generate(run, data, tmp_path / f"v.{suffix}", "--futures", "2", "--scale", "4")) == 0
    for number in range(2):
        frames = list(read_video(tmp_path / f"v-{number:02d}.{suffix}"))
        assert len(frames) == 30
        assert frames[0].shape == (64, 64, 3)


def test_generate_several_futures_into_folders(run: Path, data: Path, tmp_path: Path) -> None:
    assert main(generate(run, data, tmp_path / "out", "--futures", "2")) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["future00", "future01"]
    assert main(generate(run, data, tmp_path / "one")) == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "out/future00")


def test_force_replaces_only_what_would_be_written_again(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = generate(run, data, tmp_path / "out")
    assert main(command) == 0
    assert "--force" in refused(capsys, *command)
    (tmp_path / "out/mine.txt").write_text("mine")
    assert "mine.txt" in refused(capsys, *command, "--force")
    (tmp_path / "out/mine.txt").unlink()
    assert main([*command, "--force"]) == 0


def test_submit_writes_the_courses_csv(run: Path, data: Path, tmp_path: Path) -> None:
    assert main(["submit", str(run), "--data", str(data), "--out", str(tmp_path / "s")]) == 0
    lines = (tmp_path / "s/submission.csv").read_text().splitlines()
    assert lines[0] == "id," + ",".join(map(str, range(3 * 16 * 16)))
    assert len(lines) == 31
    rows = np.array([[int(value) for value in line.split(",")] for line in lines[1:]])
    assert rows[:, 0].tolist() == list(range(30))
    assert main(generate(run, data, tmp_path / "g", "--latent", "mean")) == 0
    frames = [read_picture(path) for path in sorted((tmp_path / "g").iterdir())]
    assert np.array_equal(rows[:, 1:].reshape(30, 3, 16, 16), np.stack(frames).transpose(0, 3, 1, 2))
    assert len(list(read_video(tmp_path / "s/pred_seq0.gif"))) == 30


def test_report_of_a_real_run(run: Path, tmp_path: Path) -> None:
    assert main(["report", str(run), "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert "nearest" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_import_lab4_rolls_out_with_the_courses_pixels(data: Path, tmp_path: Path) -> None:
    """A checkpoint as the course's code writes it, against the networks stepped by hand."""
    torch.manual_seed(0)
    config = RECIPES["lab4"].networks
    networks = Lab4Networks(config, (32, 64)).eval()  # pyright: ignore[reportArgumentType]
    networks.output = "none"
    torch.save(
        {"state_dict": networks.state_dict(), "lr": 1e-3, "last_epoch": 7, "tfr": 0.0}, tmp_path / "epoch=7.ckpt"
    )
    out = tmp_path / "run"
    assert main(["import-lab4", str(tmp_path / "epoch=7.ckpt"), "--out", str(out)]) == 0
    assert main(generate(out, data, tmp_path / "frames", "--latent", "mean")) == 0
    names = sorted((tmp_path / "frames").iterdir())
    (first,) = (data / "test/test_img/0").iterdir()

    def picture(path: Path) -> torch.Tensor:
        return torch.from_numpy(read_picture(path, (32, 64))).permute(2, 0, 1)[None] / 255

    frame = picture(first)
    with torch.inference_mode():
        for name in names[1:6]:
            pose = networks.label_transformation(picture(data / "test/test_label/0" / name.name))
            z = torch.zeros(1, 12, 32, 64)
            fused = networks.Decoder_Fusion(torch.cat((networks.frame_transformation(frame), pose, z), 1))
            frame = networks.Generator(fused).clamp(0, 1)
            written = torch.from_numpy(read_picture(name)).permute(2, 0, 1)
            assert (frame[0] * 255 - written).abs().max() <= 2


class RunsCode:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("owned",)


def test_hostile_and_damaged_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "args": RunsCode()}, "code.ckpt")
    Path("code.pkl").write_bytes(pickle.dumps(RunsCode()))
    Path("text.ckpt").write_text("not a checkpoint")
    Path("empty.ckpt").touch()
    torch.save({"state_dict": {"x": torch.ones(2)}}, "other.ckpt")
    torch.save([1, 2], "list.ckpt")
    weights = Lab4Networks(RECIPES["lab4"].networks, (32, 64)).state_dict()  # pyright: ignore[reportArgumentType]
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


@pytest.fixture
def broken(data: Path, tmp_path: Path) -> Path:
    out = tmp_path / "broken"
    shutil.copytree(data, out, ignore=shutil.ignore_patterns(".posecast"))
    return out


def first_of(folder: Path) -> Path:
    return min(folder.iterdir())


@pytest.mark.parametrize("harm", ["cut", "text", "no pose map", "no folder", "empty folder", "another size"])
def test_data_that_cannot_be_trained_on(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    picture, label = (first_of(broken / "train" / name) for name in ("train_img", "train_label"))
    if harm == "cut":
        picture.write_bytes(picture.read_bytes()[:60])
    elif harm == "text":
        picture.write_text("not a picture")
    elif harm == "no pose map":
        label.unlink()
    elif harm == "no folder":
        shutil.rmtree(broken / "train")
    elif harm == "empty folder":
        for path in (broken / "train/train_img").iterdir():
            path.unlink()
    elif harm == "another size":
        Image.new("RGB", (20, 10)).save(picture)
    refused(capsys, "check", broken)
    said = refused(capsys, "train", "--data", broken, "--out", tmp_path / "run", *TINY)
    named = {"no folder": "train", "no pose map": label.name, "empty folder": "train_img"}.get(harm, picture.name)
    assert named in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "lab5"], "lab5"),
        (["--bath-size", "3"], "--bath-size"),
        (["--batch-size", "-1"], "batch_size is -1"),
        (["--steps", "0"], "steps is 0"),
        (["--epochs", "1"], "give one of"),
        (["--devices", "0"], "--devices is 0"),
        (["--device", "cuda"], "cuda"),
        (["--size", "18x15"], "from 16"),
        (["--frame-channels", "8"], "lab4"),
        (["--clip-length", "400", "--size", "16x16"], "longest recording has 30"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
        (["--from", "nowhere"], "nowhere"),
    ],
)
def test_wrong_settings(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    kept = [] if arguments[0] in TINY else TINY
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), *kept, *arguments]
    assert said in refused(capsys, *command)
    assert not (tmp_path / "run").exists()


def test_existing_things_are_never_written_over(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    before = tree(run)
    refused(capsys, "train", "--data", data, "--out", run, *TINY)
    refused(capsys, "train", "--data", data, "--out", file, *TINY)
    refused(capsys, "train", "--data", data, "--out", tmp_path, *TINY, "--force")
    refused(capsys, "synth", data)
    refused(capsys, "synth", run, "--force")
    refused(capsys, "submit", run, "--data", data, "--out", run)
    refused(capsys, "report", run, "--out", file)
    refused(capsys, "demo", "--out", tmp_path)
    refused(capsys, *generate(run, data, tmp_path / "file.gif"), "--futures", "0")
    assert tree(run) == before
    assert file.read_text() == "mine"


def test_wrong_runs_and_splits(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_dry_run_prints_the_complete_configuration(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", "--data", str(data), "--out", str(out), *TINY, "--dry-run"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["training"]["clip_length"] == 4
    assert printed["budget"] == {"epochs": None, "steps": 6, "minutes": None}
    assert not out.exists()


def test_resume_needs_no_flags_again(data: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    assert main(["train", "--data", str(data), "--out", out, *TINY]) == 0
    assert main(["train", "--data", str(data), "--out", out, "--resume"]) == 0
    assert main(["train", "--data", str(data), "--out", out, "--resume", "--batch-size", "2"]) == 2


def test_ctrl_c_ends_with_130_and_what_was_saved_stays(data: Path, tmp_path: Path) -> None:
    """A real process, a real signal, sent when the first epoch has been logged."""
    import signal
    import time

    out = tmp_path / "run"
    steps = [*TINY[:-1], "100000"]
    command = [sys.executable, "-m", "posecast", "train", "--data", str(data), "--out", str(out), *steps]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 900
    while not (out / "model.safetensors").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=900)
    assert process.returncode == 130, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert len(list((out / "state").glob("step-*.pt"))) >= 1


@pytest.mark.long
def test_demo_tells_the_whole_story_and_works_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    command = ["demo", "--out", str(out), "--minutes", "0.05", "--size", "16x16", "--frames", "40"]
    for _ in range(2):
        assert main(command) == 0
    assert "nearest training pose map" in capsys.readouterr().out
    for name in ("data/hidden.npz", "run/scores.json", "report.html"):
        assert (out / name).is_file()


# Footage of one's own ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn dancer as a video with sound, as a phone would bring it."""
    from fractions import Fraction

    import av

    from posecast.data.dancer.dance import dance

    path = tmp_path_factory.mktemp("own") / "dancer.mov"
    frames = dance(40, seed=1, size=(240, 360)).recording.frames
    with av.open(str(path), "w") as container:
        pictures, sound = container.add_stream("libx264", rate=20), container.add_stream("aac", rate=16000)
        pictures.height, pictures.width, pictures.pix_fmt = 240, 360, "yuv420p"
        sound.layout = "mono"
        for frame in frames:
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        for k in range(32):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = 16000, 1024 * k, Fraction(1, 16000)
            container.mux(sound.encode(block))
        container.mux(pictures.encode(None))
        container.mux(sound.encode(None))
    return path


def test_from_a_video_to_a_puppet(
    own_video: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """extract, train, drive: with the estimator, offline, nothing given but a video."""
    pytest.importorskip("mediapipe", reason="the extra posecast[video], not there for Python 3.13")
    out, puppet = tmp_path / "mine", tmp_path / "puppet"
    assert main(["extract", str(own_video), str(out), "--size", "16x24", "--val", "20%"]) == 0
    said = capsys.readouterr().out
    assert "32 frames to train on, 8 to validate on" in said
    assert "the person was found in 40 of 40 frames" in said
    assert main(["check", str(out)]) == 0
    assert main(["train", "--data", str(out), "--out", str(puppet), *TINY[2:], "--size", "16x24"]) == 0
    body = json.loads((puppet / "config.json").read_text())["body"]
    assert 0.5 < body["ground"] < 1
    first = out / "val" / "val_img" / "frame000034.png"
    words = ["generate", str(puppet), "--first-frame", str(first), "--poses", str(own_video)]
    assert main([*words, "--out", str(tmp_path / "v.mp4"), "--audio"]) == 0
    assert len(list(read_video(tmp_path / "v.mp4"))) == 40  # as many as are followed, so that sound fits
    import av

    with av.open(str(tmp_path / "v.mp4")) as container:
        assert len(container.streams.audio) == 1
        assert container.streams.video[0].average_rate == 20
    assert main([*words[:-1], str(out), "--out", str(tmp_path / "w.gif"), "--no-fit"]) == 0
    assert len(list(read_video(tmp_path / "w.gif"))) == 40


def test_extract_needs_sensible_words(own_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "expected a video" in refused(capsys, "extract", own_video)
    assert "--val" in refused(capsys, "extract", own_video, out, "--val", "many")
    assert "no time" in refused(capsys, "extract", own_video, out, "--start", "soon")
    assert "--keypoints" in refused(capsys, "extract", own_video, own_video, out, "--keypoints", tmp_path)
    assert "There is no video" in refused(capsys, "extract", tmp_path / "none.mp4", out)
    assert "OpenPose" in refused(capsys, "extract", own_video, out, "--keypoints", tmp_path)
    assert not out.exists()


def test_what_cannot_be_driven_is_said(
    own_video: Path, run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = next((data / "test/test_img/0").iterdir())
    words = ["generate", run, "--first-frame", first, "--out"]
    assert "has no sound" in refused(capsys, *words, tmp_path / "a.mp4", "--poses", data, "--audio")
    assert "cannot hold sound" in refused(capsys, *words, tmp_path / "a.gif", "--poses", own_video, "--audio")
    older = tmp_path / "older"
    shutil.copytree(run, older)
    config = json.loads((older / "config.json").read_text())
    del config["body"]
    (older / "config.json").write_text(json.dumps(config))
    said = refused(capsys, "generate", older, "--first-frame", first, "--poses", own_video, "--out", tmp_path / "a.gif")
    assert "--no-fit" in said
    assert not (tmp_path / "a.gif").exists()


def test_a_full_disk_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/disk/frame000001.png")

    monkeypatch.setattr("posecast.data.dancer.dataset.write_recordings", full)
    assert main(["synth", str(tmp_path / "out"), "--frames", "8"]) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("posecast: ")]
    assert said == (
        "posecast: No space left on device: /disk/frame000001.png. "
        "Make room and give the command again; what was saved is whole."
    )


def test_check_reads_a_run_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(run)]) == 0
    said = capsys.readouterr().out
    assert "model.safetensors: whole" in said
    assert "No errors." in said
