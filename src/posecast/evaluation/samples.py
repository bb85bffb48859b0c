"""The pictures of an evaluation: a strip, a side-by-side video, z moved, futures beside each other.

In: what `evaluate.py` saw of the first recording. Out: files in RUN/samples. Computes no rollout.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from posecast.data.images import write_png
from posecast.data.recordings import Recording
from posecast.evaluation.contact_sheet import contact_sheet, display_scale, rollout_strip, side_by_side
from posecast.evaluation.evaluate import Evaluation
from posecast.evaluation.metrics import Pixels
from posecast.evaluation.posterior import REACH, STOPS, traversal
from posecast.model.predictor import Predictor
from posecast.video.writer import open_writer

SPREAD_WHITE = 8.0
"""Of 255: the standard deviation that is shown white."""


SIDE_BY_SIDE_FRAMES = 630
"""The moving side-by-side shows at most this many frames: it is embedded in a page."""


def write_samples(folder: Path, split: str, recording: Recording, rolled_out: Pixels) -> None:
    """A strip and a moving side-by-side of the first recording: pose, truth, the prior's mean."""
    truth, poses = recording.frames, recording.poses
    write_png(folder / f"{split}-strip.png", rollout_strip(truth, poses, rolled_out))
    rows = {"pose": poses, "truth": truth, "predicted": np.concatenate([truth[:1], rolled_out])}
    with open_writer(folder / f"{split}-side-by-side.webp", fps=25) as video:
        for number in range(min(len(truth), SIDE_BY_SIDE_FRAMES)):
            columns = {name: row[number] for name, row in rows.items()}
            video.write(side_by_side(columns, number + 1, scale=display_scale(truth)))


def write_latent_samples(
    folder: Path, split: str, predictor: Predictor, recording: Recording, found: Evaluation
) -> None:
    """What z does: moved along its strongest directions, and several futures beside each other with their spread."""
    strips = traversal(predictor, recording, found.observed)
    rows = {f"z {number}": list(strip) for number, strip in enumerate(strips, start=1)}
    scale = display_scale(recording.frames)
    stops = [f"{stop:+.1f}" for stop in np.linspace(-REACH, REACH, STOPS)]
    write_png(folder / f"{split}-traversal.png", contact_sheet(rows, scale=scale, tops=stops))
    shown = found.futures
    rows = {"truth": [recording.frames[number] for number in shown]}
    futures = min(len(frames) for frames in shown.values())
    rows |= {f"future {n + 1}": [frames[n] for frames in shown.values()] for n in range(futures)}
    rows["spread"] = [spread_picture(frames) for frames in shown.values()]
    numbers = [str(1 + number) for number in shown]
    write_png(folder / f"{split}-futures.png", contact_sheet(rows, scale=scale, tops=numbers))


def spread_picture(futures: np.ndarray) -> np.ndarray:
    """The standard deviation of N futures, pixel by pixel: black where they agree, white from SPREAD_WHITE on."""
    deviation = futures.astype(np.float32).std(axis=0)
    return np.rint(255 * np.clip(deviation / SPREAD_WHITE, 0, 1)).astype(np.uint8)
