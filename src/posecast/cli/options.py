"""Options that several commands share, and messages to the user.

Results are printed on stdout, everything else on stderr. Next: `main.py`, which registers the commands.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from posecast.errors import InputError, printable

Device = Literal["auto", "cpu", "cuda", "mps"]
Out = Annotated[Path, Parameter(help="Output folder. Files that posecast did not write are never overwritten.")]
Data = Annotated[Path, Parameter(help="Data set in the course's layout: folders train, val and test.")]
Run = Annotated[Path, Parameter(help="Run folder, as written by 'posecast train'.")]
Seed = Annotated[int, Parameter(help="Seed of the noise; the same seed gives the same bytes.")]
Force = Annotated[bool, Parameter(help="Replace what posecast wrote there before.")]
ByEngine = Annotated[
    Literal["auto", "torch", "onnx"],
    Parameter(
        help="What computes rollouts on a CPU: torch; onnx, which is faster and needs posecast[export]; or auto for "
        "onnx if the run was exported on this machine."
    ),
]
OnDevice = Annotated[Device, Parameter(help="Device to compute on; auto takes a GPU if there is one.")]

Verbosity = Literal["quiet", "normal", "verbose"]
VERBOSITY_OPTIONS = {
    "quiet": Annotated[bool, Parameter(help="Print only errors on stderr.")],
    "verbose": Annotated[
        bool, Parameter(help="Print more on stderr: how this machine is used, and the traceback of an error.")
    ],
}
_verbosity: Verbosity = "normal"


def set_verbosity(verbosity: Verbosity) -> None:
    """Set how much is printed on stderr, for the whole process."""
    global _verbosity
    _verbosity = verbosity


def is_quiet() -> bool:
    return _verbosity == "quiet"


def is_verbose() -> bool:
    return _verbosity == "verbose"


def with_verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with the additional options --quiet and --verbose.

    Raises:
        InputError: By the returned command, if both options are given.
    """

    @functools.wraps(command)
    def wrapper(*arguments: Any, quiet: bool = False, verbose: bool = False, **options: Any) -> Any:
        if quiet and verbose:
            raise InputError("--quiet and --verbose were both given; expected one of them.")
        if quiet or verbose:
            set_verbosity("quiet" if quiet else "verbose")
        return command(*arguments, **options)

    signature = inspect.signature(command)
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in VERBOSITY_OPTIONS.items()
    ]
    parameters = [*signature.parameters.values(), *extra]
    wrapper.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    wrapper.__annotations__ = {**command.__annotations__, **VERBOSITY_OPTIONS}
    return wrapper


def prepare_device(device: str) -> str:
    """Return the device to compute on, and set the number of threads if it is the CPU.

    A CPU is measured first if no earlier measurement is stored.

    Raises:
        InputError: If this machine does not have the device.
    """
    import torch

    from posecast.model.device import machine_profile, resolve_device

    resolved = resolve_device(device)
    if resolved == "cpu":
        profile = machine_profile(print_note)
        print_detail(profile.sentence())
        torch.set_num_threads(profile.operator_threads)
    return resolved


def check_at_least_one(flag: str, value: int | None) -> None:
    """Raise InputError if the value of a flag is below 1; None stands for a flag that was not given."""
    if value is not None and value < 1:
        raise InputError(f"{flag} is {value}; expected a number from 1.")


def print_result(sentence: str) -> None:
    """Print a sentence on stdout; what cannot be printed in the names of files is replaced."""
    print(printable(sentence))


def print_note(text: str) -> None:
    """Print a progress message on stderr, unless --quiet was given."""
    if not is_quiet():
        print_error(text)


def print_detail(text: str) -> None:
    """Print a message on stderr if --verbose was given."""
    if is_verbose():
        print_error(text)


def print_error(text: str) -> None:
    """Print a message on stderr at every verbosity; what cannot be printed in it is replaced, except line breaks."""
    print("\n".join(printable(line) for line in text.split("\n")), file=sys.stderr, flush=True)
