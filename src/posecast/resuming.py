"""What must not change between the beginning of a run and its going on.

In: a configuration and circumstances, then and now. Out: nothing, or an InputError that names the difference.
"""

from __future__ import annotations

from typing import Any

from posecast.config import Config, to_dict
from posecast.data.recordings import Footage
from posecast.errors import InputError


def check_same(config: Config, saved: Config) -> None:
    """Raise InputError unless a resumed run is asked for with the configuration it was begun with."""
    now, before = flattened(to_dict(config)), flattened(to_dict(saved))
    names = sorted(name for name in now | before if now.get(name) != before.get(name))
    different = [f"{name} was {before.get(name)}, now {now.get(name)}" for name in names]
    if different:
        raise InputError(
            f"This run was begun with another configuration ({'; '.join(different[:3])}); "
            "resume it with the same one, or begin a new run."
        )


def flattened(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def check_same_circumstances(facts: dict[str, Any], devices: int, precision: str, footage: Footage) -> None:
    """Raise InputError if data, processes or arithmetic are not what the run was begun with."""
    machine = facts["machine"]
    if machine["processes"] != devices:
        raise InputError(
            f"This run was begun with {machine['processes']} process(es), not {devices}; "
            "resume it with the same --devices."
        )
    if machine["precision"] != precision:
        raise InputError(
            f"This run was begun in {machine['precision']}, not {precision}; leave --precision out to resume it."
        )
    before, now = (source.get("fingerprint") for source in (facts.get("source", {}), footage.facts))
    if before != now:
        raise InputError(
            "The data set has changed since this run was begun (its fingerprint differs); "
            "restore it, or begin a new run with --from."
        )
