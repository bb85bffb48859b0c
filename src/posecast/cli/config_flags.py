"""Every setting of every recipe as a flag of the command line, made from the declarations in `schema.py`.

Knows no command. Next: `main.py`.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any

from cyclopts import Group, Parameter

from posecast.config.recipes import RECIPES
from posecast.config.schema import SECTIONS, Config, settings_of


def setting_help(name: str) -> str:
    """The sentence of a setting, its default, and other recipes' defaults where they differ."""
    sentence, defaults = "", {}
    for recipe, config in RECIPES.items():
        for owner in (config, *(getattr(config, section) for section in SECTIONS)):
            found = {entry: field for entry, _, field in settings_of(type(owner))}
            if name in found:
                sentence = found[name].metadata["help"]
                defaults[recipe] = plain(getattr(owner, name))
    alike = {value: [recipe for recipe in defaults if defaults[recipe] == value] for value in defaults.values()}
    everywhere = len(alike) == 1 and len(defaults) == len(RECIPES)
    shown = alike if everywhere else [f"{', '.join(recipes)}: {value}" for value, recipes in alike.items()]
    return f"{sentence} [default: {'; '.join(shown)}]"


def plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def settings_class() -> type:
    """A dataclass with every setting of every recipe, None where the flag was not given."""
    fields: dict[str, Any] = {}
    sections = {type(getattr(config, section)) for config in RECIPES.values() for section in SECTIONS}
    for section in (Config, *sorted(sections, key=lambda kind: kind.__name__)):
        for name, hint, _ in settings_of(section):
            group = Group(section.__name__ if section is not Config else "Run", sort_key=1)
            several = typing.get_origin(hint) is tuple
            parameter = Parameter(
                help=setting_help(name), show_default=False, group=group, consume_multiple=several or None
            )
            fields[name] = (name, Annotated[hint | None, parameter], None)
    namespace = {"__module__": __name__}  # otherwise it would pass for a type of the standard library
    return dataclasses.make_dataclass("Settings", list(fields.values()), frozen=True, kw_only=True, namespace=namespace)


Settings: Any = settings_class()
FlatSettings: Any = Annotated[Settings, Parameter(name="*")]
NO_SETTINGS = Settings()


def given(flags: Any) -> dict[str, Any]:
    """The settings that were given on the command line."""
    return {name: value for name, value in vars(flags).items() if value is not None}
