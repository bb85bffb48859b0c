"""The course's test protocol: for each test sequence a GIF, for all of them one submission.csv.

In: a run and the test split (one photo and T poses a sequence). Out: pred_seq{k}.gif and submission.csv, whose rows
are rounded pixels in 0..255, clipped: frame by frame, `[3, H, W]` flattened, the given first frame included.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from posecast.checkpoint import load_run
from posecast.config import parse_size
from posecast.data.course import read_test_sequences
from posecast.files import claim_folder, replacing
from posecast.media import open_writer
from posecast.rollout import Latent, predict

CSV = "submission.csv"
FPS = 20.0


def submit(
    run: Path,
    data: Path,
    out: Path,
    *,
    latent: Latent = "mean",
    seed: int = 0,
    force: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Predict every test sequence and write the submission; returns the number of rows. Raises InputError."""
    predictor = load_run(run, device)
    sequences = read_test_sequences(data, parse_size(predictor.config.size))
    gifs = [f"pred_seq{number}.gif" for number in range(len(sequences))]
    claim_folder(out, marker=CSV, ours=(CSV, *gifs), force=force)
    total = sum(len(sequence.poses) for sequence in sequences)
    row = 0
    with replacing(out / CSV) as temporary, temporary.open("w", encoding="ascii", newline="\n") as csv:
        height, width = parse_size(predictor.config.size)
        csv.write("id," + ",".join(map(str, range(3 * height * width))) + "\n")
        for number, sequence in enumerate(sequences):
            frames = predict(predictor, sequence.first_frame, sequence.poses, latent=latent, seed=seed, sequence=number)
            with open_writer(out / gifs[number], fps=FPS) as gif:
                for (frame,) in frames:
                    gif.write(frame)
                    csv.write(csv_row(row, frame))
                    row += 1
                    if progress:
                        progress(row, total)
    return row


def csv_row(row: int, frame: np.ndarray) -> str:
    """One line: the row's id and the frame's values, colour by colour."""
    return f"{row}," + ",".join(map(str, frame.transpose(2, 0, 1).ravel().tolist())) + "\n"
