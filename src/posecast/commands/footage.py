"""Footage: the synthetic dancer written, any data set read and judged."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from posecast.commands.options import Data, Force, Out
from posecast.config import parse_size
from posecast.errors import InputError


def synth(
    out: Out,
    /,
    *,
    sequences: Annotated[int, Parameter(help="Training recordings.")] = 3,
    frames: Annotated[int, Parameter(help="Frames in each recording.")] = 630,
    size: Annotated[str, Parameter(help="Height x width of the pictures.")] = "32x64",
    seed: Annotated[int, Parameter(help="Seed of the choreography.")] = 0,
    look: Annotated[int, Parameter(help="Which dancer, in which room.")] = 0,
    looks: Annotated[
        int,
        Parameter(help="How many dancers take turns, from --look on; if more than 1, val shows one more, never seen."),
    ] = 1,
    hidden: Annotated[float, Parameter(help="How strong what poses do not tell is; 0: nothing.")] = 1.0,
    force: Force = False,
) -> None:
    """Write the synthetic dancer in the course's layout: training recordings, one for val, one test sequence."""
    from posecast.data.synthetic import Choreography, write_synthetic
    from posecast.progress import counting

    if sequences < 1 or sequences > 100_000:
        raise InputError(f"--sequences is {sequences}; expected a number from 1 to 100000.")
    if looks < 1 or looks > sequences:
        raise InputError(f"--looks is {looks}; expected a number from 1 to --sequences, {sequences}: a look needs one.")
    choreography = Choreography(sequences, frames, parse_size(size), seed, look, hidden, looks)
    with counting("writing") as progress:
        ceiling = write_synthetic(out, choreography, force=force, progress=progress)
    print(f"{out}: {sequences} training recordings, val and test, {frames} frames each, {size}.")
    if looks > 1:
        print(f"The training recordings show {looks} dancers, val another.")
    print(f"A prediction of the mean over what poses do not tell could at most reach {ceiling:.1f} dB on val.")


def check(data: Data, /) -> None:
    """Read a data set whole. Errors (it cannot be trained on) exit with 2; remarks are listed."""
    from posecast.data.checking import check as check_data
    from posecast.progress import counting
    from posecast.tables import print_check

    with counting("reading") as progress:
        result = check_data(data, progress=progress)
    if not print_check(result):
        raise InputError(f"{data} cannot be trained on; mend the errors listed above.")
