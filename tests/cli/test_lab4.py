"""The student's own commands end to end: what they print, what lies on the disk, what they refuse."""

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
    more = "--num_epoch 2 --per_save 1 --fast_train --fast_train_epoch 1 --store_visualization".split()
    assert main(["lab4", "train", "--DR", str(data), "--save_root", str(out), *SMALL, *more]) == 0
    return out


def test_lab4_train_trains_as_it_printed(run: Path) -> None:
    config = from_dict(json.loads((run / "config.json").read_text()))
    widths = {"F_dim": 8, "L_dim": 4, "N_dim": 4, "D_out_dim": 8}
    fast = {"fast_train": True, "fast_train_epoch": 1}
    same = LabTrain(
        DR=Path("D"),
        save_root=Path("R"),
        num_epoch=2,
        per_save=1,
        store_visualization=True,
        frame_H=16,
        frame_W=16,
        train_vi_len=4,
        **widths,
        **fast,
    )
    assert config == train_config(same)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 4]  # 24 frames: six clips, three batches; a fast epoch has one
    assert all(entry["validation_psnr_db"] is not None for entry in log)
    for folder, ending in (("epochs", "safetensors"), ("samples/epochs", "png")):
        assert sorted(path.name for path in (run / folder).iterdir()) == [f"epoch-{n:04d}.{ending}" for n in (1, 2)]


def test_lab4_test_writes_the_submission(run: Path, data: Path, tmp_path: Path) -> None:
    words = ["lab4", "test", "--DR", str(data), "--ckpt_path", str(run), "--device", "cpu"]
    out = tmp_path / "submission"
    assert main([*words, "--save_root", str(out), "--val_vi_len", "24"]) == 0
    assert len((out / "submission.csv").read_text().splitlines()) == 1 + 24
    assert (out / "pred_seq0.gif").is_file()
    assert main([*words, "--save_root", str(tmp_path / "other")]) == 2  # 630 poses were expected
    assert not (tmp_path / "other").exists()


def test_all_that_a_script_passes_to_the_tester_is_taken(
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
    assert not (out / "pred_seq0.png").exists()  # no picture of another submission stays


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("--F_dim 128", "--F_dim is 128, but"), ("--D_out_dim 8 --N_dim 12", "--N_dim is 12, but")],
)
@pytest.mark.parametrize("kind", ["run", "checkpoint"])
def test_widths_that_are_not_the_checkpoints_are_refused(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, said: str, kind: str
) -> None:
    checkpoint = run
    if kind == "checkpoint":
        checkpoint = tmp_path / "epoch=1.ckpt"
        assert main(["export-lab4", str(run), "--out", str(checkpoint)]) == 0
    words = ["lab4", "test", "--DR", str(data), "--ckpt_path", str(checkpoint), "--save_root", str(tmp_path / "s")]
    capsys.readouterr()
    assert main([*words, "--val_vi_len", "24", *wrong.split()]) == 2
    heard = capsys.readouterr().err.strip().splitlines()
    own = 8 if "F_dim" in said else 4
    assert f"{said} {checkpoint} has {own}; " in heard[-1]
    assert not list(tmp_path.glob("s*"))


def test_a_size_that_is_not_the_runs_is_refused_and_its_own_is_taken(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["lab4", "test", "--DR", str(data), "--ckpt_path", str(run), "--save_root", str(tmp_path / "s")]
    words += ["--val_vi_len", "24", "--device", "cpu"]
    assert main([*words, "--frame_H", "16", "--frame_W", "64"]) == 2
    assert f"--frame_W is 64, but {run} has 16; " in capsys.readouterr().err
    assert main([*words, "--frame_H", "16", "--frame_W", "16"]) == 0


def test_a_run_without_the_courses_networks_has_no_such_widths(
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


def test_test_scores_and_trains_nothing(run: Path, data: Path, tmp_path: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    words = ["lab4", "train", "--DR", str(data), "--save_root", str(tmp_path / "new"), *SMALL, "--test"]
    assert main(words) == 2
    assert main([*words, "--ckpt_path", str(run)]) == 2  # 630 frames were expected
    assert main([*words, "--ckpt_path", str(run), "--val_vi_len", "24"]) == 0
    assert json.loads((run / "scores.json").read_text())["split"] == "val"
    assert (run / "model.safetensors").read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_a_dry_run_only_prints(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["lab4", "train", "--DR", str(data), "--save_root", str(out), "--dry_run"]) == 0
    assert capsys.readouterr().out.startswith("posecast train --data ")
    assert not out.exists()


def test_resume_wants_the_options_it_was_begun_with(data: Path, tmp_path: Path) -> None:
    words = ["lab4", "train", "--DR", str(data), "--save_root", str(tmp_path / "run"), *SMALL, "--num_epoch", "1"]
    assert main([*words, "--batch_size", "3"]) == 0
    assert main(words) == 2  # something is there
    # The recipe's own batch size leaves no word in the command, so the command alone could not tell.
    assert main([*words, "--resume"]) == 2
    assert main([*words, "--batch_size", "3", "--resume"]) == 0


def counted_pools(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many threads each pool that decodes pictures will have."""
    pools = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, num_threads: int) -> None:
            pools.append(num_threads)
            super().__init__(num_threads)

    monkeypatch.setattr("posecast.data.prefetch.ThreadPoolExecutor", Pool)
    return pools


def test_num_workers_are_the_threads_that_decode(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pools = counted_pools(monkeypatch)
    unpacked = ["24" if word == "16" else word for word in SMALL]  # a size that no other test has packed
    words = ["lab4", "train", "--DR", str(data), "--save_root", str(tmp_path / "run"), *unpacked]
    assert main([*words, "--num_epoch", "1", "--num_workers", "3"]) == 0
    assert pools == [3, 3]  # train and val
    assert main([*words, "--num_epoch", "1", "--num_workers", "-1"]) == 2
