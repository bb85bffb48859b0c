"""The course's test protocol: for each test sequence a GIF, for all of them one submission.csv.

In: a run and the test split (one photo and T poses a sequence). Out: pred_seq{k}.gif (.png: a strip for the eye) and
submission.csv, whose rows are rounded pixels in 0..255, clipped: `[3, H, W]` flattened, the given first frame too.
Next: `kaggle_score.py`, which scores a submission where the truth is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from posecast.config.schema import parse_size
from posecast.data.folder_dataset import list_split, read_test_sequences
from posecast.data.images import write_png
from posecast.data.recordings import PoseSequence
from posecast.errors import InputError, some
from posecast.evaluation.contact_sheet import contact_sheet, display_scale
from posecast.files import claim_folder, replacing
from posecast.model.checkpoint import load_run
from posecast.model.predictor import Predictor
from posecast.model.rollout import Latent, RolloutInput, predict_together
from posecast.video.writer import open_writer

CSV = "submission.csv"
FPS = 20.0
TOGETHER = 8
"""Sequences rolled out in one batch: enough to fill the cores."""
COURSE_SEQUENCES, COURSE_POSES, COURSE_SIZE = 5, 630, (32, 64)


def submit(
    run: Path,
    data: Path,
    out: Path,
    *,
    latent: Latent = "mean",
    seed: int = 0,
    strict: bool = False,
    strips: bool = False,
    threads: int | None = None,
    force: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Predict every test sequence and write the submission; returns the number of rows. Raises InputError.

    What is not of the course's form is said (`say`), or, if `strict`, refused before anything is computed.
    `strips` adds a picture of ten instants, pred_seq{k}.png. So many `threads` decode pictures; None: one a core.
    """
    predictor = load_run(run, device)
    size = parse_size(predictor.config.size)
    differences = "; ".join(differences_from_course(data, size))
    if differences and strict:
        raise InputError(f"Not the course's form: {differences}. Mend {data} or the run, or leave --strict out.")
    if differences and say:
        say(f"Not the course's form: {differences}. The course's board would not take it.")
    sequences = read_test_sequences(data, size, threads)
    names = [f"pred_seq{number}" for number in range(len(sequences))]
    ours = [f"{name}.{ending}" for name in names for ending in ("gif", "png")]
    claim_folder(out, marker=CSV, ours=(CSV, *ours), force=force)
    with replacing(out / CSV) as temporary, temporary.open("w", encoding="ascii", newline="\n") as csv:
        csv.write("id," + ",".join(map(str, range(3 * size[0] * size[1]))) + "\n")
        painted = painted_sequences(predictor, sequences, latent=latent, seed=seed, progress=progress)
        rows = itertools.count()
        for name, sequence, frames in zip(names, sequences, painted, strict=True):
            with open_writer(out / f"{name}.gif", fps=FPS) as gif:
                for frame in frames:
                    gif.write(frame)
                    csv.write(csv_row(next(rows), frame))
            if strips:
                write_png(out / f"{name}.png", strip(sequence.poses, frames))
    return next(rows)


def painted_sequences(
    predictor: Predictor,
    sequences: Sequence[PoseSequence],
    *,
    latent: Latent,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[list[np.ndarray]]:
    """The frames of each sequence in turn, uint8 `[H, W, 3]`; up to TOGETHER sequences are rolled out in one batch.

    Which ones share a batch can change the rounding of a frame's values, and nothing else.
    """
    lengths = [len(sequence.poses) for sequence in sequences]
    for first in range(0, len(sequences), TOGETHER):
        group = sequences[first : first + TOGETHER]
        given = [RolloutInput(sequence.first_frame, sequence.poses) for sequence in group]
        painted: list[list[np.ndarray]] = [[] for _ in group]
        for frames in predict_together(predictor, given, latent=latent, seed=seed, first_sequence=first):
            for own, frame, sequence in zip(painted, frames, group, strict=True):
                own += [frame] * (len(own) < len(sequence.poses))  # a short sequence is over before a long one
            if progress:
                progress(sum(lengths[:first]) + sum(map(len, painted)), sum(lengths))
        yield from painted


def differences_from_course(data: Path, size: tuple[int, int]) -> list[str]:
    """All that sets a test split and a (height, width) apart from the course's, a phrase each; no picture is read."""
    listed, errors = list_split(data, "test")
    if errors:  # reading it will say what must be mended first
        return []
    num_poses = {one.name: len(one.frames) for one in listed}
    others = [f"{number} in sequence {name}" for name, number in num_poses.items() if number != COURSE_POSES]
    rows, course_rows = sum(num_poses.values()), COURSE_SEQUENCES * COURSE_POSES
    found = {
        f"sequences: {len(num_poses)} instead of {COURSE_SEQUENCES}": len(num_poses) != COURSE_SEQUENCES,
        f"poses: {some(others)} instead of {COURSE_POSES}": others,
        f"rows: {rows} instead of {course_rows}": rows != course_rows,
        f"pictures: {size[0]}x{size[1]} instead of {COURSE_SIZE[0]}x{COURSE_SIZE[1]}": size != COURSE_SIZE,
    }
    return [phrase for phrase, differs in found.items() if differs]


def csv_row(row: int, frame: np.ndarray) -> str:
    """One line: the row's id and the frame's values, colour by colour."""
    return f"{row}," + ",".join(map(str, frame.transpose(2, 0, 1).ravel().tolist())) + "\n"


def strip(poses: np.ndarray, painted: list[np.ndarray]) -> np.ndarray:
    """Ten instants of a rollout below its poses; fewer of one too short."""
    rows = {"pose": list(poses), "prediction": painted}
    return contact_sheet(rows, every=max(1, -(-len(poses) // 10)), scale=display_scale(poses))
