"""The course project: its submission and its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from posecast.commands.options import Data, Force, OnDevice, Out, Run, Seed


def submit(
    run: Run,
    /,
    *,
    data: Data,
    out: Out,
    latent: Annotated[Literal["mean", "sample"], Parameter(help="The prior's mean, or z sampled from it.")] = "mean",
    seed: Seed = 0,
    device: OnDevice = "auto",
    force: Force = False,
) -> None:
    """Predict the test sequences: pred_seq0.gif, ... and submission.csv."""
    from posecast.machine import resolve_device
    from posecast.progress import counting
    from posecast.submission import submit as write_submission

    with counting("predicting") as progress:
        rows = write_submission(
            run, data, out, latent=latent, seed=seed, force=force, device=resolve_device(device), progress=progress
        )
    print(f"Written: {out}/submission.csv, {rows} rows.")


def import_lab4(
    checkpoint: Annotated[Path, Parameter(help="A checkpoint of the course's code (torch.save).")],
    /,
    *,
    out: Out,
    output: Annotated[
        Literal["clamp", "sigmoid", "none"],
        Parameter(help="How its pictures are bounded; a final Sigmoid leaves no trace in the weights."),
    ] = "clamp",
    posterior_sees: Annotated[
        Literal["current", "previous"], Parameter(help="What its posterior was fed.")
    ] = "current",
    size: Annotated[str, Parameter(help="Height x width it was trained at.")] = "32x64",
    force: Force = False,
) -> None:
    """Make a run of a checkpoint written by the course's code; nothing in it is executed."""
    from posecast.lab4_checkpoints import import_lab4 as make_run

    make_run(checkpoint, out, output=output, posterior_sees=posterior_sees, size=size, force=force)
    print(f"{out} is ready: posecast evaluate {out} --data DATA")
