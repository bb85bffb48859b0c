"""Demonstration on the synthetic dancer: data set, training, scores, report and puppet within a number of minutes.

In: an output folder, a configuration and the choreography. Out: OUT/data, OUT/run, OUT/report.html, OUT/puppet.html.
Next: `train.py`, whose command `demo` calls this.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import posecast
from posecast.config.schema import Budget, Config, parse_size
from posecast.data.cache import load_footage
from posecast.data.dancer.dataset import Choreography, write_synthetic
from posecast.data.recordings import Footage, Recording
from posecast.errors import counted
from posecast.evaluation.evaluate import EvaluationOptions, evaluate
from posecast.evaluation.evaluate_run import score_run
from posecast.evaluation.scores import Scores
from posecast.export.page import can_export_page, export_page
from posecast.files import claim_folder, write_json
from posecast.model.device import machine_profile, resolve_precision
from posecast.model.predictor import Predictor
from posecast.model.threads import Workers
from posecast.reporting.run_report import write_report
from posecast.training.state import Callback
from posecast.training.train import train
from posecast.video.puppet_footage import puppet_footage

Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Function that shows a progress bar with a label, in whose context a function of (done, total) updates it."""

MARKER = "demo.json"
PUPPET = "puppet.html"
WRITTEN = (MARKER, "data", "run", "report.html", PUPPET)
FUTURES = (10, 5, 3, 2, 1)
"""Numbers of futures to score; the first that the time allows is taken."""
SCORING_SHARE = 0.25
"""Share of the time within which the number of futures is chosen."""
LEAST_TRAINING_SHARE = 0.5
"""Share of the time that training is given even if the scoring of a single future seems to take more than the rest."""
OVERRUN_SHARE = 0.05
"""Largest overrun of the requested time, as a share of it."""
REPORT_SECONDS = 6.0
"""Time for the baselines, the samples and the report."""
PUPPET_SECONDS, PUPPET_SHARE = 15.0, 0.1
"""Time for the puppet, and its largest share of the whole."""
NUM_MEASURED_FRAMES = 33


def demo(
    out: Path,
    config: Config,
    choreography: Choreography,
    *,
    minutes: float,
    notify: Callable[[str], None],
    callback: Callback,
    counting: Counting,
) -> Scores:
    """Write a data set, a run, its report and its puppet into `out`, replacing an earlier demonstration there.

    The puppet is left out where the extra `export` or the built page is missing.

    Args:
        out: Output folder.
        config: Configuration of the run; its budget is not used.
        choreography: Data set to draw.
        minutes: Time for everything.
        notify: Called with a sentence before each step.
        callback: Callback of training.
        counting: Function that shows a progress bar with a label.

    Returns:
        Scores on the validation split.

    Raises:
        InputError: If `out` holds anything else.
    """
    seconds, has_puppet = 60.0 * minutes, can_export_page()
    deadline = time.monotonic() + seconds - (min(PUPPET_SECONDS, PUPPET_SHARE * seconds) if has_puppet else 0.0)
    claim_folder(out, marker=MARKER, ours=WRITTEN, force=True)
    write_json(out / MARKER, {"posecast": posecast.__version__})
    footage = draw_footage(out / "data", parse_size(config.size), choreography, notify, counting)
    recording = footage.validation[0]
    untrained = Predictor(config).eval().requires_grad_(False)
    frame_s = frame_seconds(untrained, recording)
    training_s = training_seconds(deadline - time.monotonic(), frame_s, len(recording))
    notify(f"Training for {training_s / 60:.1f} of {minutes:g} minutes ({out}/run)")
    budget = Budget(minutes=training_s / 60)
    train(dataclasses.replace(config, budget=budget), footage, out / "run", callback=callback)
    frame_s = frame_seconds(untrained, recording)  # the machine may be busier than before, or less busy
    left = deadline + OVERRUN_SHARE * 60.0 * minutes - time.monotonic()
    futures = futures_within(left, frame_s, len(recording))
    remark = "" if futures == FUTURES[0] else f" (not {FUTURES[0]}: this machine is slow)"
    predicted = counted(len(recording) - 1, "frame")
    notify(f"Rolling out {predicted} from one photo: the prior mean, then {counted(futures, 'future')}{remark}")
    with counting("rolling out") as progress:
        options = EvaluationOptions(futures=futures, seed=config.seed)
        scores = score_run(out / "run", out / "data", options, progress=progress)
    write_report([out / "run"], out / "report.html", force=True)
    if has_puppet:
        notify(f"Exporting the puppet ({out / PUPPET})")
        write_puppet(out, parse_size(config.size))
    return scores


def write_puppet(out: Path, size: tuple[int, int]) -> None:
    """Write the page in which the dancer of a demonstration is driven."""
    export_page(out / "run", out / PUPPET, puppet_footage(out / "data", size), name="Dancer")


def draw_footage(
    data: Path,
    size: tuple[int, int],
    choreography: Choreography,
    notify: Callable[[str], None],
    counting: Counting,
) -> Footage:
    """Write the synthetic data set and load it at (height, width)."""
    notify(
        f"Drawing {choreography.sequences} recordings of {choreography.frames} frames, and one for validation ({data})"
    )
    with counting("drawing") as progress:
        ceiling_db = write_synthetic(data, choreography, progress=progress)
    notify(f"Poses do not determine everything: a prediction of the mean can reach at most {ceiling_db:.1f} dB")
    with counting("packing") as progress:
        return load_footage(data, size, progress=progress)


def training_seconds(left: float, frame_s: float, num_frames: int) -> float:
    """Return the time to train for: what scoring leaves of the time, but at least `LEAST_TRAINING_SHARE` of it."""
    futures = futures_within(SCORING_SHARE * left, frame_s, num_frames)
    return max(1.0, LEAST_TRAINING_SHARE * left, left - scoring_seconds(frame_s, num_frames, futures))


def futures_within(seconds: float, frame_s: float, num_frames: int) -> int:
    """Return the largest of `FUTURES` that can be scored within the time, or the smallest if none can."""
    return next((n for n in FUTURES if scoring_seconds(frame_s, num_frames, n) <= seconds), FUTURES[-1])


def scoring_seconds(frame_s: float, num_frames: int, futures: int) -> float:
    """Return the estimated time of scoring a recording and writing the report."""
    return REPORT_SECONDS + frame_s * num_frames * (2 + futures)


def frame_seconds(predictor: Predictor, recording: Recording) -> float:
    """Measure the time of scoring one frame of one rollout, on the first frames of a recording.

    The faster of two measurements counts, since the first one also prepares memory and operators.
    """
    predictor.workers = Workers(machine_profile().shares)
    predictor.in_bfloat16 = resolve_precision("auto", "cpu") == "bf16-mixed"
    num_frames = min(len(recording), NUM_MEASURED_FRAMES)
    beginning = Recording(recording.name, recording.frames[:num_frames], recording.poses[:num_frames])
    durations = []
    for _ in range(2):
        start = time.monotonic()
        evaluate(predictor, [beginning], futures=2)
        durations.append(time.monotonic() - start)
    predictor.workers.close()
    return min(durations) / (num_frames * 4)
