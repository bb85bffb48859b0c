"""The commands of the course's template."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from posecast.cli.main import main
from posecast.config.overrides import from_dict
from posecast.course.template import train_config
from posecast.course.template_options import LabTrain

SMALL = "--frame_H 16 --frame_W 16 --F_dim 8 --L_dim 4 --N_dim 4 --D_out_dim 8 --train_vi_len 4 --device cpu".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lab4") / "data"
    assert main(["synth", str(out), "--sequences", "1", "--frames", "24", "--size", "16x16"]) == 0
    return out


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lab4") / "run"
    more = "--num_epoch 3 --per_save 1 --fast_train --fast_train_epoch 0 --store_visualization".split()
    assert main(["lab4", "train", "--DR", str(data), "--save_root", str(out), *SMALL, *more]) == 0
    return out


def test_train_uses_the_options(run: Path) -> None:
    config = from_dict(json.loads((run / "config.json").read_text()))
    widths = {"F_dim": 8, "L_dim": 4, "N_dim": 4, "D_out_dim": 8}
    fast = {"fast_train": True, "fast_train_epoch": 0}
    options = LabTrain(
        DR=Path("D"),
        save_root=Path("R"),
        num_epoch=3,
        per_save=1,
        store_visualization=True,
        frame_H=16,
        frame_W=16,
        train_vi_len=4,
        **widths,
        **fast,
    )
    assert config == train_config(options)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 5]  # 24 frames: six clips, three batches; a fast epoch has one
    assert all(entry["validation_psnr_db"] is not None for entry in log)
    for folder, ending in (("epochs", "safetensors"), ("samples/epochs", "png")):
        assert sorted(path.name for path in (run / folder).iterdir()) == [f"epoch-{n:04d}.{ending}" for n in (1, 2, 3)]


def test_test_writes_the_submission(run: Path, data: Path, tmp_path: Path) -> None:
    words = ["lab4", "test", "--DR", str(data), "--ckpt_path", str(run), "--device", "cpu"]
    out = tmp_path / "submission"
    assert main([*words, "--save_root", str(out), "--val_vi_len", "24"]) == 0
    assert len((out / "submission.csv").read_text().splitlines()) == 1 + 24
    assert (out / "pred_seq0.gif").is_file()
    assert main([*words, "--save_root", str(tmp_path / "other")]) == 2  # 630 poses were expected
    assert not (tmp_path / "other").exists()


def test_test_accepts_every_option_of_the_template(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = counted_pools(monkeypatch)
    out = tmp_path / "submission"
    words = ["lab4", "test", "--DR", str(data), "--ckpt_path", str(run), "--save_root", str(out), "--device", "cpu"]
    words += "--val_vi_len 24 --F_dim 8 --L_dim 4 --N_dim 4 --D_out_dim 8".split()
    assert main([*words, "--num_workers", "3", "--store_visualization", "--test"]) == 0
    assert pools == [3]  # one test sequence
    assert sorted(path.name for path in out.iterdir()) == ["pred_seq0.gif", "pred_seq0.png", "submission.csv"]
    assert main([*words, "--num_workers", "-1", "--force"]) == 2
    assert main([*words, "--force"]) == 0
    assert not (out / "pred_seq0.png").exists()  # an image of the replaced submission would be misleading


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("--F_dim 128", "--F_dim is 128, but"), ("--D_out_dim 8 --N_dim 12", "--N_dim is 12, but")],
)
@pytest.mark.parametrize("kind", ["run", "checkpoint"])
def test_other_widths_than_the_checkpoints_are_refused(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, message: str, kind: str
) -> None:
    checkpoint = run
    if kind == "checkpoint":
        checkpoint = tmp_path / "epoch=1.ckpt"
        assert main(["export-lab4", str(run), "--out", str(checkpoint)]) == 0
    words = ["lab4", "test", "--DR", str(data), "--ckpt_path", str(checkpoint), "--save_root", str(tmp_path / "s")]
    capsys.readouterr()
    assert main([*words, "--val_vi_len", "24", *wrong.split()]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    width = 8 if "F_dim" in message else 4
    assert f"{message} {checkpoint} has {width}; " in lines[-1]
    assert not list(tmp_path.glob("s*"))


def test_another_size_than_the_runs_is_refused(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["lab4", "test", "--DR", str(data), "--ckpt_path", str(run), "--save_root", str(tmp_path / "s")]
    words += ["--val_vi_len", "24", "--device", "cpu"]
    assert main([*words, "--frame_H", "16", "--frame_W", "64"]) == 2
    assert f"--frame_W is 64, but {run} has 16; " in capsys.readouterr().err
    assert main([*words, "--frame_H", "16", "--frame_W", "16"]) == 0


def test_widths_of_the_course_are_refused_for_other_networks(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    small = "--widths 8 --blocks 1 --clip-length 4 --steps 1 --size 16x16 --device cpu".split()
    assert main(["train", "--data", str(data), "--out", str(run), *small]) == 0
    words = ["lab4", "test", "--DR", str(data), "--ckpt_path", str(run), "--save_root", str(tmp_path / "s")]
    capsys.readouterr()
    assert main([*words, "--val_vi_len", "24", "--L_dim", "32"]) == 2
    assert f"--L_dim is 32, but {run} has none" in capsys.readouterr().err
    assert main([*words, "--val_vi_len", "24"]) == 0


def test_the_option_test_scores_without_training(run: Path, data: Path, tmp_path: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    words = ["lab4", "train", "--DR", str(data), "--save_root", str(tmp_path / "new"), *SMALL, "--test"]
    assert main(words) == 2
    assert main([*words, "--ckpt_path", str(run)]) == 2  # 630 frames were expected
    assert main([*words, "--ckpt_path", str(run), "--val_vi_len", "24"]) == 0
    assert json.loads((run / "scores.json").read_text())["split"] == "val"
    assert (run / "model.safetensors").read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_a_dry_run_prints_the_command_and_writes_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["lab4", "train", "--DR", str(data), "--save_root", str(out), "--dry_run"]) == 0
    assert capsys.readouterr().out.startswith("posecast train --data ")
    assert not out.exists()


def test_resume_requires_the_same_options(data: Path, tmp_path: Path) -> None:
    words = ["lab4", "train", "--DR", str(data), "--save_root", str(tmp_path / "run"), *SMALL, "--num_epoch", "1"]
    assert main([*words, "--batch_size", "3"]) == 0
    assert main(words) == 2  # the folder is in use
    # The command has no --batch-size, because 2 is also the recipe's, so the options themselves must be compared.
    assert main([*words, "--resume"]) == 2
    assert main([*words, "--batch_size", "3", "--resume"]) == 0


def counted_pools(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of threads of every pool that decodes images."""
    pools = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, num_threads: int) -> None:
            pools.append(num_threads)
            super().__init__(num_threads)

    monkeypatch.setattr("posecast.data.prefetch.ThreadPoolExecutor", Pool)
    return pools


def test_num_workers_is_the_number_of_decoding_threads(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = counted_pools(monkeypatch)
    other_size = ["24" if word == "16" else word for word in SMALL]  # no other test packs this size
    words = ["lab4", "train", "--DR", str(data), "--save_root", str(tmp_path / "run"), *other_size]
    assert main([*words, "--num_epoch", "1", "--num_workers", "3"]) == 0
    assert pools == [3, 3]  # train and val
    assert main([*words, "--num_epoch", "1", "--num_workers", "-1"]) == 2
