"""Tests of the weights that a training starts from."""

import dataclasses
from pathlib import Path

import pytest
import torch

from posecast.config.overrides import build_config
from posecast.config.recipes import RECIPES
from posecast.config.schema import Config
from posecast.data.dancer.dance import dance
from posecast.data.recordings import Footage
from posecast.evaluation.baselines import baselines
from posecast.evaluation.evaluate import mean_rollout
from posecast.evaluation.metrics import psnr_db
from posecast.experiments.grids import GRIDS, configurations
from posecast.model.checkpoint import digest_of, load_weights, read_config
from posecast.model.predictor import Predictor
from posecast.training.initial_weights import (
    OF_DANCERS,
    lacks_its_weights,
    note_on_weights,
    starting_weights,
    weights_of_dancers,
)
from posecast.training.train import train

from .runs import footage


def test_the_default_recipe_starts_from_the_weights_of_dancers() -> None:
    weights = starting_weights(RECIPES["anchored"], None)
    assert weights is not None
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in weights.values())
    Predictor(RECIPES["anchored"]).load_state_dict(weights)
    assert OF_DANCERS.stat().st_size < 4e6


@pytest.mark.parametrize("recipe", ["lab4", "people", "stationary"])
def test_other_recipes_start_from_random_weights(recipe: str) -> None:
    assert starting_weights(RECIPES[recipe], None) is None


@pytest.mark.parametrize("changes", [{"widths": [32, 64]}, {"pose_window": 0}, {"prior": "learned"}, {"blocks": 3}])
def test_networks_of_another_shape_start_from_random_weights(changes: dict[str, object]) -> None:
    config = build_config(flags=changes)
    assert config.training.initial_weights == "dancers"
    assert starting_weights(config, None) is None
    assert lacks_its_weights(config)


def test_a_comparison_of_different_starts_is_remarked_on() -> None:
    default, other, lab4 = RECIPES["anchored"], build_config(flags={"pose_window": 0}), RECIPES["lab4"]
    assert not lacks_its_weights(default)
    assert not lacks_its_weights(lab4)
    assert note_on_weights({"a": default, "b": build_config(flags={"learning_rate": 1e-3})}) is None
    assert note_on_weights({"a": other, "b": lab4}) is None
    sentence = note_on_weights({"a": default, "b": other})
    assert sentence is not None
    assert "random weights (b)" in sentence


def test_the_built_in_experiments_compare_equal_starts() -> None:
    for grid in GRIDS.values():
        assert note_on_weights(configurations(grid)) is None


def test_weights_do_not_depend_on_the_size_of_the_images() -> None:
    larger = weights_of_dancers(Predictor(build_config(flags={"size": "64x64"})))
    assert larger is not None
    assert digest_of(larger) == digest_of(weights_of_dancers(Predictor(RECIPES["anchored"])) or {})


def test_a_run_records_what_it_starts_from(tmp_path: Path) -> None:
    flags = {"size": "16x16", "steps": 1, "learning_rate": 1e-6, "ema_decay": 0.0, "batch_size": 2}
    train(build_config(flags=flags), footage(), tmp_path / "run", precision="32-true")
    expected = weights_of_dancers(Predictor(build_config(flags=flags)))
    assert expected is not None
    assert read_config(tmp_path / "run")[1]["initial_weights"] == digest_of(expected)
    for name, value in load_weights(tmp_path / "run" / "model.safetensors").items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0)
    train(build_config(flags={**flags, "initial_weights": "random"}), footage(), tmp_path / "random")
    assert read_config(tmp_path / "random")[1]["initial_weights"] is None


def test_a_named_run_takes_precedence(tiny: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(RECIPES["anchored"], budget=dataclasses.replace(tiny.budget, steps=1))
    train(dataclasses.replace(config, size="16x16"), footage(), tmp_path / "run", precision="32-true")
    weights = starting_weights(config, tmp_path / "run")
    assert weights is not None
    assert digest_of(weights) == digest_of(load_weights(tmp_path / "run" / "model.safetensors"))
    assert digest_of(weights) != digest_of(weights_of_dancers(Predictor(config)) or {})


def test_a_dancer_that_was_not_trained_on_is_predicted_better_than_by_copying() -> None:
    """The networks take the person from the photo and the motion from the poses, before any training."""
    config = RECIPES["anchored"]
    predictor = Predictor(config).eval().requires_grad_(False)
    predictor.load_state_dict(starting_weights(config, None) or {})
    recording = dance(150, seed=987_654, look=543_210).recording
    predicted = psnr_db(mean_rollout(predictor, recording), recording.frames[1:]).mean()
    copied = baselines([recording], None)["copy_first_frame"]
    assert copied is not None
    assert predicted > copied + 2.0


@pytest.mark.long
def test_training_from_them_is_better_than_from_random_weights(tmp_path: Path) -> None:
    seen, unseen = (dance(120, seed=seed, look=777_777).recording for seed in (1, 2))
    scores = {}
    for start in ("random", "dancers"):
        config = build_config(flags={"steps": 60, "initial_weights": start, "validate_every": 1000})
        train(config, Footage([seen], [unseen]), tmp_path / start)
        predictor = Predictor(config).eval().requires_grad_(False)
        predictor.load_state_dict(load_weights(tmp_path / start / "model.safetensors"))
        scores[start] = psnr_db(mean_rollout(predictor, unseen), unseen.frames[1:]).mean()
    assert scores["dancers"] > scores["random"] + 2.0
