"""Configurations built from a recipe, a settings file and flags, with every name and value checked.

In: plain values by name. Out: a `Config`, or an `InputError` that states what was expected.
Next: `schema.py`, which declares the settings.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from posecast.config.recipes import RECIPES
from posecast.config.schema import SECTIONS, Anchored, Budget, Config, Lab4, owners_of, parse_size, settings_of
from posecast.config.settings_file import read_settings
from posecast.errors import InputError, shown


def build_config(recipe: str | None = None, file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Config:
    """Build a configuration: the recipe, overridden by the file, overridden by the flags.

    Args:
        recipe: Name of a recipe; None for the one that the file names, or else "anchored".
        file: TOML or YAML file of settings.
        flags: Values by name of the setting.

    Raises:
        InputError: A name or value is wrong, or the settings do not fit together.

    >>> build_config("lab4", flags={"batch_size": 4}).training.batch_size
    4
    """
    from_file = dict(read_settings(file)) if file else {}
    recipe_in_file = from_file.pop("recipe", None)
    name = recipe or recipe_in_file or "anchored"
    if not isinstance(name, str) or name not in RECIPES:
        raise InputError(f"There is no recipe {shown(name)}; choose one of {', '.join(RECIPES)}.")
    config = RECIPES[name]
    for where, settings in ((str(file), from_file), ("the command line", flags or {})):
        config = change(config, settings, where)
    check_whole(config)
    return config


def as_flags(config: Config) -> list[str]:
    """Return the command-line words that build this configuration from its recipe, the inverse of `build_config`.

    >>> as_flags(build_config("lab4", flags={"batch_size": 4, "steps": 9}))
    ['--recipe', 'lab4', '--batch-size', '4', '--steps', '9']
    """
    words = ["--recipe", config.recipe]
    defaults = owners_of(RECIPES[config.recipe])
    for section, owner in owners_of(config).items():
        for name, _, _ in settings_of(type(owner)):
            value = getattr(owner, name)
            if value is not None and value != getattr(defaults[section], name):
                values = value if isinstance(value, tuple) else (value,)
                words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def change(config: Config, settings: Mapping[str, Any], where: str) -> Config:
    """Return a copy with some settings changed.

    Args:
        config: The configuration to change.
        settings: New values by name. One of epochs, steps and minutes replaces the whole budget.
        where: Origin of the values, for error messages.

    Raises:
        InputError: A name or value is wrong.
    """
    owners = owners_of(config)
    known = {name: (section, *rest) for section, owner in owners.items() for name, *rest in settings_of(type(owner))}
    changes: dict[str, dict[str, Any]] = {section: {} for section in owners}
    for name, value in _with_present_names(settings, where).items():
        if name not in known:
            raise InputError(f"{where}: {_unknown(name, config.recipe, list(known))}")
        section, hint, field = known[name]
        changes[section][name] = _checked(name, value, hint, field, where)
    budget = {name: value for name, value in changes.pop("budget").items() if value is not None}
    if len(budget) > 1:
        raise InputError(f"{where} gives {' and '.join(budget)}; give one of epochs, steps and minutes.")
    top = changes.pop("")
    sections = {section: dataclasses.replace(owners[section], **values) for section, values in changes.items()}
    if budget:
        sections["budget"] = Budget(**budget)
    return dataclasses.replace(config, **top, **sections)


RENAMED = {
    "withheld": "first_frame_dropout",
    "imagined": "prior_mean_share",
    "growth": "clip_length_curriculum",
    "moved": "shift_prob",
    "moved_shift": "max_shift",
    "moved_scale": "max_scale",
    "mirrored": "flip_prob",
    "blank_poses": "pose_dropout",
    "clip_norm": "max_grad_norm",
    "colours": "decoder",
    "latent_spans": "latent_scope",
    "keep_every": "checkpoint_every",
    "show_every": "sample_every",
}
"""Old names of settings, accepted until the next release."""
RENAMED_VALUES = {
    "decoder": {"painted": "direct", "copied": "copy"},
    "latent_scope": {"cell": "spatial", "picture": "global"},
}
"""Old choices of settings by their present name, accepted likewise."""


def _with_present_names(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the settings under their present names; warn about old ones."""
    present: dict[str, Any] = {}
    for old, value in settings.items():
        name = RENAMED.get(old, old)
        if name in present or (name != old and name in settings):
            raise InputError(f"{where}: {old!r} is the old name of {name!r}, which is given too; leave one out.")
        if name != old:
            warnings.warn(f"{where}: {old!r} is now {name!r}; the old name will be removed.", FutureWarning, 2)
        choices = RENAMED_VALUES.get(name, {})
        present[name] = choices.get(value, value) if isinstance(value, str) else value
    return present


