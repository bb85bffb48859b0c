"""The course project: its submission and its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from posecast.cli.options import Data, Force, OnDevice, Out, Run, Seed, at_least_one, note, ready_device
from posecast.config.schema import Lab4


def submit(
    run: Run,
    /,
    *,
    data: Data,
    out: Out,
    latent: Annotated[Literal["mean", "sample"], Parameter(help="The prior's mean, or z sampled from it.")] = "mean",
    seed: Seed = 0,
    strict: Annotated[
        bool, Parameter(help="Refuse all but the course's form: 5 sequences, 630 poses each, pictures of 32x64.")
    ] = False,
    strips: Annotated[
        bool, Parameter(help="Beside each GIF a picture of ten instants, pose and prediction: pred_seq0.png, ...")
    ] = False,
    threads: Annotated[int | None, Parameter(help="Threads that decode the pictures; default: one a core.")] = None,
    device: OnDevice = "auto",
    force: Force = False,
) -> None:
    """Predict the test sequences: pred_seq0.gif, ... and submission.csv."""
    from posecast.cli.progress_bars import counting
    from posecast.course.submission import submit as write_submission

    at_least_one("--threads", 1 if threads is None else threads)
    with counting("predicting") as progress:
        rows = write_submission(
            run,
            data,
            out,
            latent=latent,
            seed=seed,
            strict=strict,
            strips=strips,
            threads=threads,
            force=force,
            device=ready_device(device),
            progress=progress,
            say=note,
        )
    print(f"Written: {out}/submission.csv, {rows} rows.")


def score(
    submission: Annotated[Path, Parameter(help="A submission.csv.")],
    /,
    *,
    truth: Annotated[
        Path,
        Parameter(
            help="All true frames: a folder with folders 0, 1, ... of numbered PNGs, a data set with them in "
            "test/test_img, or one sequence's folder of PNGs."
        ),
    ],
    parts: Annotated[
        Path | None, Parameter(help="The board's split, a CSV with columns id and Usage (Public, Private, Ignored).")
    ] = None,
    size: Annotated[str, Parameter(help="Height x width of the submitted pictures.")] = "32x64",
) -> None:
    """Score a submission as the course's board does: PSNR of frames 1 to 600 of each sequence."""
    from posecast.cli.progress_bars import counting
    from posecast.cli.tables import print_grade
    from posecast.config.schema import parse_size
    from posecast.course.kaggle_score import grade

    with counting("scoring") as progress:
        graded = grade(submission, truth, size=parse_size(size), parts=parts, progress=progress)
    print_grade(graded)


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
    from posecast.model.lab4_checkpoint import import_lab4 as make_run

    make_run(checkpoint, out, output=output, posterior_sees=posterior_sees, size=size, force=force)
    print(f"{out} is ready: posecast evaluate {out} --data DATA")


def export_lab4(
    run: Run,
    /,
    *,
    out: Annotated[Path, Parameter(help="The checkpoint to write, such as epoch=69.ckpt.")],
    epoch: Annotated[
        int | None, Parameter(help="Of the weights kept by --checkpoint-every, those after this epoch.")
    ] = None,
    force: Force = False,
) -> None:
    """Write a run of the course's networks as a checkpoint that the course's own Tester loads.

    Takes the best weights, unless --epoch names kept ones.
    """
    from posecast.model.lab4_checkpoint import export_lab4 as write_checkpoint

    if epoch is not None:
        at_least_one("--epoch", epoch)
    networks = write_checkpoint(run, out, epoch=epoch, force=force).networks
    print(f"Written: {out}")
    if isinstance(networks, Lab4) and networks.output != "none":
        end = "nn.Sigmoid()" if networks.output == "sigmoid" else "a clamp to 0 and 1"
        note(
            f"The course's Generator must end in {end}, as this run's does; that leaves no trace in the weights. "
            "Our log variance is bounded by a tanh, which does not matter for rollouts."
        )
