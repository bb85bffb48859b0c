"""A gallery of a run's rollouts: an ordinary stretch, the hardest ones, and one through a gap in the poses.

In: a run, its data set. Out: one GIF, a row a stretch: pose, truth, prediction. Everything is one rollout from the
recording's first frame by the prior's mean; only which stretches are shown is chosen by looking at the truth.
Run: `python benchmarks/gallery.py RUN --data DATA --out docs/gallery.gif`. Next: `src/posecast/evaluation.py`.
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
"""Blank pose maps in the middle of the last row."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A gallery of a run's rollouts, hard moments included.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("gallery.gif"))
    parser.add_argument("--frames", type=int, default=48, help="frames a stretch (default: %(default)s)")
    parser.add_argument("--hard", type=int, default=2, help="hardest stretches shown (default: %(default)s)")
    parser.add_argument("--scale", type=int, default=2, help="enlargement (default: %(default)s)")
    asked = parser.parse_args()

    predictor = load_run(asked.run)
    size = parse_size(read_config(asked.run)[0].size)
    recording = load_recordings(asked.data, "val", size)[0]
    predicted = mean_rollout(predictor, recording)
    scores = {recording.name: psnr_db(predicted, recording.frames[1:])}
    worst = [one.first - 1 for one in worst_stretches(scores, frames=asked.frames, count=asked.hard)]
    ordinary = ordinary_stretch(scores[recording.name], asked.frames)
    rows = [(recording, predicted, ordinary), *((recording, predicted, start) for start in worst)]
    gapped = blanked(recording, ordinary + (asked.frames - GAP) // 2)
    rows.append((gapped, mean_rollout(predictor, gapped), ordinary))
    with open_writer(asked.out, fps=12.5) as video:
        for step in range(asked.frames):
            pictures = [row_picture(*row, step, asked.scale) for row in rows]
            video.write(np.concatenate(pictures))
    print(f"{asked.out}: frames {', '.join(f'{start + 1}-{start + asked.frames}' for _, _, start in rows)}")


def ordinary_stretch(values: np.ndarray, frames: int) -> int:
    """Where the stretch with the median PSNR starts, as an index into the recording."""
    means = np.convolve(values, np.full(frames, 1 / frames), mode="valid")
    return int(np.argsort(means)[len(means) // 2]) + 1


def blanked(recording: Recording, first: int) -> Recording:
    """The recording with some pose maps gone."""
    poses = recording.poses.copy()
    poses[first : first + GAP] = 255
    return Recording(recording.name, recording.frames, poses)


def row_picture(recording: Recording, predicted: np.ndarray, start: int, step: int, scale: int) -> np.ndarray:
    """Pose, truth and prediction of one instant."""
    t = start + step
    columns = {"pose": recording.poses[t], "truth": recording.frames[t], "predicted": predicted[t - 1]}
    return side_by_side(columns, t + 1, scale=scale)


if __name__ == "__main__":
    main()
