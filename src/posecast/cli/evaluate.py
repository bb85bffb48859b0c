"""Commands that use a trained run: scores, videos and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from posecast.cli.options import (
    ByEngine,
    Data,
    Force,
    OnDevice,
    Run,
    Seed,
    check_at_least_one,
    prepare_device,
    print_note,
    print_result,
)
from posecast.errors import InputError
from posecast.video.generate_request import GenerateRequest


def evaluate(
    run: Run,
    /,
    *,
    data: Data,
    split: Annotated[str, Parameter(help="Split to score on; it needs true frames.")] = "val",
    futures: Annotated[int, Parameter(help="Sampled rollouts of each sequence.")] = 10,
    seed: Seed = 0,
    bound: Annotated[
        bool,
        Parameter(help="Also bound log p with 16 particles; takes as long as 32 to 48 more futures of one sequence."),
    ] = False,
    device: OnDevice = "auto",
    engine: ByEngine = "auto",
) -> None:
    """Score rollouts against the truth: write RUN/scores.json and RUN/samples, and print the table."""
    from posecast.cli.progress_bars import counting
    from posecast.cli.tables import print_scores

    check_at_least_one("--futures", futures)
    from posecast.evaluation.evaluate import EvaluationOptions
    from posecast.evaluation.evaluate_run import score_run

    options = EvaluationOptions(split=split, futures=futures, seed=seed, bound=bound)
    with counting("rolling out") as progress:
        scores = score_run(
            run, data, options, device=prepare_device(device), engine=engine, progress=progress, tell=print_note
        )
    print_scores(scores)
    print_result(f"Written: {run}/scores.json. Next: posecast report {run} --out report.html")


def generate(
    run: Run,
    /,
    *,
    request: Annotated[GenerateRequest, Parameter(name="*")],
    device: OnDevice = "auto",
    engine: ByEngine = "auto",
) -> None:
    """Make the person of one photo follow a sequence of poses."""
    check_at_least_one("--futures", request.futures)
    check_at_least_one("--scale", request.scale)
    check_at_least_one("--person", request.person)
    from posecast.cli.progress_bars import stages
    from posecast.video.generate import generate as write_videos

    with stages() as progress:
        written = write_videos(
            run, request, device=prepare_device(device), engine=engine, progress=progress, tell=print_note
        )
    print_result("Written: " + ", ".join(map(str, written)))


def report(
    *runs: Annotated[Run, Parameter(json_list=False)],
    out: Annotated[Path, Parameter(help="HTML file to write.")],
    force: Force = False,
) -> None:
    """Show one run, or several beside each other, as one self-contained page."""
    from posecast.reporting.run_report import write_report

    if not runs:
        raise InputError("No run was given; expected one or more run folders.")
    write_report(list(runs), out, force=force)
    print_result(f"Written: {out}")
