"""Images and videos of an evaluation: rollouts beside the truth, traversals of z, several futures.

In: the frames that `evaluate.py` computed of the first recording. Out: files in RUN/samples.
Next: `contact_sheet.py`, which draws the images.
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
"""Standard deviation, of values up to 255, that is drawn white."""
SIDE_BY_SIDE_FRAMES = 630
"""Largest number of frames of the side-by-side video, which is embedded in a page."""


def write_samples(folder: Path, split: str, recording: Recording, predicted: Pixels) -> None:
    """Write a strip and a side-by-side video of pose, truth and prediction.

    Args:
        folder: Folder of the files.
        split: Split of the recording, the prefix of the file names.
        recording: The true recording.
        predicted: Frames 2..T predicted with the prior mean.
    """
    truth, poses = recording.frames, recording.poses
    write_png(folder / f"{split}-strip.png", rollout_strip(truth, poses, predicted))
    rows = {"pose": poses, "truth": truth, "predicted": np.concatenate([truth[:1], predicted])}
    with open_writer(folder / f"{split}-side-by-side.webp", fps=25) as video:
        for instant in range(min(len(truth), SIDE_BY_SIDE_FRAMES)):
            columns = {name: row[instant] for name, row in rows.items()}
            video.write(side_by_side(columns, instant + 1, scale=display_scale(truth)))


def write_latent_samples(
    folder: Path, split: str, predictor: Predictor, recording: Recording, evaluation: Evaluation
) -> None:
    """Write a traversal of z, and several futures beside each other with their spread.

    Args:
        folder: Folder of the files.
        split: Split of the recording, the prefix of the file names.
        predictor: Predictor that was evaluated.
        recording: First recording of the evaluation.
        evaluation: Result of `evaluate_fully`.
    """
    strips = traversal(predictor, recording, evaluation.observed)
    rows = {f"z {direction}": list(strip) for direction, strip in enumerate(strips, start=1)}
    scale = display_scale(recording.frames)
    stops = [f"{stop:+.1f}" for stop in np.linspace(-REACH, REACH, STOPS)]
    write_png(folder / f"{split}-traversal.png", contact_sheet(rows, scale=scale, column_labels=stops))
    kept = evaluation.futures
    rows = {"truth": [recording.frames[instant] for instant in kept]}
    num_futures = min(len(frames) for frames in kept.values())
    rows |= {f"future {n + 1}": [frames[n] for frames in kept.values()] for n in range(num_futures)}
    rows["spread"] = [spread_image(frames) for frames in kept.values()]
    frame_numbers = [str(1 + instant) for instant in kept]
    write_png(folder / f"{split}-futures.png", contact_sheet(rows, scale=scale, column_labels=frame_numbers))


def spread_image(futures: np.ndarray) -> np.ndarray:
    """Draw the standard deviation of N futures, uint8 `[N, H, W, 3]`: black is 0, white `SPREAD_WHITE` or more."""
    deviation = futures.astype(np.float32).std(axis=0)
    return np.rint(255 * np.clip(deviation / SPREAD_WHITE, 0, 1)).astype(np.uint8)
