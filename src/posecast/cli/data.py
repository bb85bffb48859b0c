"""Footage: the synthetic dancer written, any data set read and judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from posecast.cli.options import Force, Out
from posecast.config.schema import parse_size
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
    from posecast.cli.progress_bars import counting
    from posecast.data.dancer.dataset import Choreography, write_synthetic

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


def extract(
    *paths: Annotated[Path, Parameter(help="Videos, or folders of videos; then the folder to write.")],
    size: Annotated[str, Parameter(help="Height x width of the pictures.")] = "64x64",
    fps: Annotated[
        float | None, Parameter(help="Frames per second; if not given, the first video's own, at most 30.")
    ] = None,
    crop: Annotated[
        Literal["steady", "follow", "whole"],
        Parameter(help="One window around all the person does; one that goes with them; or the whole frame."),
    ] = "steady",
    val: Annotated[str, Parameter(help="How much to keep for validation, at the end.")] = "15%",
    person: Annotated[int, Parameter(help="Whom to follow: 1 is the largest when first seen, 2 the next.")] = 1,
    start: Annotated[str, Parameter(help="Begin here in each video: seconds, or 1:30.")] = "0",
    end: Annotated[str | None, Parameter(help="End here in each video.")] = None,
    keypoints: Annotated[
        Path | None,
        Parameter(help="Keypoints made elsewhere, of one video: a folder of OpenPose JSON, or a COCO keypoint file."),
    ] = None,
    preview: Annotated[bool, Parameter(help="Also write preview.mp4: footage with the skeleton, pose map.")] = False,
    force: Force = False,
) -> None:
    """Make a data set of your own video: poses found, one person cut out, split into train and val.

    Interrupted, the same command goes on. Finding poses needs the extra: pip install 'posecast[video]'.
    """
    from posecast.cli.progress_bars import stages
    from posecast.cli.tables import print_extracted
    from posecast.video.extract import Extraction
    from posecast.video.extract import extract as extract_videos
    from posecast.video.keypoint_files import Imported

    if len(paths) < 2:
        raise InputError(f"{len(paths)} path(s) given; expected a video, or several, and then the folder to write.")
    *videos, out = paths
    if keypoints is not None and (len(videos) > 1 or videos[0].is_dir()):
        raise InputError("--keypoints are of one video; expected one file and the folder to write.")
    asked = Extraction(fps, parse_size(size), crop, parse_share(val), person, parse_time(start), None, preview)
    if end is not None:
        asked = replace(asked, end_s=parse_time(end))
    imported = Imported(keypoints) if keypoints else None
    with stages() as progress:
        found = extract_videos(videos, out, asked, estimator=imported, force=force, progress=progress)
    print_extracted(out, found)


def parse_share(text: str) -> float:
    """15% or 15 as 0.15."""
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        raise InputError(f"--val is {text!r}; expected a percentage such as 15%.") from None


def parse_time(text: str) -> float:
    """90, 90.5 or 1:30 in seconds."""
    try:
        minutes, _, seconds = text.rpartition(":")
        return 60 * float(minutes or 0) + float(seconds)
    except ValueError:
        raise InputError(f"{text!r} is no time; expected seconds, such as 90, or minutes, such as 1:30.") from None


def check(
    folder: Annotated[Path, Parameter(help="A data set in the course's layout, or a run folder.")],
    /,
) -> None:
    """Read a data set, or a run folder, whole. Errors exit with 2; remarks are listed."""
    if (folder / "config.json").is_file() or (folder / "state").is_dir():
        check_run(folder)
        return
    data = folder
    from posecast.cli.progress_bars import counting
    from posecast.cli.tables import print_check
    from posecast.data.check import check as check_data

    with counting("reading") as progress:
        result = check_data(data, progress=progress)
    if not print_check(result):
        raise InputError(f"{data} cannot be trained on; mend the errors listed above.")


def check_run(run: Path) -> None:
    """Is what a run folder says is there whole, and can it go on?"""
    from posecast.cli.tables import print_inspection
    from posecast.training.check_run import inspect_run

    found = inspect_run(run)
    print_inspection(found)
    if found.errors:
        raise InputError(f"{run} is damaged; see the errors listed above.")
