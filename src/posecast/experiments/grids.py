"""Experiments as rows of a table: what each setting changes, and how many epochs its schedules count.

In: an experiment's name or a TOML file, and the user's own changes. Out: one `Config` a setting. Knows no torch.
Next: `runner.py`, which trains and scores them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posecast.config.overrides import build_config, change, check_whole, read_settings
from posecast.config.recipes import RECIPES
from posecast.config.schema import SECTIONS, Config, settings_of
from posecast.errors import InputError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
DEFAULT_MINUTES = 5.0


@dataclass(frozen=True)
class Setting:
    """One row of an experiment: a name, and what it changes."""

    name: str
    changes: Mapping[str, Any]
    recipe: str | None = None
    """Where its configuration keys start, if not where all the others do."""


@dataclass(frozen=True)
class Grid:
    """An experiment: a question, and the settings that answer it."""

    name: str
    question: str
    settings: tuple[Setting, ...]
    common: Mapping[str, Any] = field(default_factory=dict)
    """Changed in every setting; the user's own configuration keys are laid on these."""
    recipe: str = "lab4"
    schedule_epochs: int = 0
    """Epochs that its schedules count: a run has so many, however short its budget. 0: schedules count none."""


def forced(start: float, decay_from: int, step: float) -> dict[str, Any]:
    """A teacher-forcing schedule as the report writes it; a step of 0 never decays."""
    return {
        "teacher_forcing": start,
        "teacher_forcing_decay_from": decay_from,
        "teacher_forcing_step": step,
    }


def annealed(schedule: str, period: float) -> dict[str, Any]:
    """A KL weight that rises from 0 to 1 within `period` epochs, once or again and again."""
    return {"kl_schedule": schedule, "kl_period": period, "kl_ramp": 1.0, "kl_peak": 1.0, "kl_floor": 0.0}


GRIDS = {
    grid.name: grid
    for grid in (
        Grid(
            "teacher-forcing",
            "What does teacher forcing do to training and to rollouts?",
            (
                Setting("decaying-0.5", forced(0.5, 5, 0.1)),
                Setting("constant-0.1", forced(0.1, 30, 0.0)),
                Setting("none", forced(0.0, 30, 0.0)),
            ),
            common={"teacher_forcing_coin": "epoch", "validate_every": 1},
            schedule_epochs=20,
        ),
        Grid(
            "kl-annealing",
            "What does annealing the KL weight do to the bound and to rollouts?",
            (
                Setting("monotonic", annealed("monotonic", 10.0)),
                Setting("cyclical", annealed("cyclical", 5.0)),
                Setting("none", {"kl_schedule": "constant", "kl_peak": 1.0}),
            ),
            common={"validate_every": 1},
            schedule_epochs=20,
        ),
        Grid(
            "report",
            "The report's own protocol beside ours, with the course's networks",
            (
                # Its posterior saw the previous frame; its gradients were limited to 0.75; 20 epochs were fast.
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
            (Setting("lab4", {}, recipe="lab4"), Setting("anchored", {}, recipe="anchored")),
        ),
    )
}


def find_grid(name: str) -> Grid:
    """A named experiment, or one from a TOML file. Raises InputError."""
    if name.endswith(".toml"):
        return read_grid(Path(name))
    if name not in GRIDS:
        raise InputError(f"There is no experiment {name!r}; there are {', '.join(GRIDS)}, or name a .toml file.")
    return GRIDS[name]


def read_grid(file: Path) -> Grid:
    """A user's own grid: `recipe`, `schedule_epochs`, a table [base], and tables [settings.NAME]."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"The grid {file} cannot be read: {error}.") from error
    known = {"recipe": str, "question": str, "schedule_epochs": int, "base": dict, "settings": dict}
    for key, value in content.items():
        if key not in known or not isinstance(value, known[key]):
            raise InputError(f"The grid {file} has {key} = {value!r}; expected {', '.join(known)}.")
    settings = []
    for name, changes in content.get("settings", {}).items():
        if not NAME.fullmatch(name) or not isinstance(changes, dict):
            raise InputError(f"The grid {file} names a setting {name!r}; expected letters, digits, '.', '_', '-'.")
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
    """A configuration for each setting: recipe, what the grid has in common, the user's file and flags, the setting.

    Five minutes a run where nobody names a budget. Raises InputError, also where a change of the user's
    would be overruled by a setting.
    """
    own = dict(read_settings(file)) if file else {}
    recipe = recipe or own.pop("recipe", None)
    own = {name: value for name, value in own.items() if name != "recipe"} | dict(flags or {})
    if recipe and any(setting.recipe for setting in grid.settings):
        raise InputError(f"The experiment {grid.name} compares recipes itself; leave --recipe out.")
    overruled = {name for setting in grid.settings for name in setting.changes} & own.keys()
    if overruled:
        raise InputError(f"The experiment {grid.name} sets {min(overruled)} itself, in each setting; leave it out.")
    recipes = [setting.recipe or recipe or grid.recipe for setting in grid.settings]
    made = {}
    for setting, start in zip(grid.settings, recipes, strict=True):
        fitting = {name: value for name, value in own.items() if belongs(name, start) or not belongs(name, *recipes)}
        config = change(build_config(start), {"minutes": DEFAULT_MINUTES}, grid.name)
        for where, changes in ((grid.name, grid.common), ("the command line", fitting), (grid.name, setting.changes)):
            config = change(config, changes, where)
        check_whole(config)
        made[setting.name] = config
    return made


def belongs(name: str, *recipes: str) -> bool:
    """Whether a configuration key is one of any of these recipes."""
    return any(name in names_of(RECIPES[recipe]) for recipe in recipes if recipe in RECIPES)


def names_of(config: Config) -> set[str]:
    owners: Iterable[Any] = (config, *(getattr(config, section) for section in SECTIONS))
    return {name for owner in owners for name, _, _ in settings_of(type(owner))}
