"""Options that several commands share, and how a command speaks besides its results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from posecast.errors import InputError

Device = Literal["auto", "cpu", "cuda", "mps"]
Out = Annotated[Path, Parameter(help="Where to write; never over something else without --force.")]
Data = Annotated[Path, Parameter(help="A data set in the course's layout (train, val and test folders).")]
Run = Annotated[Path, Parameter(help="A run folder, as 'posecast train' makes it.")]
Seed = Annotated[int, Parameter(help="Seed of the noise; the same seed gives the same bytes.")]
Force = Annotated[bool, Parameter(help="Replace what posecast wrote there before.")]
OnDevice = Annotated[Device, Parameter(help="Where to compute; auto takes a GPU if there is one.")]


def at_least_one(flag: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{flag} is {value}; expected a number from 1.")


def note(text: str) -> None:
    """A line on stderr: what is being done."""
    print(text, file=sys.stderr, flush=True)
