"""The folder for a model hub: what it holds, what it does not tell, how it loads."""

import json
from pathlib import Path

import numpy as np
import pytest

import posecast
from posecast.cli.main import main
from posecast.errors import InputError
from posecast.export.hub_folder import export_hub

from ..conftest import moving_square

HOSTILE = "Ann\n# <script>alert(1)</script> | [a](b) `c`"


def test_the_folder_loads_as_the_run(run: Path, tmp_path: Path) -> None:
    square = moving_square(8)
    export_hub(run, tmp_path / "hub", name="Ann", consent="Ann agreed.")
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    frames = [
        np.concatenate(list(posecast.predict(posecast.load_run(folder), square.frames[0], square.poses, latent="mean")))
        for folder in (run, tmp_path / "hub")
    ]
    assert np.array_equal(*frames)


def test_the_folder_does_not_say_where_the_footage_was(run: Path, tmp_path: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    (tmp_path / "run").mkdir()
    config["source"] = {"path": "/home/ann/secret", "fingerprint": "0"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    (tmp_path / "run" / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    export_hub(tmp_path / "run", tmp_path / "hub", name="Ann", consent="Ann agreed.")
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "hub").iterdir())


def test_the_card_has_scores_beside_baselines(run: Path, tmp_path: Path) -> None:
    assert main(["synth", str(tmp_path / "data"), *"--sequences 1 --frames 30 --size 16x16".split()]) == 0
    (tmp_path / "run").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "run" / name).write_bytes((run / name).read_bytes())
    assert not export_hub(tmp_path / "run", tmp_path / "unscored", name="Ann", consent="Ann agreed.")
    assert "This run was not scored." in (tmp_path / "unscored" / "README.md").read_text()
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "data"), "--futures", "2"]) == 0
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert export_hub(tmp_path / "run", tmp_path / "hub", name="Ann", consent="Ann agreed.", licence="cc-by-4.0")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\nlibrary_name: posecast\n")
    assert f"| prior mean | {scores['summary']['psnr_db']['mean']:.2f} | " in card
    assert f"| first frame, copied | {scores['baselines']['copy_first_frame']:.2f} |  |" in card
    assert "29 predicted frames of 1 recording, split val" in card
    (tmp_path / "run" / "scores.json").write_text('{"split": 3}')
    with pytest.raises(InputError, match="evaluate"):
        export_hub(tmp_path / "run", tmp_path / "hub", name="Ann", consent="Ann agreed.", force=True)


def test_names_stay_text(run: Path, tmp_path: Path) -> None:
    export_hub(run, tmp_path / "hub", name=HOSTILE, consent=HOSTILE)
    lines = (tmp_path / "hub" / "README.md").read_text().splitlines()
    assert r"# Ann \# \<script\>alert(1)\</script\> \| \[a\](b) \`c\`" in lines
    assert sum(line.startswith("# ") for line in lines) == 1


def test_a_run_is_not_replaced_by_its_export(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "config.json").read_bytes()
    for words in ([], ["--force"]):
        assert main(["export", str(run), "--out", str(run), "--format", "hub", "--consent", "Ann agreed.", *words]) == 2
    assert (run / "config.json").read_bytes() == before
