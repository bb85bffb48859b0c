"""Command-line flags for every setting of every recipe, generated from the declarations in `config/schema.py`.

Out: `FlatSettings`, the annotation of a command's parameter. Next: `train.py`, which uses it.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any

from cyclopts import Group, Parameter

from posecast.config.recipes import RECIPES
from posecast.config.schema import SECTIONS, Config, settings_of


def setting_help(name: str) -> str:
    """Return a setting's sentence followed by its defaults, by recipe where they differ."""
    sentence, defaults = "", {}
    for recipe, config in RECIPES.items():
        for owner in (config, *(getattr(config, section) for section in SECTIONS)):
            fields = {entry: field for entry, _, field in settings_of(type(owner))}
            if name in fields:
                sentence = fields[name].metadata["help"]
                defaults[recipe] = format_value(getattr(owner, name))
    recipes_of = {value: [recipe for recipe in defaults if defaults[recipe] == value] for value in defaults.values()}
    is_uniform = len(recipes_of) == 1 and len(defaults) == len(RECIPES)
    parts = recipes_of if is_uniform else [f"{', '.join(recipes)}: {value}" for value, recipes in recipes_of.items()]
    return f"{sentence} [default: {'; '.join(parts)}]"


def format_value(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def build_settings_class() -> type:
    """Build a dataclass with a field for every setting of every recipe; None means that the flag was not given."""
    fields: dict[str, Any] = {}
    sections = {type(getattr(config, section)) for config in RECIPES.values() for section in SECTIONS}
    for section in (Config, *sorted(sections, key=lambda section: section.__name__)):
        for name, hint, _ in settings_of(section):
            group = Group(section.__name__ if section is not Config else "Run", sort_key=1)
            is_tuple = typing.get_origin(hint) is tuple
            parameter = Parameter(
                help=setting_help(name), show_default=False, group=group, consume_multiple=is_tuple or None
            )
            fields[name] = (name, Annotated[hint | None, parameter], None)
    namespace = {"__module__": __name__}  # by default it would be `types`, a module of the standard library
    return dataclasses.make_dataclass("Settings", list(fields.values()), frozen=True, kw_only=True, namespace=namespace)


Settings: Any = build_settings_class()
FlatSettings: Any = Annotated[Settings, Parameter(name="*")]
NO_SETTINGS = Settings()


def given_settings(flags: Any) -> dict[str, Any]:
    """Return the settings that were given on the command line, by name."""
    return {name: value for name, value in vars(flags).items() if value is not None}
