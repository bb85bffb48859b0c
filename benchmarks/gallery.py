"""Gallery of a run's rollouts: an average stretch, the worst ones, and one with a gap in the poses.

In: a run, its data set. Out: a GIF with one row for each stretch: pose, truth, prediction. All rows are parts of
rollouts from the recording's first frame with the prior mean; only the choice of the stretches uses the truth.
Run: `python benchmarks/gallery.py RUN --data DATA --out docs/gallery.gif`. Next: `evaluation/metrics.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from posecast.config.schema import parse_size
from posecast.data.cache import load_recordings
from posecast.data.recordings import Recording
from posecast.evaluation.contact_sheet import side_by_side
from posecast.evaluation.evaluate import mean_rollout
from posecast.evaluation.metrics import psnr_db, worst_stretches
from posecast.model.checkpoint import load_run, read_config
from posecast.video.writer import open_writer

GAP = 12
"""Number of blank pose maps in the middle of the last row."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Gallery of a run's rollouts, including the worst stretches.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("gallery.gif"))
    parser.add_argument("--frames", type=int, default=48, help="frames per stretch (default: %(default)s)")
    parser.add_argument("--hard", type=int, default=2, help="number of worst stretches shown (default: %(default)s)")
    parser.add_argument("--scale", type=int, default=2, help="enlargement (default: %(default)s)")
    options = parser.parse_args()

    predictor = load_run(options.run)
    size = parse_size(read_config(options.run)[0].size)
    recording = load_recordings(options.data, "val", size)[0]
    predicted = mean_rollout(predictor, recording)
    scores = {recording.name: psnr_db(predicted, recording.frames[1:])}
    worst = [stretch.first - 1 for stretch in worst_stretches(scores, frames=options.frames, count=options.hard)]
    median = median_stretch(scores[recording.name], options.frames)
    rows = [(recording, predicted, median), *((recording, predicted, start) for start in worst)]
    gapped = with_gap(recording, median + (options.frames - GAP) // 2)
    rows.append((gapped, mean_rollout(predictor, gapped), median))
    with open_writer(options.out, fps=12.5) as video:
        for step in range(options.frames):
            images = [row_image(*row, step, options.scale) for row in rows]
            video.write(np.concatenate(images))
    print(f"{options.out}: frames {', '.join(f'{start + 1}-{start + options.frames}' for _, _, start in rows)}")


def median_stretch(psnr_db: np.ndarray, frames: int) -> int:
    """Return the start of the stretch with the median PSNR, as an index into the recording."""
    means = np.convolve(psnr_db, np.full(frames, 1 / frames), mode="valid")
    return int(np.argsort(means)[len(means) // 2]) + 1


def with_gap(recording: Recording, first: int) -> Recording:
    """Return the recording with GAP blank pose maps."""
    poses = recording.poses.copy()
    poses[first : first + GAP] = 255
    return Recording(recording.name, recording.frames, poses)


def row_image(recording: Recording, predicted: np.ndarray, start: int, step: int, scale: int) -> np.ndarray:
    """Return pose, truth and prediction of one frame side by side."""
    t = start + step
    columns = {"pose": recording.poses[t], "truth": recording.frames[t], "predicted": predicted[t - 1]}
    return side_by_side(columns, t + 1, scale=scale)


if __name__ == "__main__":
    main()
