"""Commands for the course project: its submission, its score and its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from posecast.cli.options import (
    ByEngine,
    Force,
    OnDevice,
    Out,
    Run,
    check_at_least_one,
    prepare_device,
    print_note,
    print_result,
)
from posecast.config.schema import Lab4, parse_size
from posecast.course.submit_request import SubmitRequest
from posecast.errors import InputError

BATCHNORM_NOTES = {
    "batch": "BatchNorm uses the statistics of each frame, as the course's code does.",
    "measured": "BatchNorm uses statistics that were measured on the training pose maps.",
    "running": "BatchNorm uses the checkpoint's running statistics, which lag behind its weights and can cost "
    "decibels. Give --data DATA to measure them, or --batchnorm batch for the course's own arithmetic.",
}


def submit(
    run: Run,
    /,
    *,
    request: Annotated[SubmitRequest, Parameter(name="*")],
    device: OnDevice = "auto",
    engine: ByEngine = "auto",
) -> None:
    """Predict the test sequences into pred_seq0.gif, ... and submission.csv."""
    check_at_least_one("--threads", request.threads)
    from posecast.cli.progress_bars import counting
    from posecast.course.submission import submit as write_submission

    with counting("predicting") as progress:
        rows = write_submission(
            run, request, device=prepare_device(device), engine=engine, progress=progress, notify=print_note
        )
    print_result(f"Written: {request.out}/submission.csv, {rows} rows.")


def score(
    submission: Annotated[Path, Parameter(help="A submission.csv.")],
    /,
    *,
    truth: Annotated[
        Path,
        Parameter(
            help="All true frames: a folder with folders 0, 1, ... of numbered PNGs, a data set with them in "
            "test/test_img, or the folder of PNGs of a single sequence."
        ),
    ],
    parts: Annotated[
        Path | None, Parameter(help="The board's split, a CSV with columns id and Usage (Public, Private, Ignored).")
    ] = None,
    size: Annotated[str, Parameter(help="Height x width of the submitted images.")] = "32x64",
) -> None:
    """Score a submission as the course's board does: PSNR of frames 1 to 600 of each sequence."""
    from posecast.cli.progress_bars import counting
    from posecast.cli.tables import print_grade
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
        Parameter(help="How its output is bounded; a final Sigmoid leaves no trace in the weights."),
    ] = "clamp",
    posterior_sees: Annotated[
        Literal["current", "previous"], Parameter(help="Frame that its posterior was fed.")
    ] = "current",
    batchnorm: Annotated[
        Literal["running", "batch"],
        Parameter(
            help="Statistics of its BatchNorm: the running ones, or those of each frame as in the course's code."
        ),
    ] = "running",
    data: Annotated[
        Path | None,
        Parameter(help="Data set whose training pose maps the running statistics are measured on."),
    ] = None,
    size: Annotated[str, Parameter(help="Height x width of the images it was trained on.")] = "32x64",
    force: Force = False,
) -> None:
    """Convert a checkpoint of the course's code into a run; no code in it is executed."""
    from posecast.data.cache import load_recordings
    from posecast.model.lab4_checkpoint import import_lab4 as write_run

    if data and batchnorm == "batch":
        raise InputError(
            "--data and --batchnorm batch are given; expected one: --data measures the running statistics, which "
            "--batchnorm batch does not use."
        )
    recordings = load_recordings(data, "train", parse_size(size)) if data else ()
    write_run(
        checkpoint,
        out,
        output=output,
        posterior_sees=posterior_sees,
        batchnorm=batchnorm,
        size=size,
        recordings=recordings,
        force=force,
    )
    print_note(BATCHNORM_NOTES["batch" if batchnorm == "batch" else "measured" if data else "running"])
    print_result(f"{out} is ready: posecast evaluate {out} --data DATA")


def export_lab4(
    run: Run,
    /,
    *,
    out: Annotated[Path, Parameter(help="Checkpoint to write, such as epoch=69.ckpt.")],
    epoch: Annotated[
        int | None,
        Parameter(help="Epoch whose weights to export, of those kept by --checkpoint-every; if not given, the best."),
    ] = None,
    force: Force = False,
) -> None:
    """Write a run of the course's networks as a checkpoint that the course's own Tester loads."""
    from posecast.model.lab4_checkpoint import export_lab4 as write_checkpoint

    check_at_least_one("--epoch", epoch)
    networks = write_checkpoint(run, out, epoch=epoch, force=force).networks
    print_result(f"Written: {out}")
    if isinstance(networks, Lab4) and networks.output != "none":
        end = "nn.Sigmoid()" if networks.output == "sigmoid" else "a clamp to 0 and 1"
        print_note(
            f"The course's Generator must end in {end}, as this run's does; that leaves no trace in the weights. "
            "Our log variance is bounded by a tanh, which does not matter for rollouts."
        )
