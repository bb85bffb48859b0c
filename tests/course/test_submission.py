"""The submission and its form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posecast.cli.main import main
from posecast.course import submission
from posecast.course.kaggle_score import LIMIT_DB, grade
from posecast.data.folder_dataset import read_test_sequences
from posecast.data.images import read_image
from posecast.evaluation.contact_sheet import contact_sheet

SIZE = (16, 16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a data set whose test sequence has its truth in val, and a run trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    data, run = folder / "data", folder / "run"
    small = "--widths 8 --blocks 1 --clip-length 4 --steps 1 --size 16x16".split()
    assert main(f"synth {data} --sequences 1 --frames 20 --size 16x16".split()) == 0
    assert main(["train", "--data", str(data), "--out", str(run), *small]) == 0
    return data, run


def test_score_reads_what_submit_writes(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = trained
    assert main(["submit", str(run), "--data", str(data), "--out", str(tmp_path / "s")]) == 0
    stderr = capsys.readouterr().err
    assert "sequences: 1 instead of 5; poses: 20 in sequence 0 instead of 630; rows: 20 instead of 3150; " in stderr
    assert "images: 16x16 instead of 32x64" in stderr
    file, val = tmp_path / "s/submission.csv", data / "val/val_img"
    usages = ["Ignored", *["Public"] * 6, *["Private"] * 13]
    parts = tmp_path / "parts.csv"
    parts.write_text("id,Usage\n" + "".join(f"{row},{usage}\n" for row, usage in enumerate(usages)))
    score = ["score", str(file), "--truth", str(val), "--size", "16x16"]
    assert main([*score, "--parts", str(parts)]) == 0
    printed = capsys.readouterr().out
    graded = grade(file, val, size=SIZE, parts=parts)
    assert len(graded.parts["Public"]) == 6
    values = (graded.psnr_db, graded.copied_psnr_db, *(part.mean() for part in graded.parts.values()))
    for value in (*values, LIMIT_DB):
        assert f"{value:.2f}" in printed
    assert "19" in printed
    assert main(["score", str(file), "--truth", str(val)]) == 2
    assert "--size" in capsys.readouterr().err
    assert main(["score", str(file), "--truth", str(data), "--size", "16x16"]) == 2
    assert "every true frame" in capsys.readouterr().err


def test_a_strip_shows_ten_instants_of_pose_and_prediction(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = trained
    words = ["submit", str(run), "--data", str(data)]
    assert main([*words, "--out", str(tmp_path / "plain")]) == 0
    assert main([*words, "--out", str(tmp_path / "shown"), "--strips", "--threads", "1"]) == 0
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == ["pred_seq0.gif", "submission.csv"]
    for name in ("pred_seq0.gif", "submission.csv"):
        assert (tmp_path / "shown" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    poses = read_test_sequences(data, SIZE)[0].poses
    rows = (tmp_path / "shown" / "submission.csv").read_text().splitlines()[1:]
    frames = [np.array(row.split(",")[1:], np.uint8).reshape(3, *SIZE).transpose(1, 2, 0) for row in rows]
    expected = contact_sheet({"pose": list(poses), "prediction": frames}, every=2, scale=6)  # 20 poses, 16 pixels
    shown = read_image(tmp_path / "shown" / "pred_seq0.png")
    np.testing.assert_array_equal(shown, expected)
    assert shown.shape[1] > 10 * 6 * SIZE[1] > shown.shape[1] / 2


def test_zero_threads_are_refused(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = trained
    assert main(["submit", str(run), "--data", str(data), "--out", str(tmp_path / "s"), "--threads", "0"]) == 2
    assert "--threads is 0" in capsys.readouterr().err


def test_strict_refuses_another_form_and_writes_nothing(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = trained
    capsys.readouterr()
    assert main(["submit", str(run), "--data", str(data), "--out", str(tmp_path / "s"), "--strict"]) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    for phrase in ("1 instead of 5", "20 in sequence 0 instead of 630", "20 instead of 3150", "16x16 instead of 32x64"):
        assert phrase in sentence
    assert not (tmp_path / "s").exists()


def test_strict_accepts_the_courses_form(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Set the course's numbers to those of the small data set."""
    data, run = trained
    for name, value in (("SEQUENCES", 1), ("POSES", 20), ("SIZE", SIZE)):
        monkeypatch.setattr(submission, f"COURSE_{name}", value)
    assert main(["submit", str(run), "--data", str(data), "--out", str(tmp_path / "s"), "--strict"]) == 0
    assert "course's form" not in capsys.readouterr().err
    monkeypatch.setattr(submission, "COURSE_POSES", 21)
    assert submission.differences_from_course(data, SIZE) == [
        "poses: 20 in sequence 0 instead of 21",
        "rows: 20 instead of 21",
    ]


def test_a_test_split_of_the_courses_form_has_no_differences(tmp_path: Path) -> None:
    """Write five sequences of one photo and 630 pose maps as empty files, since only names are read."""
    photos, poses = (tmp_path / "test" / f"test_{kind}" for kind in ("img", "label"))
    for sequence in range(5):
        for folder, num_files in ((photos, 1), (poses, 630)):
            (folder / str(sequence)).mkdir(parents=True)
            for frame in range(num_files):
                (folder / str(sequence) / f"frame{frame:06d}.png").touch()
    assert submission.differences_from_course(tmp_path, (32, 64)) == []
    (poses / "4" / "frame000629.png").unlink()
    (poses / "1" / "frame000630.png").touch()
    (poses / "2" / "frame000630.png").touch()
    assert submission.differences_from_course(tmp_path, (32, 64)) == [
        "poses: 631 in sequence 1, 631 in sequence 2, 629 in sequence 4 instead of 630",
        "rows: 3151 instead of 3150",
    ]
