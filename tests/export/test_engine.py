"""Choice of the engine, and graphs kept for it."""

import os
from pathlib import Path

import pytest
import torch

from posecast.errors import InputError
from posecast.export import engine
from posecast.export.engine import choose_engine, is_installed, keep_graphs, kept_folder
from posecast.export.parity import measure_parity
from posecast.model.checkpoint import load_run
from posecast.model.onnx_rollout import PARITY, OnnxRollout

if not is_installed():
    pytest.skip("the extra posecast[export]", allow_module_level=True)


def test_auto_takes_graphs_that_were_checked_and_no_others(run: Path, own_cache: Path) -> None:
    predictor = load_run(run)
    assert choose_engine(predictor, "auto").startswith("torch")
    assert predictor.engine is None
    told: list[str] = []
    assert choose_engine(predictor, "onnx", told.append).startswith("onnxruntime")
    assert len(told) == 1
    for chosen in ("auto", "onnx"):
        again = load_run(run)
        assert choose_engine(again, chosen, told.append).startswith("onnxruntime")
        assert again.engine is not None
    assert len(told) == 1
    assert choose_engine(load_run(run), "torch").startswith("torch")
    changed = load_run(run)
    with torch.no_grad():
        next(changed.parameters())[0] += 1e-3
    assert choose_engine(changed, "auto").startswith("torch")
    in_bfloat16 = load_run(run)
    in_bfloat16.in_bfloat16 = True
    assert choose_engine(in_bfloat16, "auto").startswith("torch")
    (kept_folder(predictor) / PARITY).unlink()  # as where a check was not completed
    assert choose_engine(load_run(run), "auto").startswith("torch")


def test_without_the_extra_auto_is_torch_and_onnx_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "is_installed", lambda: False)
    assert choose_engine(load_run(run), "auto").startswith("torch")
    with pytest.raises(InputError, match=r"pip install 'posecast\[export\]'"):
        choose_engine(load_run(run), "onnx")


def test_graphs_of_other_weights_are_refused(run: Path) -> None:
    predictor = load_run(run)
    folder, parity = keep_graphs(predictor)
    assert parity.psnr_db > 100
    graphs = OnnxRollout(folder, predictor.latent_shape, predictor.pose_window)
    with torch.no_grad():
        for weight in predictor.parameters():
            weight.mul_(1.05)
    with pytest.raises(InputError, match="more than rounding"):
        measure_parity(predictor, graphs)


def test_only_the_newest_graphs_are_kept(run: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST_KEPT", 2)
    monkeypatch.setattr(engine, "write_checked", lambda predictor, folder: (folder / PARITY).write_text("{}"))
    predictor = load_run(run)
    kept = []
    for number in range(4):
        with torch.no_grad():
            next(predictor.parameters())[0] += 1e-3
        folder, _ = keep_graphs(predictor)
        os.utime(folder, (number, number))
        kept.append(folder.name)
    assert sorted(path.name for path in own_cache.iterdir()) == sorted(kept[-2:])
