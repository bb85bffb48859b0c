"""Rollouts: what a frame depends on, and that neither batches nor workers change it."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.recordings import Footage, Recording
from posecast.errors import InputError
from posecast.evaluation.metrics import psnr_db
from posecast.model.checkpoint import load_run
from posecast.model.device import resolve_precision
from posecast.model.draws import future_generators
from posecast.model.predictor import Predictor
from posecast.model.rollout import predict, predict_together, rollout, rollout_together
from posecast.model.rollout_input import RolloutInput
from posecast.model.threads import Workers
from posecast.training.train import train

from ..conftest import moving_square
from .conftest import predicted


def test_equal_seeds_give_equal_bytes_and_other_seeds_others(predictor: Predictor, square: Recording) -> None:
    frames = predicted(predictor, square, seed=1, futures=2)
    assert np.array_equal(frames, predicted(predictor, square, seed=1, futures=2))
    assert not np.array_equal(frames, predicted(predictor, square, seed=2, futures=2))
    assert not np.array_equal(frames[:, 0], frames[:, 1])


def test_a_run_rolls_out_in_the_precision_it_was_trained_in(tiny: Config, square: Recording, tmp_path: Path) -> None:
    footage = Footage([square], [square])
    train(tiny, footage, tmp_path / "float32", precision="32-true")
    assert not load_run(tmp_path / "float32").in_bfloat16
    train(tiny, footage, tmp_path / "bfloat16", precision="bf16-mixed")
    is_faster = resolve_precision("auto", "cpu") == "bf16-mixed"
    assert load_run(tmp_path / "bfloat16").in_bfloat16 == is_faster


def test_a_future_does_not_depend_on_other_futures(predictor: Predictor) -> None:
    recording = moving_square(101)
    together = predicted(predictor, recording, seed=5, futures=3)
    alone = rollout(predictor, recording.frames[0], recording.poses, generators=future_generators(5, 0, [2]))
    for number, frame in enumerate(alone, start=1):
        difference = frame[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255 - together[number, 2]
        assert np.abs(difference).max() <= 1.0


def test_a_sequence_does_not_depend_on_other_sequences(predictor: Predictor) -> None:
    """The sequences have different lengths, noise and anchors."""
    recordings = [moving_square(length, seed=length) for length in (30, 12, 75)]
    inputs = [RolloutInput(recording.frames[0], recording.poses) for recording in recordings]
    together = np.stack(list(predict_together(predictor, inputs, seed=5, first_sequence=4)), 1)
    assert together.shape == (3, 75, 16, 16, 3)
    for index, recording in enumerate(recordings):
        alone = predicted(predictor, recording, seed=5, sequence=4 + index)[:, 0]
        assert np.abs(together[index, : len(recording)].astype(int) - alone).max() <= 1


def test_rows_are_all_futures_of_a_sequence_then_of_the_next(predictor: Predictor) -> None:
    recordings = [moving_square(8, seed=seed) for seed in (1, 2)]
    inputs = [RolloutInput(r.frames[0], r.poses, (r.frames[5], r.poses[5])) for r in recordings]
    generators = [generator for index in range(2) for generator in future_generators(5, index, range(3))]
    together = torch.stack(list(rollout_together(predictor, inputs, generators=generators)), 1)
    assert together.shape == (6, 7, 3, 16, 16)
    for index, sequence in enumerate(inputs):
        generators = future_generators(5, index, range(3))
        alone = rollout(predictor, sequence.first_frame, sequence.poses, generators=generators, anchor=sequence.anchor)
        torch.testing.assert_close(together[3 * index :][:3], torch.stack(list(alone), 1), atol=2e-3, rtol=0)


def test_the_given_frame_comes_first_and_every_pose_gets_a_frame(predictor: Predictor, square: Recording) -> None:
    frames = predicted(predictor, square, futures=2)
    assert frames.shape == (len(square), 2, 16, 16, 3)
    assert (frames[0] == square.frames[0]).all()


def test_the_mean_does_not_depend_on_the_seed(predictor: Predictor, square: Recording) -> None:
    mean, other = (predicted(predictor, square, latent="mean", seed=seed) for seed in (1, 2))
    assert np.array_equal(mean, other)


class ReadPoses(np.ndarray):
    """Pose maps that list the last time step of each read."""

    last_read: list[int]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, np.ndarray):
            self.last_read.append(int(index.max()))
        return np.asarray(self)[index]


def test_a_rollout_is_a_stream(predictor: Predictor, square: Recording) -> None:
    """First frames are decoded before later poses are read."""
    poses = np.concatenate([square.poses] * 8).view(ReadPoses)
    poses.last_read = []
    stream: Iterator[np.ndarray] = predict(predictor, square.frames[0], poses, latent="mean")
    for _ in range(3):
        next(stream)
    assert max(poses.last_read) < len(poses) // 2


def test_sizes_that_differ_are_refused(predictor: Predictor, square: Recording) -> None:
    with pytest.raises(InputError, match="8x16"):
        next(predict(predictor, square.frames[0, :8], square.poses))


def test_a_frame_that_is_not_finite_stops_the_rollout(predictor: Predictor, square: Recording) -> None:
    for parameter in predictor.parameters():
        parameter.fill_(float("nan"))
    with pytest.raises(InputError, match="Frame 2 of the rollout is not finite"):
        predicted(predictor, square)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Return a small model of the default recipe, trained on two recordings of the square."""
    footage = [moving_square(60, seed=1, name="one"), moving_square(60, seed=2, name="two")]
    flags = {"size": "16x16", "widths": [16, 24], "blocks": 1, "clip_length": 6, "steps": 150, "warmup_steps": 10}
    run = tmp_path_factory.mktemp("runs") / "trained"
    train(build_config(flags=flags), Footage(footage, footage[:1]), run)
    return load_run(run)


