"""Rollouts: what a frame may depend on, and that batching changes nothing."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.clips import as_pictures, pose_windows
from posecast.data.recordings import Footage, Recording
from posecast.errors import InputError
from posecast.evaluation.metrics import psnr_db
from posecast.model.anchored import AnchoredNetworks
from posecast.model.checkpoint import load_run
from posecast.model.device import resolve_precision
from posecast.model.predictor import Predictor, by_instant
from posecast.model.priors import Features, StationaryPrior
from posecast.model.rollout import RolloutInput, future_generators, predict, predict_together, rollout, rollout_together
from posecast.model.threads import Workers
from posecast.training.train import train

from ..conftest import TINY, moving_square


@pytest.fixture
def predictor(either: Config) -> Predictor:
    torch.manual_seed(3)
    model = Predictor(either)
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval().requires_grad_(False)


def frames(predictor: Predictor, recording: Recording, **asked: object) -> np.ndarray:
    """All frames as one array, `[T, N, H, W, 3]`."""
    return np.stack(list(predict(predictor, recording.frames[0], recording.poses, **asked)))  # pyright: ignore


def test_the_same_command_gives_the_same_bytes_and_another_seed_others(predictor: Predictor, square: Recording) -> None:
    first = frames(predictor, square, seed=1, futures=2)
    assert np.array_equal(first, frames(predictor, square, seed=1, futures=2))
    assert not np.array_equal(first, frames(predictor, square, seed=2, futures=2))
    assert not np.array_equal(first[:, 0], first[:, 1])


def test_bfloat16_is_autocast_and_stays_inside_the_rollout(predictor: Predictor, square: Recording) -> None:
    """Kernels rounded once are the kernels that autocast rounds at every step; the weights stay as they are."""
    predictor.in_bfloat16 = True
    before = {name: weight.clone() for name, weight in predictor.state_dict().items()}
    given = square.frames[0], square.poses
    rounded = []
    for frame in rollout(predictor, *given):
        assert not torch.is_autocast_enabled("cpu")
        rounded.append(frame)
    assert all(torch.equal(weight, before[name]) for name, weight in predictor.state_dict().items())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        networks, (frame, pose) = predictor.networks, (as_pictures(one[:1]) for one in (square.frames, square.poses))
        windows = pose_windows(square.poses, np.arange(len(square)), predictor.pose_window)
        anchor = networks.encode_anchor(frame, pose)
        memory, _ = predictor.begin(networks.encode_frame(frame), windows[:1], anchor)
        for condition, same in zip(by_instant(networks.encode_condition(windows[1:], anchor), 1), rounded, strict=True):
            frame, memory = predictor.imagine_step(networks.encode_frame(frame), condition, memory, None)
            assert torch.equal(frame, same)
    predictor.in_bfloat16 = False
    difference = torch.stack(rounded) - torch.stack(list(rollout(predictor, *given)))
    assert 0 < float(difference.abs().max()) < 0.05


def test_a_run_rolls_out_as_it_was_trained(tiny: Config, square: Recording, tmp_path: Path) -> None:
    footage = Footage([square], [square])
    train(tiny, footage, tmp_path / "exact", precision="32-true")
    assert not load_run(tmp_path / "exact").in_bfloat16
    train(tiny, footage, tmp_path / "half", precision="bf16-mixed")
    native = resolve_precision("auto", "cpu") == "bf16-mixed"
    assert load_run(tmp_path / "half").in_bfloat16 == native


def test_a_future_does_not_depend_on_the_futures_beside_it(predictor: Predictor) -> None:
    recording = moving_square(101)
    together = frames(predictor, recording, seed=5, futures=3)
    alone = rollout(predictor, recording.frames[0], recording.poses, generators=future_generators(5, 0, [2]))
    for number, frame in enumerate(alone, start=1):
        difference = frame[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255 - together[number, 2]
        assert np.abs(difference).max() <= 1.0


def test_every_future_begins_with_a_z_that_the_first_frame_allows(square: Recording) -> None:
    """z_2 is a step of the prior from a z_1 drawn from the posterior; the mean future's from the posterior's mean."""
    torch.manual_seed(3)
    predictor = Predictor(build_config("stationary", flags={**TINY, "latent_channels": 4})).eval().requires_grad_(False)
    networks = predictor.networks
    assert isinstance(networks, AnchoredNetworks)
    assert isinstance(networks.prior_of_z, StationaryPrior)
    networks.prior_of_z.remember_for(torch.full((2,), 50.0))
    seen: list[torch.Tensor] = []
    decode = networks.decode

    def watched(previous: Features, condition: Features, z: torch.Tensor) -> torch.Tensor:
        seen.append(z.flatten(1))
        return decode(previous, condition, z)

    networks.decode = watched  # pyright: ignore[reportAttributeAccessIssue]
    given = RolloutInput(square.frames[0], square.poses[:2])
    next(rollout_together(predictor, [given], generators=future_generators(5, 0, range(2000))))
    next(rollout_together(predictor, [given]))
    futures, (mean,) = seen
    with torch.inference_mode():
        frame, pose = (as_pictures(one[:1]) for one in (square.frames, square.poses))
        window = pose_windows(square.poses[:2], np.zeros(1, int), predictor.pose_window)
        reading = networks.read(
            networks.encode_frame(frame), networks.encode_condition(window, networks.encode_anchor(frame, pose))
        )
    certainty = 1 + torch.exp(-reading.log_variance.flatten())  # of N(0, I) and the reading together
    kept = math.exp(-1 / 50)
    expected = kept * reading.mean.flatten() * (1 - 1 / certainty)
    variance = kept**2 / certainty + 1 - kept**2
    torch.testing.assert_close(mean, expected, atol=1e-5, rtol=1e-4)
    assert ((futures.mean(0) - expected).abs() < 5 * (variance / len(futures)).sqrt()).all()
    assert ((futures.var(0) / variance).log().abs() < 5 * (2 / len(futures)) ** 0.5).all()


def test_a_sequence_does_not_depend_on_the_sequences_beside_it(predictor: Predictor) -> None:
    """Of unequal lengths, each with its own noise and its own anchor."""
    recordings = [moving_square(length, seed=length) for length in (30, 12, 75)]
    given = [RolloutInput(one.frames[0], one.poses) for one in recordings]
    together = np.stack(list(predict_together(predictor, given, seed=5, first_sequence=4)), 1)
    assert together.shape == (3, 75, 16, 16, 3)
    for number, one in enumerate(recordings):
        alone = np.stack(list(predict(predictor, one.frames[0], one.poses, seed=5, sequence=4 + number)))[:, 0]
        assert np.abs(together[number, : len(one)].astype(int) - alone).max() <= 1


def test_futures_of_several_sequences_are_rows_sequence_by_sequence(predictor: Predictor) -> None:
    recordings = [moving_square(8, seed=seed) for seed in (1, 2)]
    given = [RolloutInput(one.frames[0], one.poses, (one.frames[5], one.poses[5])) for one in recordings]
    generators = [one for number in range(2) for one in future_generators(5, number, range(3))]
    together = torch.stack(list(rollout_together(predictor, given, generators=generators)), 1)
    assert together.shape == (6, 7, 3, 16, 16)
    for number, one in enumerate(given):
        own = future_generators(5, number, range(3))
        alone = rollout(predictor, one.first_frame, one.poses, generators=own, anchor=one.anchor)
        torch.testing.assert_close(together[3 * number :][:3], torch.stack(list(alone), 1), atol=2e-3, rtol=0)


def test_the_given_frame_comes_first_and_every_pose_gets_a_frame(predictor: Predictor, square: Recording) -> None:
    painted = frames(predictor, square, futures=2)
    assert painted.shape == (len(square), 2, 16, 16, 3)
    assert (painted[0] == square.frames[0]).all()


def test_the_mean_needs_no_seed(predictor: Predictor, square: Recording) -> None:
    assert np.array_equal(
        frames(predictor, square, latent="mean", seed=1), frames(predictor, square, latent="mean", seed=2)
    )


def test_poses_are_encoded_ahead_without_a_seam(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = moving_square(20)
    whole = frames(predictor, recording, latent="mean")
    monkeypatch.setattr("posecast.model.rollout.POSES_AHEAD", 3)
    pieces = frames(predictor, recording, latent="mean")
    assert np.abs(whole.astype(int) - pieces).max() <= 1


def test_a_rollout_is_a_stream(predictor: Predictor, square: Recording) -> None:
    """The first frames come before the later poses are looked at, and nothing is kept."""

    class Spy(np.ndarray):
        looked_at: list[int]

        def __getitem__(self, index: object) -> np.ndarray:  # pyright: ignore
            if isinstance(index, np.ndarray):
                self.looked_at.append(int(index.max()))
            return np.asarray(self)[index]  # pyright: ignore

    poses = np.concatenate([square.poses] * 8).view(Spy)
    poses.looked_at = []
    stream: Iterator[np.ndarray] = predict(predictor, square.frames[0], poses, latent="mean")
    for _ in range(3):
        next(stream)
    assert max(poses.looked_at) < len(poses) // 2


def test_sizes_that_do_not_fit_are_refused(predictor: Predictor, square: Recording) -> None:
    with pytest.raises(InputError, match="8x16"):
        next(predict(predictor, square.frames[0, :8], square.poses))


def test_a_frame_that_is_not_finite_stops_the_rollout(predictor: Predictor, square: Recording) -> None:
    for parameter in predictor.parameters():
        parameter.fill_(float("nan"))
    with pytest.raises(InputError, match="Frame 2 of the rollout is not finite"):
        frames(predictor, square)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """The default recipe, small, on two recordings of the square."""
    footage = [moving_square(60, seed=1, name="one"), moving_square(60, seed=2, name="two")]
    flags = {"size": "16x16", "widths": [16, 24], "blocks": 1, "clip_length": 6, "steps": 150, "warmup_steps": 10}
    run = tmp_path_factory.mktemp("runs") / "trained"
    train(build_config(flags=flags), Footage(footage, footage[:1]), run)
    return load_run(run)


@pytest.mark.parametrize("num_blank", [4, 30])
def test_blank_pose_maps_leave_a_picture_and_the_rollout_recovers(trained: Predictor, num_blank: int) -> None:
    """Never black, grey or non-finite without a pose; with the pose, what it would have been anyhow."""
    recording = moving_square(60, seed=3)
    poses = recording.poses.copy()
    blank = slice(10, 10 + num_blank)
    poses[blank] = 255
    whole = frames(trained, recording, latent="mean")[:, 0]
    gapped = frames(trained, dataclasses.replace(recording, poses=poses), latent="mean")[:, 0]
    rooms = np.median(gapped[blank], axis=(1, 2))
    assert np.abs(rooms - 60).max() < 12  # the room stays the room in every frame
    after = slice(blank.stop + 4, None)
    still = psnr_db(np.full_like(whole[after], 60), recording.frames[after]).mean()  # the room alone
    recovered, anyhow = (psnr_db(one[after], recording.frames[after]).mean() for one in (gapped, whole))
    assert recovered > anyhow - 1.0
    assert recovered > still  # and what it would have been is worth something


@torch.inference_mode()
@pytest.mark.parametrize("lengths", [(40, 3, 5), (3, 5, 40), (1, 40, 1)])
def test_sequences_shared_out_keep_their_rows_when_others_have_ended(
    fed_back: Config, lengths: tuple[int, ...]
) -> None:
    """A worker whose sequences are over must not move the rows of those that go on."""
    torch.manual_seed(0)
    predictor = Predictor(fed_back).eval().requires_grad_(False)
    squares = [moving_square(40, seed=seed) for seed in range(len(lengths))]
    given = [RolloutInput(one.frames[0], one.poses[:length]) for one, length in zip(squares, lengths, strict=True)]
    alone, shared = [], []
    for count, found in ((1, alone), (2, shared)):
        predictor.workers = Workers(count)
        generators = [torch.Generator().manual_seed(seed) for seed in range(len(lengths))]
        found += list(rollout_together(predictor, given, generators=generators))
        predictor.workers.close()
    assert len(alone) == len(shared) == max(lengths) - 1
    for one, other in zip(alone, shared, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_futures_shared_out_are_those_of_one_thread(either: Config) -> None:
    torch.manual_seed(0)
    predictor = Predictor(either).eval().requires_grad_(False)
    square, found = moving_square(40), []
    for count in (1, 3):
        predictor.workers = Workers(count)
        generators = future_generators(1, 0, range(5))
        found.append(torch.stack(list(rollout(predictor, square.frames[0], square.poses, generators=generators))))
        predictor.workers.close()
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)
