"""Precedence of recipe, file and flags, and refused settings."""

import contextlib
import io
import json
import warnings
from pathlib import Path

import pytest

from posecast.cli.main import main
from posecast.config.overrides import RENAMED, as_flags, build_config, from_dict
from posecast.config.recipes import RECIPES
from posecast.config.schema import Anchored, Config, flattened, parse_size, to_dict
from posecast.errors import InputError


def test_flags_beat_the_file_and_the_file_beats_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('recipe = "lab4"\nbatch_size = 6\n[training]\nclip_length = 5\n')
    config = build_config(file=file, flags={"batch_size": 7})
    assert (config.recipe, config.training.batch_size, config.training.clip_length) == ("lab4", 7, 5)
    assert config.training.learning_rate == RECIPES["lab4"].training.learning_rate


def test_yaml_equals_toml(tmp_path: Path) -> None:
    toml, yaml = tmp_path / "a.toml", tmp_path / "a.yaml"
    toml.write_text("widths = [16, 32]\nlikelihood_variance = 0.5\n")
    yaml.write_text("widths: [16, 32]\nlikelihood_variance: 0.5\n")
    assert build_config(file=toml) == build_config(file=yaml)


@pytest.mark.parametrize("recipe", RECIPES)
def test_from_dict_is_the_inverse_of_to_dict(recipe: str) -> None:
    config = build_config(recipe, flags={"seed": 5, "steps": 11})
    assert from_dict(to_dict(config)) == config


def test_a_budget_replaces_the_recipes_budget() -> None:
    budget = build_config("lab4", flags={"minutes": 2}).budget
    assert (budget.minutes, budget.epochs, budget.steps) == (2.0, None, None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"bath_size": 3}, "did you mean 'batch_size'"),
        ({"frame_channels": 64}, "belongs to recipe 'lab4'"),
        ({"batch_size": 0}, "from 1 to"),
        ({"batch_size": -2}, "from 1 to"),
        ({"batch_size": 2.5}, "a whole number"),
        ({"batch_size": True}, "a whole number"),
        ({"learning_rate": float("nan")}, "from 1e-09 to"),
        ({"learning_rate": float("inf")}, "from 1e-09 to"),
        ({"learning_rate": 10**400}, "a number"),
        ({"stride": 3}, "there is no setting"),
        ({"kl_schedule": "sometimes"}, "'monotonic'"),
        ({"likelihood_variance": "large"}, "'optimal'"),
        ({"widths": []}, "a list"),
        ({"widths": [12, 16]}, "multiple of 8"),
        ({"prior": "stationary", "latent_channels": 5}, "in pairs"),
        ({"size": "30x64"}, "multiples of 8"),
        ({"size": "32"}, "HEIGHTxWIDTH"),
        ({"size": "-32x64"}, "HEIGHTxWIDTH"),
        ({"epochs": 3, "steps": 4}, "give one of"),
        ({"minutes": 0}, "from 0.001"),
    ],
)
def test_a_wrong_setting_is_named(flags: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_config(flags=flags)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", "batch_size ="), ("a.yaml", "a: [1"), ("a.yaml", "- 1"), ("a.json", "{}"), ("a.toml", "colour = 1")],
)
def test_a_wrong_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError):
        build_config(file=tmp_path / name)


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("!!python/object/apply:os.mkdir [made]\n")
    with pytest.raises(InputError):
        build_config(file=tmp_path / "a.yaml")


def test_an_unknown_recipe_lists_the_recipes() -> None:
    with pytest.raises(InputError, match="anchored, lab4, people, stationary"):
        build_config("lab5")


def test_parse_size_ignores_case() -> None:
    assert parse_size("256X512") == (256, 512)


@pytest.mark.parametrize("recipe", ["anchored", "lab4", "people", "stationary"])
def test_as_flags_is_the_inverse_of_build_config(recipe: str) -> None:
    flags = {"kl_schedule": "cyclical", "kl_period": 2.5, "milestones": [0.1, 1 / 3], "steps": 7, "seed": 3}
    flags |= {"likelihood_variance": "optimal"} if recipe == "lab4" else {"likelihood_variance": 1e-5}
    config = build_config(recipe, flags=flags)
    words = as_flags(config)
    assert words[:2] == ["--recipe", recipe]
    printed = dry_run(["train", "--data", "D", "--out", "R", "--dry-run", *words])
    assert from_dict(printed) == config


def dry_run(words: list[str]) -> dict:
    """Return what `posecast train --dry-run` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(words) == 0
    return json.loads(printed.getvalue())


def test_old_names_are_accepted_with_a_warning() -> None:
    old = {"growth": [0.5, 1.0], "latent_spans": "picture", "colours": "copied", "clip_norm": 0.5}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = build_config(flags=old)
    assert len(caught) == len(old)
    assert "'growth' is now 'clip_length_curriculum'" in str(caught[0].message)
    assert config.training.clip_length_curriculum == (0.5, 1.0)
    assert config.training.max_grad_norm == 0.5
    assert isinstance(config.networks, Anchored)
    assert (config.networks.latent_scope, config.networks.decoder) == ("global", "copy")
    with pytest.raises(InputError, match="old name of 'max_grad_norm', which is given too"):
        build_config(flags={"clip_norm": 0.5, "max_grad_norm": 1.0})
    present = {name for config in RECIPES.values() for name in flattened_names(config)}
    assert set(RENAMED.values()) <= present
    assert not set(RENAMED) & present


def flattened_names(config: Config) -> set[str]:
    return {name.rpartition(".")[2] for name in flattened(to_dict(config))}