@pytest.mark.parametrize("num_blank", [4, 30])
def test_the_rollout_recovers_after_blank_pose_maps(trained: Predictor, num_blank: int) -> None:
    """Without poses the background stays; after the gap frames are about as good as without it."""
    recording = moving_square(60, seed=3)
    poses = recording.poses.copy()
    blank = slice(10, 10 + num_blank)
    poses[blank] = 255
    complete = predicted(trained, recording, latent="mean")[:, 0]
    gapped = predicted(trained, dataclasses.replace(recording, poses=poses), latent="mean")[:, 0]
    background = np.median(gapped[blank], axis=(1, 2))
    assert np.abs(background - 60).max() < 12
    after = slice(blank.stop + 4, None)
    background_psnr = psnr_db(np.full_like(complete[after], 60), recording.frames[after]).mean()
    gapped_psnr, complete_psnr = (psnr_db(x[after], recording.frames[after]).mean() for x in (gapped, complete))
    assert gapped_psnr > complete_psnr - 1.0
    assert gapped_psnr > background_psnr


@torch.inference_mode()
@pytest.mark.parametrize("lengths", [(40, 3, 5), (3, 5, 40), (1, 40, 1)])
def test_rows_keep_their_order_when_the_sequences_of_a_worker_have_ended(
    fed_back: Config, lengths: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    predictor = Predictor(fed_back).eval().requires_grad_(False)
    squares = [moving_square(40, seed=seed) for seed in range(len(lengths))]
    inputs = [RolloutInput(s.frames[0], s.poses[:length]) for s, length in zip(squares, lengths, strict=True)]
    rollouts = []
    for count in (1, 2):
        predictor.workers = Workers(count)
        generators = [torch.Generator().manual_seed(seed) for seed in range(len(lengths))]
        rollouts.append(list(rollout_together(predictor, inputs, generators=generators)))
        predictor.workers.close()
    assert len(rollouts[0]) == len(rollouts[1]) == max(lengths) - 1
    for alone, shared in zip(*rollouts, strict=True):
        torch.testing.assert_close(alone, shared, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_futures_do_not_depend_on_the_number_of_workers(either: Config) -> None:
    torch.manual_seed(0)
    predictor = Predictor(either).eval().requires_grad_(False)
    square, rollouts = moving_square(40), []
    for count in (1, 3):
        predictor.workers = Workers(count)
        generators = future_generators(1, 0, range(5))
        rollouts.append(torch.stack(list(rollout(predictor, square.frames[0], square.poses, generators=generators))))
        predictor.workers.close()
    torch.testing.assert_close(*rollouts, atol=1e-5, rtol=1e-4)