def _unknown(name: str, recipe: str, known: list[str]) -> str:
    """Return the rest of the error sentence about a name that is not a setting of a recipe."""
    for other, config in RECIPES.items():
        if any(setting == name for setting, _, _ in settings_of(type(config.networks))):
            return f"{name!r} belongs to recipe {other!r}, not to {recipe!r}; leave it out."
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else "posecast train --help lists all settings."
    return f"there is no setting {shown(name)}; {hint}"


def _checked(name: str, value: Any, hint: Any, field: dataclasses.Field[Any], where: str) -> Any:
    """Return `value` as the setting's type, after checking its range."""
    if name == "size":
        return "{}x{}".format(*parse_size(value))
    if value is None and type(None) in typing.get_args(hint):
        return None
    try:
        converted = _converted(hint, value)
    except OverflowError:  # an integer that exceeds the range of float
        converted = None
    if converted is None:
        raise InputError(f"{where}: {name} is {shown(value)}; expected {_described(hint)}.")
    least, most = field.metadata["ge"], field.metadata["le"]
    for number in converted if isinstance(converted, tuple) else (converted,):
        if isinstance(number, int | float) and least is not None and not least <= number <= most:
            raise InputError(f"{where}: {name} is {shown(number)}; expected a number from {least} to {most}.")
    return converted


def _converted(hint: Any, value: Any) -> Any:
    """Return `value` as the type `hint`, or None if it does not have that type."""
    options = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return value if value in options else None
    if typing.get_origin(hint) is tuple:
        members = [_converted(options[0], member) for member in value] if isinstance(value, list | tuple) else []
        return tuple(members) if members and None not in members else None
    if options:  # a union
        return next((result for option in options if (result := _converted(option, value)) is not None), None)
    if isinstance(value, bool) or not isinstance(value, (int, float) if hint is float else hint):
        return None
    return float(value) if hint is float else value


def _described(hint: Any) -> str:
    """Describe a type in words."""
    options = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(repr, options))
    if typing.get_origin(hint) is tuple:
        return f"a list, each {_described(options[0])}"
    if options:
        return " or ".join(_described(option) for option in options if option is not type(None))
    return {int: "a whole number", float: "a number", str: "text"}[hint]


def check_whole(config: Config) -> None:
    """Check that the settings fit together.

    Raises:
        InputError: They do not; the message says which to change.
    """
    networks = config.networks
    if any(side % networks.stride for side in parse_size(config.size)):
        raise InputError(
            f"The size is {config.size}, but with these networks both sides must be multiples of {networks.stride}; "
            "change --size, --widths or --patch."
        )
    if config.training.validation_frames == 1:
        raise InputError("validation_frames is 1; expected 0 (all), or at least 2: one is given, one predicted.")
    if not isinstance(networks, Anchored):
        return
    if any(width % 8 for width in networks.widths):
        raise InputError(f"The widths are {networks.widths}; each must be a multiple of 8.")
    if networks.prior == "stationary" and networks.latent_channels % 2:
        raise InputError(
            f"latent_channels is {networks.latent_channels}; a stationary prior has them in pairs, so choose an "
            "even number."
        )


def from_dict(content: Mapping[str, Any]) -> Config:
    """Rebuild a configuration from the result of `to_dict`; every value is checked again.

    Raises:
        InputError: The content is not a complete, valid configuration.
    """
    recipe, networks = content.get("recipe"), content.get("networks")
    if not isinstance(recipe, str) or not isinstance(networks, dict):
        raise InputError("config.json: there is no recipe or no table of networks; expected both.")
    flat = {"size": content.get("size"), "seed": content.get("seed")}
    for section in SECTIONS:
        values = content.get(section) or {}
        if not isinstance(values, dict):
            raise InputError(f"config.json: {section} is {str(values)[:40]!r}; expected a table of settings.")
        flat |= values
    kind = Lab4 if "frame_channels" in networks else Anchored
    config = change(Config(recipe, kind()), flat, "config.json")
    check_whole(config)
    return config
