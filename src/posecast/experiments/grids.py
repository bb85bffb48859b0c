"""Grids of settings, one for each experiment.

In: an experiment's name or a TOML file, and the user's changes. Out: a `Config` for each setting. Imports no torch.
Next: `runner.py`, which trains and scores them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posecast.config.overrides import build_config, change, check_whole, read_settings
from posecast.config.recipes import RECIPES
from posecast.config.schema import SECTIONS, Config, settings_of
from posecast.errors import InputError, shown
from posecast.files import read_bytes
from posecast.system.names import NAME_IS, is_name

DEFAULT_MINUTES = 5.0


@dataclass(frozen=True)
class Setting:
    """Row of an experiment: a name, and changes by configuration key."""

    name: str
    changes: Mapping[str, Any]
    recipe: str | None = None
    """Recipe to start from; None: the grid's."""


@dataclass(frozen=True)
class Grid:
    """Experiment: a question, and the settings that answer it."""

    name: str
    question: str
    settings: tuple[Setting, ...]
    common: Mapping[str, Any] = field(default_factory=dict)
    """Changes in every setting, by configuration key; the user's changes take precedence over these."""
    recipe: str = "lab4"
    schedule_epochs: int = 0
    """Number of epochs that its schedules count, which every run has, however short its budget; 0: they count none."""


def teacher_forcing(start: float, decay_from: int, step: float) -> dict[str, Any]:
    """Return the changes for a teacher-forcing schedule in the report's terms; with a step of 0 it never decays."""
    return {
        "teacher_forcing": start,
        "teacher_forcing_decay_from": decay_from,
        "teacher_forcing_step": step,
    }


def kl_annealing(schedule: str, period: float) -> dict[str, Any]:
    """Return the changes for a KL weight that rises from 0 to 1 within `period` epochs, once or in cycles."""
    return {"kl_schedule": schedule, "kl_period": period, "kl_ramp": 1.0, "kl_peak": 1.0, "kl_floor": 0.0}


GRIDS = {
    grid.name: grid
    for grid in (
        Grid(
            "teacher-forcing",
            "What does teacher forcing do to training and to rollouts?",
            (
                Setting("decaying-0.5", teacher_forcing(0.5, 5, 0.1)),
                Setting("constant-0.1", teacher_forcing(0.1, 30, 0.0)),
                Setting("none", teacher_forcing(0.0, 30, 0.0)),
            ),
            common={"teacher_forcing_coin": "epoch", "validate_every": 1},
            schedule_epochs=20,
        ),
        Grid(
            "kl-annealing",
            "What does annealing the KL weight do to the bound and to rollouts?",
            (
                Setting("monotonic", kl_annealing("monotonic", 10.0)),
                Setting("cyclical", kl_annealing("cyclical", 5.0)),
                Setting("none", {"kl_schedule": "constant", "kl_peak": 1.0}),
            ),
            common={"validate_every": 1},
            schedule_epochs=20,
        ),
        Grid(
            "report",
            "How does the report's protocol compare with ours, with the course's networks?",
            (
                Setting(
                    "report",
                    {"posterior_sees": "previous", "likelihood_variance": 3072.0, "max_grad_norm": 0.75}
                    | {"fast_epochs": 20, "fast_share": 0.4, "kl_schedule": "constant"},
                ),
                Setting("ours", {"posterior_sees": "current", "likelihood_variance": "optimal", "ema_decay": 0.999}),
            ),
            common={"validate_every": 1},
            schedule_epochs=30,
        ),
        Grid(
            "anchoring",
            "What does a real frame at every step give?",
            (Setting("lab4", {}, recipe="lab4"), Setting("anchored", {"initial_weights": "random"}, recipe="anchored")),
        ),
    )
}


def find_grid(name: str) -> Grid:
    """Return a built-in grid by its name, or read one from a file whose name ends in .toml.

    Raises:
        InputError: If there is no such grid, or the file is wrong.
    """
    if name.lower().endswith(".toml"):
        return read_grid(Path(name))
    if name not in GRIDS:
        raise InputError(f"There is no experiment {name!r}; there are {', '.join(GRIDS)}, or name a .toml file.")
    return GRIDS[name]


