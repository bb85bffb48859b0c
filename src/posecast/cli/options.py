"""Options that several commands share, and how a command speaks besides its results."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from posecast.errors import InputError

Device = Literal["auto", "cpu", "cuda", "mps"]
Out = Annotated[Path, Parameter(help="Where to write; never over something else without --force.")]
Data = Annotated[Path, Parameter(help="A data set in the course's layout (train, val and test folders).")]
Run = Annotated[Path, Parameter(help="A run folder, as 'posecast train' makes it.")]
Seed = Annotated[int, Parameter(help="Seed of the noise; the same seed gives the same bytes.")]
Force = Annotated[bool, Parameter(help="Replace what posecast wrote there before.")]
OnDevice = Annotated[Device, Parameter(help="Where to compute; auto takes a GPU if there is one.")]

Volume = Literal["quiet", "normal", "verbose"]
SPEECH = {
    "quiet": Annotated[bool, Parameter(help="Say nothing on stderr but errors.")],
    "verbose": Annotated[bool, Parameter(help="Say more on stderr: how this machine is used, and where errors arise.")],
}
_volume: Volume = "normal"


def set_volume(volume: Volume) -> None:
    """Set how much is said on stderr from now on."""
    global _volume
    _volume = volume


def is_quiet() -> bool:
    return _volume == "quiet"


def is_verbose() -> bool:
    return _volume == "verbose"


def speaking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with the options --quiet and --verbose."""

    @functools.wraps(command)
    def spoken(*given: Any, quiet: bool = False, verbose: bool = False, **named: Any) -> Any:
        if quiet and verbose:
            raise InputError("--quiet and --verbose were both given; expected one of them.")
        if quiet or verbose:
            set_volume("quiet" if quiet else "verbose")
        return command(*given, **named)

    signature = inspect.signature(command)
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in SPEECH.items()
    ]
    spoken.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *extra])  # pyright: ignore
    spoken.__annotations__ = {**command.__annotations__, **SPEECH}
    return spoken


def ready_device(device: str) -> str:
    """Return the device to compute on; a CPU is measured first where that was not done before. Raises InputError."""
    import torch

    from posecast.model.device import machine_profile, resolve_device

    resolved = resolve_device(device)
    if resolved == "cpu":
        profile = machine_profile(note)
        detail(profile.sentence())
        torch.set_num_threads(profile.operator_threads)
    return resolved


def at_least_one(flag: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{flag} is {value}; expected a number from 1.")


def note(text: str) -> None:
    """A line on stderr, unless --quiet: what is being done."""
    if not is_quiet():
        complain(text)


def detail(text: str) -> None:
    """A line on stderr with --verbose."""
    if is_verbose():
        complain(text)


def complain(text: str) -> None:
    """A line on stderr, whatever was asked for: what went wrong."""
    print(text, file=sys.stderr, flush=True)
