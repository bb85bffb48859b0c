"""Settings from outside laid on a recipe: a file, then flags; every name and value checked.

In: plain values by name. Out: a `Config`, or an InputError that says what was expected. Knows no torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import typing
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from posecast.config.recipes import RECIPES
from posecast.config.schema import SECTIONS, Anchored, Budget, Config, Lab4, parse_size, settings_of
from posecast.errors import InputError


def build_config(recipe: str | None = None, file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Config:
    """Recipe, then file, then flags; each may change some settings, by name. Raises InputError.

    >>> build_config("lab4", flags={"batch_size": 4}).training.batch_size
    4
    """
    from_file = dict(read_settings(file)) if file else {}
    name = recipe or from_file.pop("recipe", None) or "anchored"
    from_file.pop("recipe", None)
    if name not in RECIPES:
        raise InputError(f"There is no recipe {name!r}; there are {', '.join(RECIPES)}.")
    config = RECIPES[name]
    for where, settings in ((str(file), from_file), ("the command line", flags or {})):
        config = change(config, settings, where)
    check_whole(config)
    return config


def as_flags(config: Config) -> list[str]:
    """The words of a command line that make this configuration from its recipe: the inverse of `build_config`.

    >>> as_flags(build_config("lab4", flags={"batch_size": 4, "steps": 9}))
    ['--recipe', 'lab4', '--batch-size', '4', '--steps', '9']
    """
    words = ["--recipe", config.recipe]
    start = RECIPES[config.recipe]
    for section in (*SECTIONS, ""):
        now, before = ((getattr(one, section) if section else one) for one in (config, start))
        for name, _, _ in settings_of(type(now)):
            value = getattr(now, name)
            if value is not None and value != getattr(before, name):
                several = value if isinstance(value, tuple) else (value,)
                words += [f"--{name.replace('_', '-')}", *map(str, several)]
    return words


def change(config: Config, settings: Mapping[str, Any], where: str) -> Config:
    """A copy with some settings changed. A budget replaces the budget; unknown names are errors."""
    sections = {name: getattr(config, name) for name in SECTIONS}
    changes: dict[str, dict[str, Any]] = {name: {} for name in ("", *SECTIONS)}
    for name, value in renamed(settings, where).items():
        section = section_of(config, name, where)
        owner = sections[section] if section else config
        changes[section][name] = checked(type(owner), name, value, where)
    budget = {name: value for name, value in changes.pop("budget").items() if value is not None}
    if len(budget) > 1:
        raise InputError(f"{where} gives {' and '.join(budget)}; give one of epochs, steps and minutes.")
    if budget:
        sections["budget"] = Budget(**budget)
    top = changes.pop("")
    for name, values in changes.items():
        sections[name] = dataclasses.replace(sections[name], **values)
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
"""Old names of settings, read until the next release."""
RENAMED_VALUES = {
    "decoder": {"painted": "direct", "copied": "copy"},
    "latent_scope": {"cell": "spatial", "picture": "global"},
}


def renamed(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the settings under their present names, with a warning for each old one. Raises InputError."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        now = RENAMED.get(name, name)
        if now in found or (now != name and now in settings):
            raise InputError(f"{where}: {name!r} is an old name of {now!r}, which is given, too; leave one out.")
        if now != name:
            warnings.warn(f"{where}: {name!r} is now {now!r}; the old name will be gone.", FutureWarning, stacklevel=2)
        values = RENAMED_VALUES.get(now, {})
        found[now] = values.get(value, value) if isinstance(value, str) else value
    return found


def section_of(config: Config, name: str, where: str) -> str:
    """The section a setting belongs to, "" for the configuration itself."""
    owners = {entry: "" for entry, _, _ in settings_of(Config)}
    for section in SECTIONS:
        owners |= {entry: section for entry, _, _ in settings_of(type(getattr(config, section)))}
    if name in owners:
        return owners[name]
    elsewhere = [r for r, other in RECIPES.items() if hasattr(other.networks, name)]
    if elsewhere:
        raise InputError(
            f"{where}: {name!r} belongs to recipe {elsewhere[0]!r}, not to {config.recipe!r}; leave it out."
        )
    close = difflib.get_close_matches(name, owners, 1)
    hint = f"did you mean {close[0]!r}?" if close else "posecast train --help lists all."
    raise InputError(f"{where}: there is no setting {name!r}; {hint}")


def checked(section: type, name: str, value: Any, where: str) -> Any:
    """`value` as the setting's type, within its range. Raises InputError."""
    hint, entry = next((hint, entry) for setting_name, hint, entry in settings_of(section) if setting_name == name)
    if name == "size":
        return "{}x{}".format(*parse_size(value))
    converted = converted_to(hint, value)
    may_be_none = value is None and type(None) in typing.get_args(hint)
    if converted is None and not may_be_none:
        raise InputError(f"{where}: {name} is {value!r}; expected {describe(hint)}.")
    least, most = entry.metadata["ge"], entry.metadata["le"]
    for number in converted if isinstance(converted, tuple) else (converted,):
        if isinstance(number, int | float) and least is not None and not least <= number <= most:
            raise InputError(f"{where}: {name} is {number}; expected a number from {least} to {most}.")
    return converted


