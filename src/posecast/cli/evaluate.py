"""Judging and using a run: scores, videos, pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from posecast.cli.options import Data, Force, OnDevice, Run, Seed, at_least_one, ready_device
from posecast.errors import InputError


def evaluate(
    run: Run,
    /,
    *,
    data: Data,
    split: Annotated[str, Parameter(help="The split to score on; it needs true frames.")] = "val",
    futures: Annotated[int, Parameter(help="Sampled rollouts of each sequence.")] = 10,
    seed: Seed = 0,
    bound: Annotated[
        bool, Parameter(help="Also bound log p with 16 particles; takes as long as 32 more futures of one sequence.")
    ] = False,
    device: OnDevice = "auto",
) -> None:
    """Score rollouts against the truth: writes RUN/scores.json and RUN/samples, prints the table."""
    from posecast.cli.progress_bars import counting
    from posecast.cli.tables import print_scores

    at_least_one("--futures", futures)
    from posecast.evaluation.evaluate_run import score_run

    with counting("rolling out") as progress:
        scores = score_run(
            run,
            data,
            split=split,
            futures=futures,
            seed=seed,
            bound=bound,
            device=ready_device(device),
            progress=progress,
        )
    print_scores(scores)
    print(f"Written: {run}/scores.json. Next: posecast report {run} --out report.html")


def generate(
    run: Run,
    /,
    *,
    first_frame: Annotated[Path, Parameter(help="A picture of the person, of any size.")],
    poses: Annotated[
        Path,
        Parameter(
            help="What to follow: a folder of pose maps (the first of them the first frame's own), what 'posecast "
            "extract' wrote, or a video of anybody."
        ),
    ],
    out: Annotated[Path, Parameter(help="A .gif, .mp4 or .webp file, or a folder for one PNG a frame.")],
    first_pose: Annotated[
        Path | None,
        Parameter(help="The first frame's pose map; without it, the one beside it in a data set, or estimated."),
    ] = None,
    person: Annotated[int, Parameter(help="Whom to follow in a video: 1 is the largest, 2 the next.")] = 1,
    no_fit: Annotated[
        bool, Parameter(help="Follow another person's keypoints as they are, not fitted to the trained person's body.")
    ] = False,
    audio: Annotated[bool, Parameter(help="Give the MP4 the sound of the video that is followed.")] = False,
    seed: Seed = 0,
    futures: Annotated[int, Parameter(help="How many different videos.")] = 1,
    latent: Annotated[Literal["sample", "mean"], Parameter(help="z sampled from the prior, or its mean.")] = "sample",
    fps: Annotated[
        float | None, Parameter(help="Frames per second of the video; if not given, as what is followed, or 25.")
    ] = None,
    scale: Annotated[int, Parameter(help="Enlarge every pixel of a video to a square of this side.")] = 1,
    device: OnDevice = "auto",
    force: Force = False,
) -> None:
    """Drive the person of one photo through a sequence of poses."""
    from posecast.cli.progress_bars import stages
    from posecast.video.generate import generate as generate_videos

    at_least_one("--futures", futures)
    at_least_one("--scale", scale)
    at_least_one("--person", person)
    with stages() as progress:
        written = generate_videos(
            run,
            first_frame=first_frame,
            poses=poses,
            out=out,
            first_pose=first_pose,
            person=person,
            fitted=not no_fit,
            audio=audio,
            seed=seed,
            futures=futures,
            latent=latent,
            fps=fps,
            scale=scale,
            force=force,
            device=ready_device(device),
            progress=progress,
        )
    print("Written: " + ", ".join(map(str, written)))


def report(
    *runs: Run,
    out: Annotated[Path, Parameter(help="The page to write.")],
    force: Force = False,
) -> None:
    """Show one run, or several beside each other, as one self-contained page."""
    from posecast.reporting.run_report import write_report

    if not runs:
        raise InputError("No run was given; expected one or more run folders.")
    write_report(list(runs), out, force=force)
    print(f"Written: {out}")
