"""Settings files in TOML and YAML.

In: a file. Out: plain values by the name of the setting; a name that is given twice is an error.
Next: `overrides.py`, which checks the values.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from posecast.config.schema import SECTIONS
from posecast.errors import InputError, shown
from posecast.files import read_bytes

MAX_ALIASES = 16
"""Largest number of aliases (*name) in YAML; this many can repeat a value at most some hundred times."""


def read_settings(file: Path) -> Mapping[str, Any]:
    """Read the settings of a TOML or YAML file; tables named like sections are flattened.

    Raises:
        InputError: The file cannot be read, holds no table of settings, or gives a setting twice.
    """
    import yaml  # only needed for a settings file

    ending = file.suffix.lower()
    if ending not in (".toml", ".yaml", ".yml"):
        raise InputError(f"The configuration file is {file}; expected a name in .toml, .yaml or .yml.")
    try:
        text = read_bytes(file).decode("utf-8-sig")  # some editors begin a file with a byte order mark
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        content = tomllib.loads(text) if ending == ".toml" else _read_yaml(text) or {}
    except InputError:
        raise
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")
        raise InputError(f"The configuration file {file} cannot be read: {reason}.") from error
    if not isinstance(content, dict):
        raise InputError(f"The configuration file {file} holds no table of settings; expected lines 'name = value'.")
    flat: dict[str, Any] = {}
    for name, value in content.items():
        settings = value if name in SECTIONS and isinstance(value, dict) else {name: value}
        if twice := flat.keys() & settings.keys():
            raise InputError(f"The configuration file {file} gives {shown(min(twice, key=str))} twice; leave one out.")
        if other := [key for key in settings if not isinstance(key, str)]:
            raise InputError(f"The configuration file {file} names a setting {shown(other[0])}; expected text.")
        flat |= settings
    return flat


def _read_yaml(text: str) -> Any:
    """Read YAML with the numbers of YAML 1.2, where 1e-3 is one, and without repeated keys, which YAML forbids."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Loader of plain values."""

        num_aliases = 0

        # Of YAML 1.1, neither 1:30 (90) nor 010 (8) nor 1_000 is read as a number, since none is written to be one.
        yaml_implicit_resolvers: ClassVar = {
            letter: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":float"))]
            for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            """Compose a node; raise YAMLError for many aliases, which can multiply a kilobyte to gigabytes."""
            if self.check_event(yaml.AliasEvent):
                self.num_aliases += 1
                if self.num_aliases > MAX_ALIASES:
                    raise yaml.YAMLError(f"it has more than {MAX_ALIASES} aliases")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            """Construct a mapping; raise ConstructorError if a key is repeated."""
            names = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in names:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value[:80]} is given twice", key.start_mark
                    )
                names.add(key.value)
            return super().construct_mapping(node, deep)

        def construct_number(self, node: yaml.ScalarNode) -> int | float:
            """Construct a decimal number."""
            value = str(self.construct_scalar(node))
            return int(value) if re.fullmatch("[-+]?[0-9]+", value) else float(value)

    number = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
    Loader.add_implicit_resolver("number", number, list("-+.0123456789"))
    Loader.add_constructor("number", Loader.construct_number)
    return Loader(text).get_single_data()