def converted_to(hint: Any, value: Any) -> Any:
    """`value` as the type `hint`, or None if it cannot be."""
    options = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return value if value in options else None
    if typing.get_origin(hint) is tuple:
        members = [converted_to(options[0], member) for member in value] if isinstance(value, list | tuple) else []
        return tuple(members) if members and None not in members else None
    if options:  # a union
        return next((found for option in options if (found := converted_to(option, value)) is not None), None)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    return value if hint is str and isinstance(value, str) else None


def describe(hint: Any) -> str:
    """A type in words, for messages."""
    options = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(repr, options))
    if typing.get_origin(hint) is tuple:
        return f"a list, each {describe(options[0])}"
    if options:
        return " or ".join(describe(option) for option in options if option is not type(None))
    return {int: "a whole number", float: "a number", str: "text"}[hint]


def check_whole(config: Config) -> None:
    """Check what several settings decide together. Raises InputError."""
    stride = config.networks.stride
    if any(side % stride for side in parse_size(config.size)):
        raise InputError(
            f"The size is {config.size}, but with these networks both sides must be multiples of {stride}; "
            "change --size, --widths or --patch."
        )
    if config.training.validation_frames == 1:
        raise InputError("validation_frames is 1; expected 0 (all), or at least 2: one is given, one predicted.")
    if isinstance(config.networks, Anchored):
        check_anchored(config.networks)


def check_anchored(networks: Anchored) -> None:
    """Check what several settings of our networks decide together. Raises InputError."""
    if any(width % 8 for width in networks.widths):
        raise InputError(f"The widths are {networks.widths}; each must be a multiple of 8.")
    if networks.prior == "stationary" and networks.latent_channels % 2:
        raise InputError(
            f"latent_channels is {networks.latent_channels}; a stationary prior has them in pairs, so choose an "
            "even number."
        )


def read_settings(file: Path) -> Mapping[str, Any]:
    """The settings of a TOML or YAML file; sections are allowed and flattened. Raises InputError."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".toml":
            content: Any = tomllib.loads(text)
        elif file.suffix in (".yaml", ".yml"):
            import yaml  # only needed for YAML

            try:
                content = yaml.safe_load(text) or {}
            except (yaml.YAMLError, RecursionError) as error:
                raise ValueError(str(error).replace("\n", " ")) from error
        else:
            raise InputError(f"The configuration file is {file}; expected a name in .toml, .yaml or .yml.")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The configuration file {file} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"The configuration file {file} holds no table of settings; expected lines 'name = value'.")
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if name in SECTIONS and isinstance(value, dict):
            flat |= value
        else:
            flat[name] = value
    return flat


def from_dict(content: Mapping[str, Any]) -> Config:
    """The inverse of `to_dict`; every value is checked again. Raises InputError."""
    recipe = content.get("recipe")
    networks = content.get("networks")
    if not isinstance(recipe, str) or not isinstance(networks, dict):
        raise InputError("A configuration must have a recipe and its networks; this one has not.")
    kind = Lab4 if "frame_channels" in networks else Anchored
    flat = {"size": content.get("size"), "seed": content.get("seed")}
    for section in SECTIONS:
        values = content.get(section) or {}
        if not isinstance(values, dict):
            raise InputError(f"config.json: {section} is {str(values)[:40]!r}; expected a table of settings.")
        flat |= values
    config = change(Config(recipe, kind()), flat, "config.json")
    check_whole(config)
    return config
