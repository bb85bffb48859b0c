"""Judging and using a run: scores, videos, pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from posecast.commands.options import Data, Force, OnDevice, Run, Seed, at_least_one
from posecast.errors import InputError


def evaluate(
    run: Run,
    /,
    *,
    data: Data,
    split: Annotated[str, Parameter(help="The split to score on; it needs true frames.")] = "val",
    futures: Annotated[int, Parameter(help="Sampled rollouts of each sequence.")] = 10,
    seed: Seed = 0,
    device: OnDevice = "auto",
) -> None:
    """Score rollouts against the truth: writes RUN/scores.json and RUN/samples, prints the table."""
    from posecast.progress import counting
    from posecast.tables import print_scores

    at_least_one("--futures", futures)
    from posecast.machine import resolve_device
    from posecast.scoring import score_run

    with counting("rolling out") as progress:
        scores = score_run(
            run, data, split=split, futures=futures, seed=seed, device=resolve_device(device), progress=progress
        )
    print_scores(scores)
    print(f"Written: {run}/scores.json. Next: posecast report {run} --out report.html")


def generate(
    run: Run,
    /,
    *,
    first_frame: Annotated[Path, Parameter(help="A picture of the person, resized to the model's size.")],
    poses: Annotated[Path, Parameter(help="A folder of pose maps; the first of them the first frame's own.")],
    out: Annotated[Path, Parameter(help="A .gif, .mp4 or .webp file, or a folder for one PNG a frame.")],
    seed: Seed = 0,
    futures: Annotated[int, Parameter(help="How many different videos.")] = 1,
    latent: Annotated[Literal["sample", "mean"], Parameter(help="z sampled from the prior, or its mean.")] = "sample",
    fps: Annotated[float, Parameter(help="Frames per second of the video.")] = 25.0,
    scale: Annotated[int, Parameter(help="Enlarge every pixel of a video to a square of this side.")] = 1,
    device: OnDevice = "auto",
    force: Force = False,
) -> None:
    """Drive the person of one photo through a sequence of poses."""
    from posecast.generation import generate as generate_videos
    from posecast.machine import resolve_device
    from posecast.progress import counting

    at_least_one("--futures", futures)
    at_least_one("--scale", scale)
    with counting("painting") as progress:
        written = generate_videos(
            run,
            first_frame=first_frame,
            poses=poses,
            out=out,
            seed=seed,
            futures=futures,
            latent=latent,
            fps=fps,
            scale=scale,
            force=force,
            device=resolve_device(device),
            progress=progress,
        )
    print("Written: " + ", ".join(map(str, written)))


def report(
    *runs: Run,
    out: Annotated[Path, Parameter(help="The page to write.")],
    force: Force = False,
) -> None:
    """Show one run, or several beside each other, as one self-contained page."""
    from posecast.report import write_report

    if not runs:
        raise InputError("No run was given; expected one or more run folders.")
    write_report(list(runs), out, force=force)
    print(f"Written: {out}")
