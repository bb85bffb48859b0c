"""Commands for data sets: draw the synthetic dancer, extract a video, check a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from posecast.cli.options import Force, Out, print_result
from posecast.config.schema import parse_size
from posecast.errors import InputError, counted


def synth(
    out: Out,
    /,
    *,
    sequences: Annotated[int, Parameter(help="Number of training recordings.")] = 3,
    frames: Annotated[int, Parameter(help="Frames in each recording.")] = 630,
    size: Annotated[str, Parameter(help="Height x width of the images.")] = "32x64",
    seed: Annotated[int, Parameter(help="Seed of the choreography.")] = 0,
    look: Annotated[int, Parameter(help="Index of the dancer's look and background.")] = 0,
    looks: Annotated[
        int,
        Parameter(
            help="Number of dancers that take turns, from --look on; if more than 1, val shows another, unseen one."
        ),
    ] = 1,
    hidden: Annotated[float, Parameter(help="Strength of what poses do not determine; 0: nothing.")] = 1.0,
    force: Force = False,
) -> None:
    """Write the synthetic dancer in the course's layout: training recordings, one for val, one test sequence."""
    from posecast.cli.progress_bars import counting
    from posecast.data.dancer.dataset import Choreography, write_synthetic

    if sequences < 1 or sequences > 100_000:
        raise InputError(f"--sequences is {sequences}; expected a number from 1 to 100000.")
    if looks < 1 or looks > sequences:
        raise InputError(
            f"--looks is {looks}; expected a number from 1 to --sequences, {sequences}: each look needs a recording."
        )
    choreography = Choreography(sequences, frames, parse_size(size), seed, look, hidden, looks)
    with counting("writing") as progress:
        ceiling_db = write_synthetic(out, choreography, force=force, progress=progress)
    print_result(f"{out}: {counted(sequences, 'training recording')}, val and test, {frames} frames each, {size}.")
    if looks > 1:
        print(f"The training recordings show {looks} dancers, val another one.")
    print(f"Poses do not determine everything: a prediction of the mean can reach at most {ceiling_db:.1f} dB on val.")


def extract(
    *paths: Annotated[Path, Parameter(help="Videos, or folders of videos; then the folder to write.", json_list=False)],
    size: Annotated[str, Parameter(help="Height x width of the images.")] = "64x64",
    fps: Annotated[
        float | None, Parameter(help="Frames per second; if not given, those of the first video, at most 30.")
    ] = None,
    crop: Annotated[
        Literal["steady", "follow", "whole"],
        Parameter(help="One window around all positions of the person; one that follows them; or the whole frame."),
    ] = "steady",
    val: Annotated[str, Parameter(help="Share of the footage, at its end, to keep for validation.")] = "15%",
    person: Annotated[int, Parameter(help="Person to follow: 1 is the largest at the start, 2 the next.")] = 1,
    start: Annotated[str, Parameter(help="Start in each video: seconds, or 1:30.")] = "0",
    end: Annotated[str | None, Parameter(help="End in each video.")] = None,
    keypoints: Annotated[
        Path | None,
        Parameter(
            help="Existing keypoints of one video, such as OpenPose's folder, YOLO's labels or a COCO keypoint file."
        ),
    ] = None,
    preview: Annotated[
        bool, Parameter(help="Also write preview.mp4: the footage with the skeleton, and the pose map.")
    ] = False,
    force: Force = False,
) -> None:
    """Make a data set of your own video: find poses, crop one person, split into train and val.

    After an interruption the same command continues. Finding poses needs: pip install 'posecast[video]'.
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
    end_s = None if end is None else parse_time(end)
    request = Extraction(fps, parse_size(size), crop, parse_share(val), person, parse_time(start), end_s, preview)
    estimator = Imported(keypoints, videos[0]) if keypoints else None
    with stages() as progress:
        extracted = extract_videos(videos, out, request, estimator=estimator, force=force, progress=progress)
    print_extracted(out, extracted)


def parse_share(text: str) -> float:
    """Return a percentage, "15%" or "15", as a share."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        raise InputError(f"--val is {text!r}; expected a percentage such as 15%.") from None
    if 0 < percent < 1 and not text.endswith("%"):
        raise InputError(f"--val is {text}, but is in percent; for that share of the footage write {100 * percent:g}%.")
    return percent / 100


def parse_time(text: str) -> float:
    """Return a time, such as "90", "90.5", "1:30" or "1:02:30", in seconds."""
    try:
        time_s = 0.0
        for part in text.split(":"):
            time_s = 60 * time_s + float(part)
    except ValueError:
        raise InputError(f"{text!r} is not a time; expected seconds, such as 90, or minutes, such as 1:30.") from None
    return time_s


def check(
    folder: Annotated[Path, Parameter(help="Data set in the course's layout, or run folder.")],
    /,
) -> None:
    """Read every file of a data set or a run folder; list errors (exit status 2) and remarks (exit status 0)."""
    if (folder / "config.json").is_file() or (folder / "state").is_dir():
        check_run(folder)
    else:
        check_data_set(folder)


def check_data_set(data: Path) -> None:
    """Print what a data set holds; raise InputError if it cannot be trained on."""
    from posecast.cli.progress_bars import counting
    from posecast.cli.tables import print_check
    from posecast.data.check import check as read_data

    with counting("reading") as progress:
        result = read_data(data, progress=progress)
    print_check(result)
    if result.errors:
        raise InputError(f"{data} cannot be trained on; correct the errors listed above.")


def check_run(run: Path) -> None:
    """Print what a run folder holds; raise InputError if it is damaged."""
    from posecast.cli.tables import print_inspection
    from posecast.training.check_run import inspect_run

    inspection = inspect_run(run)
    print_inspection(inspection)
    if inspection.errors:
        raise InputError(f"{run} is damaged; see the errors listed above.")
