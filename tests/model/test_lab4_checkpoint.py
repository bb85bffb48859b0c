"""Checkpoints of the course's code: import of published forms, and export for its own Tester."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from posecast.cli.main import main
from posecast.config.schema import Lab4
from posecast.model.checkpoint import load_run, load_weights
from posecast.model.lab4 import decoder_fusion, frame_encoder, gaussian_predictor, generator, pose_encoder

from ..conftest import moving_square

WIDTHS = {"frame_channels": 8, "pose_channels": 4, "latent_channels": 4, "fusion_channels": 8}
SMALL = [word for name, width in WIDTHS.items() for word in (f"--{name.replace('_', '-')}", str(width))]
SMALL += ["--recipe", "lab4", "--size", "16x16", "--clip-length", "4", "--device", "cpu"]


class Course(nn.Module):
    """Networks under the names of the course's code, and its step with a final Sigmoid."""

    def __init__(self, frame: int, pose: int, latent: int, fusion: int) -> None:
        super().__init__()
        self.frame_transformation = frame_encoder(frame)
        self.label_transformation = pose_encoder(pose)
        self.Gaussian_Predictor = gaussian_predictor(frame + pose, latent)
        self.Decoder_Fusion = decoder_fusion(frame + pose + latent, fusion)
        self.Generator = generator(fusion)

    def step(self, frame: Tensor, pose: Tensor, z: Tensor) -> Tensor:
        inputs = self.frame_transformation(frame), self.label_transformation(pose), z
        return torch.sigmoid(self.Generator(self.Decoder_Fusion(torch.cat(inputs, 1))))


def course(seed: int = 1, **widths: int) -> Course:
    torch.manual_seed(seed)
    networks = Course(*(WIDTHS | widths).values())
    for name, buffer in networks.named_buffers():  # as after some training: no buffer keeps its initial value
        if buffer.is_floating_point():
            buffer.add_(torch.rand_like(buffer))
        else:
            assert name.endswith("num_batches_tracked")
            buffer.add_(7)
    return networks.eval()


def saved(content: Any, folder: Path, name: str = "epoch=7.ckpt") -> Path:
    torch.save(content, folder / name)
    return folder / name


def imported(checkpoint: Path, out: Path, *more: str) -> Path:
    assert main(["import-lab4", str(checkpoint), "--out", str(out), "--size", "16x16", *more]) == 0
    return out


