"""Demonstration on the synthetic dancer: data set, training, scores and report within a number of minutes.

In: an output folder, a configuration and the choreography. Out: OUT/data, OUT/run, OUT/report.html.
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
from posecast.evaluation.evaluate import EvaluationOptions, evaluate
from posecast.evaluation.evaluate_run import score_run
from posecast.evaluation.scores import Scores
from posecast.files import claim_folder, write_json
from posecast.model.device import machine_profile, resolve_precision
from posecast.model.predictor import Predictor
from posecast.model.threads import Workers
from posecast.reporting.run_report import write_report
from posecast.training.state import Callback
from posecast.training.train import train

Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Function that shows a progress bar with a label, in whose context a function of (done, total) updates it."""

MARKER = "demo.json"
WRITTEN = (MARKER, "data", "run", "report.html")
FUTURES = (10, 5, 3, 2)
"""Numbers of futures to score; the first that the time allows is taken."""
SCORING_SHARE = 0.25
"""Largest share of the time that scoring may take."""
OVERRUN_SHARE = 0.05
"""Largest overrun of the requested time, as a share of it."""
REPORT_SECONDS = 6.0
"""Time for the baselines, the samples and the report."""
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
    """Write a data set, a run and its report into `out`, replacing an earlier demonstration there.

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
    deadline = time.monotonic() + 60.0 * minutes
    claim_folder(out, marker=MARKER, ours=WRITTEN, force=True)
    write_json(out / MARKER, {"posecast": posecast.__version__})
    footage = draw_footage(out / "data", parse_size(config.size), choreography, notify, counting)
    recording = footage.validation[0]
    untrained = Predictor(config).eval().requires_grad_(False)
    left = deadline - time.monotonic()
    futures = futures_within(SCORING_SHARE * left, untrained, recording)
    training_s = max(1.0, left - scoring_seconds(untrained, recording, futures))
    notify(f"Training for {training_s / 60:.1f} of {minutes:g} minutes ({out}/run)")
    budget = Budget(minutes=training_s / 60)
    train(dataclasses.replace(config, budget=budget), footage, out / "run", callback=callback)
    left = deadline + OVERRUN_SHARE * 60.0 * minutes - time.monotonic()
    futures = min(futures, futures_within(left, untrained, recording))  # the machine may be busier than before
    remark = "" if futures == FUTURES[0] else f" (not {FUTURES[0]}: this machine is slow)"
    notify(f"Rolling out {len(recording) - 1} frames from one photo: the prior mean, then {futures} futures{remark}")
    with counting("rolling out") as progress:
        options = EvaluationOptions(futures=futures, seed=config.seed)
        scores = score_run(out / "run", out / "data", options, progress=progress)
    write_report([out / "run"], out / "report.html", force=True)
    return scores


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


def futures_within(seconds: float, predictor: Predictor, recording: Recording) -> int:
    """Return the largest of `FUTURES` that can be scored within the time, or the smallest if none can."""
    return next((n for n in FUTURES if scoring_seconds(predictor, recording, n) <= seconds), FUTURES[-1])


def scoring_seconds(predictor: Predictor, recording: Recording, futures: int) -> float:
    """Estimate the time of scoring a recording by scoring its first frames."""
    predictor.workers = Workers(machine_profile().shares)
    predictor.in_bfloat16 = resolve_precision("auto", "cpu") == "bf16-mixed"
    num_frames = min(len(recording), NUM_MEASURED_FRAMES)
    beginning = Recording(recording.name, recording.frames[:num_frames], recording.poses[:num_frames])
    start = time.monotonic()
    evaluate(predictor, [beginning], futures=2)
    predictor.workers.close()
    seconds_per_frame = (time.monotonic() - start) / (num_frames * 4)
    return REPORT_SECONDS + seconds_per_frame * len(recording) * (2 + futures)
