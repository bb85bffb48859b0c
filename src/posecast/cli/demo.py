"""The whole story on the embedded dancer: footage, training, scores, a report, within so many minutes.

In: an output folder and a few numbers. Out: OUT/data, OUT/run, OUT/report.html. Each step is what a command does.
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
from posecast.data.recordings import Recording
from posecast.evaluation.evaluate import evaluate
from posecast.evaluation.evaluate_run import score_run
from posecast.evaluation.scores import Scores
from posecast.files import claim_folder, write_json
from posecast.model.device import machine_profile, resolve_precision
from posecast.model.predictor import Predictor
from posecast.model.threads import Workers
from posecast.reporting.run_report import write_report
from posecast.training.state import Callback
from posecast.training.train import train

MARKER = "demo.json"
WRITTEN = (MARKER, "data", "run", "report.html")
FUTURES = (10, 5, 3, 2)
"""As many futures are scored as there is time for."""
SCORING_SHARE = 0.25
"""The largest share of the time that scoring may take."""
LATE_SHARE = 0.05
"""How much later than asked the end may come, as a share of the time."""
PAGE_SECONDS = 6.0
"""Baselines, pictures and the page."""
MEASURED_FRAMES = 33


def demo(
    out: Path,
    config: Config,
    choreography: Choreography,
    *,
    minutes: float,
    say: Callable[[str], None],
    callback: Callback,
    counting: Callable[[str], AbstractContextManager[Callable[[int, int], None]]],
) -> Scores:
    """Make everything into `out` within `minutes`, replacing an earlier demo there; returns the scores.

    The configuration's own budget is not used. `counting` makes a progress bar with a label. Raises InputError.
    """
    ends = time.monotonic() + 60.0 * minutes
    claim_folder(out, marker=MARKER, ours=WRITTEN, force=True)
    write_json(out / MARKER, {"posecast": posecast.__version__})
    c = choreography
    say(f"Drawing {c.sequences} recordings of {c.frames} frames, and one to be judged by ({out}/data)")
    with counting("drawing") as progress:
        ceiling = write_synthetic(out / "data", choreography, progress=progress)
    say(f"What the poses do not tell limits a prediction of the mean to {ceiling:.1f} dB")
    with counting("packing") as progress:
        footage = load_footage(out / "data", parse_size(config.size), progress=progress)
    judged = footage.validation[0]
    untrained = Predictor(config).eval().requires_grad_(False)
    left = ends - time.monotonic()
    futures = futures_within(SCORING_SHARE * left, untrained, judged)
    training_s = max(1.0, left - scoring_seconds(untrained, judged, futures))
    say(f"Training for {training_s / 60:.1f} of {minutes:g} minutes ({out}/run)")
    budget = Budget(minutes=training_s / 60)
    train(dataclasses.replace(config, budget=budget), footage, out / "run", callback=callback)
    left = ends + LATE_SHARE * 60.0 * minutes - time.monotonic()
    futures = min(futures, futures_within(left, untrained, judged))  # it may be busier by now
    fewer = "" if futures == FUTURES[0] else f" (not {FUTURES[0]}: this machine is slow)"
    say(f"Rolling out {c.frames - 1} frames from one photo: the mean, then {futures} futures{fewer}")
    with counting("rolling out") as progress:
        scores = score_run(out / "run", out / "data", futures=futures, seed=config.seed, progress=progress)
    write_report([out / "run"], out / "report.html", force=True)
    return scores


def futures_within(seconds: float, predictor: Predictor, recording: Recording) -> int:
    """The most futures that can be scored in so many seconds; at least the fewest."""
    return next((n for n in FUTURES if scoring_seconds(predictor, recording, n) <= seconds), FUTURES[-1])


def scoring_seconds(predictor: Predictor, recording: Recording, futures: int) -> float:
    """Seconds that scoring will take, from the scoring of a few frames."""
    predictor.workers = Workers(machine_profile().shares)
    predictor.in_bfloat16 = resolve_precision("auto", "cpu") == "bf16-mixed"
    count = min(len(recording), MEASURED_FRAMES)
    piece = Recording(recording.name, recording.frames[:count], recording.poses[:count])
    start = time.monotonic()
    evaluate(predictor, [piece], futures=2)
    predictor.workers.close()
    a_frame = (time.monotonic() - start) / (count * 4)
    return PAGE_SECONDS + a_frame * len(recording) * (2 + futures)