def same(weights: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return weights.keys() == other.keys() and all(
        torch.equal(value, other[name]) and value.dtype == other[name].dtype for name, value in weights.items()
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("checkpoints") / "data"
    assert main(["synth", str(out), "--sequences", "1", "--frames", "20", "--size", "16x16"]) == 0
    return out


def test_an_imported_checkpoint_is_exported_unchanged(tmp_path: Path) -> None:
    weights = course().state_dict()
    run = imported(saved({"state_dict": weights, "lr": 1e-4, "tfr": 0.3, "last_epoch": 7}, tmp_path), tmp_path / "run")
    out = tmp_path / "again.ckpt"
    assert main(["export-lab4", str(run), "--out", str(out)]) == 0
    again = torch.load(out, weights_only=True)
    assert same(again["state_dict"], weights)
    assert {"state_dict", "optimizer", "lr", "tfr", "last_epoch"} == set(again)
    assert main(["export-lab4", str(run), "--out", str(out)]) == 2
    assert main(["export-lab4", str(run), "--out", str(out), "--force"]) == 0


def variants() -> dict[str, tuple[dict[str, int], Any]]:
    """Return forms found in public repositories: by name, the widths of the networks and the content of the file."""
    plain, wide = course(), course(frame_channels=16, latent_channels=8, pose_channels=6, fusion_channels=24)
    weights = plain.state_dict()
    adam = torch.optim.Adam(plain.parameters())
    plain.step(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), torch.rand(1, 4, 8, 8)).sum().backward()
    adam.step()
    moved = {name: value.clone() for name, value in weights.items()}
    old = {name: value for name, value in moved.items() if not name.endswith("num_batches_tracked")}
    wider = {"frame_channels": 16, "latent_channels": 8, "pose_channels": 6, "fusion_channels": 24}
    return {
        "as the template": (WIDTHS, {"state_dict": moved, "optimizer": moved, "lr": 1e-3, "tfr": 1.0, "last_epoch": 3}),
        "parallel": (WIDTHS, {"state_dict": {f"module.{name}": value for name, value in moved.items()}}),
        "other widths": (wider, {"state_dict": wide.state_dict()}),
        "a true optimizer": (WIDTHS, {"state_dict": moved, "optimizer": adam.state_dict(), "args": {"lr": 1e-3}}),
        "bare": (WIDTHS, moved),
        "old torch": (WIDTHS, {"state_dict": old}),
        "more networks": (WIDTHS, {"state_dict": moved | {"mse_criterion.scale": torch.ones(1)}}),
    }


@pytest.mark.parametrize("form", variants())
def test_published_forms_are_imported(tmp_path: Path, form: str) -> None:
    widths, content = variants()[form]
    run = imported(saved(content, tmp_path), tmp_path / "run")
    predictor = load_run(run)
    assert isinstance(predictor.config.networks, Lab4)
    assert {name: getattr(predictor.config.networks, name) for name in widths} == widths
    ours = predictor.networks.state_dict()
    state_dict = content.get("state_dict", content)
    theirs = {name.removeprefix("module."): value for name, value in state_dict.items()}
    shared = ours.keys() & theirs.keys()
    assert ours.keys() - shared <= {"label_transformation.2.num_batches_tracked"}
    assert theirs.keys() - shared <= {"mse_criterion.scale"}
    assert all(torch.equal(ours[name], theirs[name]) for name in shared)


def test_an_exported_run_decodes_the_same(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "epoch=2.ckpt"
    command = ["train", "--data", str(data), "--out", str(run), *SMALL, "--epochs", "2", "--checkpoint-every", "1"]
    assert main([*command, "--validate-every", "1"]) == 0
    capsys.readouterr()
    assert main(["export-lab4", str(run), "--out", str(out), "--epoch", "2"]) == 0
    message = capsys.readouterr().err
    assert "Sigmoid" in message
    assert "tanh" in message

    networks = course(seed=2)
    networks.load_state_dict(torch.load(out, weights_only=True)["state_dict"], strict=True)
    kept = load_weights(run / "epochs" / "epoch-0002.safetensors")
    assert same(networks.state_dict(), {name.removeprefix("networks."): value for name, value in kept.items()})

    predictor = load_run(run)
    predictor.load_state_dict(kept)
    square = moving_square()
    frame, pose = (
        torch.from_numpy(pixels[:1].copy()).permute(0, 3, 1, 2) / 255 for pixels in (square.frames, square.poses)
    )
    z = torch.randn(1, 4, 16, 16)
    with torch.inference_mode():
        ours = predictor.networks.decode(
            predictor.networks.encode_frame(frame), predictor.networks.encode_condition(pose, ()), z
        )
        torch.testing.assert_close(networks.eval().step(frame, pose, z), ours, atol=1e-5, rtol=1e-4)


def test_each_kept_epoch_can_be_exported(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    command = ["train", "--data", str(data), "--out", str(run), *SMALL, "--epochs", "2", "--checkpoint-every", "1"]
    assert main(command) == 0
    for epoch in (1, 2):
        assert main(["export-lab4", str(run), "--out", str(tmp_path / f"{epoch}.ckpt"), "--epoch", str(epoch)]) == 0
    first, second = (torch.load(tmp_path / f"{epoch}.ckpt", weights_only=True) for epoch in (1, 2))
    assert (first["last_epoch"], second["last_epoch"]) == (1, 2)
    assert not same(first["state_dict"], second["state_dict"])
    refused = {"3": "kept no weights of epoch 3, only of 1, 2; ", "0": "--epoch is 0"}
    for epoch, message in refused.items():
        capsys.readouterr()
        assert main(["export-lab4", str(run), "--out", str(tmp_path / "no.ckpt"), "--epoch", epoch]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "no.ckpt").exists()


def test_the_error_of_a_run_without_kept_epochs_names_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = imported(saved({"state_dict": course().state_dict()}, tmp_path), tmp_path / "run")
    capsys.readouterr()
    assert main(["export-lab4", str(run), "--out", str(tmp_path / "no.ckpt"), "--epoch", "3"]) == 2
    message = capsys.readouterr().err
    assert f"{run} kept no weights of epoch 3, nor of any other; " in message
    assert "--checkpoint-every" in message
    assert not (tmp_path / "no.ckpt").exists()


def test_training_starts_from_a_checkpoint(data: Path, tmp_path: Path) -> None:
    weights = course(seed=3).state_dict()
    checkpoint = saved({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, tmp_path)
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), *SMALL, "--from", str(checkpoint)]
    assert main([*command, "--steps", "1", "--learning-rate", "1e-9"]) == 0
    trained = load_run(tmp_path / "run").networks.state_dict()
    for name, value in course(seed=3).named_parameters():
        torch.testing.assert_close(trained[name], value.detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("wrong", ["widths", "networks"])
def test_a_checkpoint_that_does_not_fit_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    checkpoint = saved({"state_dict": course(frame_channels=16).state_dict()}, tmp_path)
    options = SMALL if wrong == "widths" else ["--size", "16x16", "--clip-length", "4", "--device", "cpu"]
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), *options, "--steps", "1"]
    assert main([*command, "--from", str(checkpoint)]) == 2
    message = capsys.readouterr().err
    assert ("does not fit" if wrong == "widths" else "only recipe 'lab4'") in message
    assert not (tmp_path / "run").exists()


def test_only_the_courses_networks_can_be_exported(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    small = ["--size", "16x16", "--widths", "8", "16", "--blocks", "1", "--clip-length", "4", "--steps", "1"]
    assert main(["train", "--data", str(data), "--out", str(run), *small, "--device", "cpu"]) == 0
    assert main(["export-lab4", str(run), "--out", str(tmp_path / "no.ckpt")]) == 2
    assert "anchored" in capsys.readouterr().err
    assert not (tmp_path / "no.ckpt").exists()


def test_the_lab4_commands_accept_a_checkpoint_of_the_course(data: Path, tmp_path: Path) -> None:
    checkpoint = saved({"state_dict": course().state_dict()}, tmp_path)
    options = ["--DR", str(data), "--ckpt_path", str(checkpoint), "--device", "cpu"]
    options += ["--frame_H", "16", "--frame_W", "16", "--val_vi_len", "20", "--output", "sigmoid"]
    assert main(["lab4", "test", *options, "--save_root", str(tmp_path / "out")]) == 0
    assert len((tmp_path / "out" / "submission.csv").read_text().splitlines()) == 1 + 20
    assert main(["lab4", "train", "--test", *options, "--save_root", str(tmp_path / "judged")]) == 0
    assert (tmp_path / "judged" / "imported" / "scores.json").is_file()
    for run in (tmp_path / "out-run", tmp_path / "judged" / "imported"):
        networks = load_run(run).config.networks
        assert isinstance(networks, Lab4)
        assert networks.output == "sigmoid"