def read_grid(file: Path) -> Grid:
    """Read a grid from TOML: `recipe`, `question`, `schedule_epochs`, a table [base] and tables [settings.NAME].

    Raises:
        InputError: If the file cannot be read, or has an unknown key or a wrong value.
    """
    try:
        content = tomllib.loads(read_bytes(file).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n"))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"The grid {file} cannot be read: {error}.") from error
    types = {"recipe": str, "question": str, "schedule_epochs": int, "base": dict, "settings": dict}
    for key, value in content.items():
        if key not in types or not isinstance(value, types[key]):
            raise InputError(f"The grid {file} has {key} = {shown(value)}; expected {', '.join(types)}.")
    settings = []
    for name, changes in content.get("settings", {}).items():
        if not is_name(name) or not isinstance(changes, dict):
            raise InputError(f"The grid {file} names a setting {shown(name)}; expected a table, and {NAME_IS}.")
        if not isinstance(changes.get("recipe", ""), str):
            raise InputError(f"The grid {file} has the recipe {shown(changes['recipe'])} in {name}; expected text.")
        settings.append(Setting(name, {k: v for k, v in changes.items() if k != "recipe"}, changes.get("recipe")))
    if not settings:
        raise InputError(f"The grid {file} has no settings; expected tables [settings.NAME] of configuration keys.")
    if content.get("schedule_epochs", 0) < 0:
        raise InputError(f"The grid {file} has schedule_epochs below 0; expected 0 or more.")
    return Grid(
        file.stem,
        content.get("question", file.stem),
        tuple(settings),
        content.get("base", {}),
        content.get("recipe", "lab4"),
        content.get("schedule_epochs", 0),
    )


def configurations(
    grid: Grid, recipe: str | None = None, file: Path | None = None, flags: Mapping[str, Any] | None = None
) -> dict[str, Config]:
    """Return the configuration of each setting, by its name.

    A recipe is changed by the grid's common changes, then by the user's file and flags, then by the setting.

    Args:
        grid: The grid.
        recipe: The user's recipe; None: the one in `file`, or else the grid's.
        file: TOML or YAML file with the user's changes.
        flags: The user's changes from the command line, by configuration key.

    Raises:
        InputError: If a value is wrong, or the user changes what the settings themselves change.
    """
    from_file = dict(read_settings(file)) if file else {}
    file_recipe = from_file.pop("recipe", None)
    recipe = recipe or file_recipe
    changes = from_file | dict(flags or {})
    if recipe and any(setting.recipe for setting in grid.settings):
        raise InputError(f"The experiment {grid.name} compares recipes itself; leave --recipe out.")
    conflicts = {name for setting in grid.settings for name in setting.changes} & changes.keys()
    if conflicts:
        raise InputError(f"The experiment {grid.name} sets {min(conflicts)} itself, in each setting; leave it out.")
    recipes = [setting.recipe or recipe or grid.recipe for setting in grid.settings]
    configs = {}
    for setting, start in zip(grid.settings, recipes, strict=True):
        # A key of another setting's recipe is left out; a key of no recipe is an error that `change` raises.
        applicable = {
            name: value for name, value in changes.items() if has_key(name, start) or not has_key(name, *recipes)
        }
        config = change(build_config(start), {"minutes": DEFAULT_MINUTES}, grid.name)
        for origin, layer in (
            (grid.name, grid.common),
            ("the command line", applicable),
            (grid.name, setting.changes),
        ):
            config = change(config, layer, origin)
        check_whole(config)
        configs[setting.name] = config
    return configs


def has_key(name: str, *recipes: str) -> bool:
    """Return whether any of the recipes has a configuration key; unknown recipes have none."""
    return any(name in keys_of(RECIPES[recipe]) for recipe in recipes if recipe in RECIPES)


def keys_of(config: Config) -> set[str]:
    """Return all configuration keys of a configuration."""
    owners: Iterable[Any] = (config, *(getattr(config, section) for section in SECTIONS))
    return {name for owner in owners for name, _, _ in settings_of(type(owner))}
