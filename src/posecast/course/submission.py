"""Submission in the form of the course's test protocol: a GIF per test sequence and one submission.csv.

In: a run and the test split (one photo and T poses per sequence). Out: pred_seq{k}.gif (.png: a strip of instants) and
submission.csv; a row is a frame `[3, H, W]`, rounded and clipped to 0..255, flattened; first frames are included.
Next: `kaggle_score.py`, which scores a submission where the truth is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from posecast.config.schema import parse_size
from posecast.course.submit_request import SubmitRequest
from posecast.data.folder_dataset import list_split, read_test_sequences
from posecast.data.images import write_png
from posecast.data.recordings import PoseSequence
from posecast.errors import InputError, join_limited
from posecast.evaluation.contact_sheet import contact_sheet, display_scale
from posecast.export.engine import choose_engine
from posecast.files import claim_folder, replacing
from posecast.model.checkpoint import load_run
from posecast.model.onnx_rollout import Engine
from posecast.model.predictor import Predictor
from posecast.model.rollout import Latent, predict_together
from posecast.model.rollout_input import RolloutInput
from posecast.video.writer import open_writer

CSV = "submission.csv"
FPS = 20.0
SEQUENCES_PER_BATCH = 8
"""Number of sequences rolled out together: enough to use all cores."""
COURSE_SEQUENCES, COURSE_POSES, COURSE_SIZE = 5, 630, (32, 64)


def submit(
    run: Path,
    request: SubmitRequest,
    *,
    device: str = "cpu",
    engine: Engine = "torch",
    progress: Callable[[int, int], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> int:
    """Predict every test sequence and write the submission.

    Args:
        run: Folder of the run whose weights predict the frames.
        request: Data set, output folder and options.
        device: Device to compute on: "cpu", "cuda" or "mps".
        engine: What computes rollouts on a CPU; see `export/engine.py`.
        progress: Called with the number of frames done and their total.
        notify: Called with a sentence if the test split or the run differs from the course's form, and before long
            preparations.

    Returns:
        Number of rows.

    Raises:
        InputError: If the data or the run cannot be read, the output folder is in use, or the form differs from the
            course's and `request.strict` is set; the latter before anything is computed.
    """
    predictor = load_run(run, device)
    size = parse_size(predictor.config.size)
    check_form(request, size, notify)
    sequences = read_test_sequences(request.data, size, request.threads)
    choose_engine(predictor, engine, notify)
    names = [f"pred_seq{index}" for index in range(len(sequences))]
    images = [f"{name}.{ending}" for name in names for ending in ("gif", "png")]
    claim_folder(request.out, marker=CSV, ours=(CSV, *images), force=request.force)
    predictions = predict_sequences(predictor, sequences, latent=request.latent, seed=request.seed, progress=progress)
    num_rows = 0
    with replacing(request.out / CSV) as temporary, temporary.open("w", encoding="ascii", newline="\n") as csv:
        csv.write("id," + ",".join(map(str, range(3 * size[0] * size[1]))) + "\n")
        for name, sequence, frames in zip(names, sequences, predictions, strict=True):
            with open_writer(request.out / f"{name}.gif", fps=FPS) as gif:
                for frame in frames:
                    gif.write(frame)
                    csv.write(csv_row(num_rows, frame))
                    num_rows += 1
            if request.strips:
                write_png(request.out / f"{name}.png", strip(sequence.poses, frames))
    return num_rows


def check_form(request: SubmitRequest, size: tuple[int, int], notify: Callable[[str], None] | None) -> None:
    """Pass a sentence on differences from the course's form to `notify`; raise InputError instead if strict."""
    differences = "; ".join(differences_from_course(request.data, size))
    if differences and request.strict:
        raise InputError(
            f"Not the course's form: {differences}. Correct {request.data} or the run, or leave --strict out."
        )
    if differences and notify:
        notify(f"Not the course's form: {differences}. The course's board would reject it.")


def predict_sequences(
    predictor: Predictor,
    sequences: Sequence[PoseSequence],
    *,
    latent: Latent,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[list[np.ndarray]]:
    """Yield the frames of each sequence, uint8 `[H, W, 3]`, rolling out several sequences in one batch.

    The composition of a batch can change the rounding of a frame's values, and nothing else.
    """
    lengths = [len(sequence.poses) for sequence in sequences]
    for first in range(0, len(sequences), SEQUENCES_PER_BATCH):
        batch = sequences[first : first + SEQUENCES_PER_BATCH]
        inputs = [RolloutInput(sequence.first_frame, sequence.poses) for sequence in batch]
        predicted: list[list[np.ndarray]] = [[] for _ in batch]
        for instant in predict_together(predictor, inputs, latent=latent, seed=seed, first_sequence=first):
            for frames, frame, sequence in zip(predicted, instant, batch, strict=True):
                if len(frames) < len(sequence.poses):  # shorter sequences end earlier
                    frames.append(frame)
            if progress:
                progress(sum(lengths[:first]) + sum(map(len, predicted)), sum(lengths))
        yield from predicted


def differences_from_course(data: Path, size: tuple[int, int]) -> list[str]:
    """Return a phrase for each difference of a test split and a (height, width) from the course's; read no image."""
    sequences, errors = list_split(data, "test")
    if errors:  # reported when the split is read
        return []
    num_poses = {sequence.name: len(sequence.frames) for sequence in sequences}
    others = [f"{length} in sequence {name}" for name, length in num_poses.items() if length != COURSE_POSES]
    rows, course_rows = sum(num_poses.values()), COURSE_SEQUENCES * COURSE_POSES
    differences = {
        f"sequences: {len(num_poses)} instead of {COURSE_SEQUENCES}": len(num_poses) != COURSE_SEQUENCES,
        f"poses: {join_limited(others)} instead of {COURSE_POSES}": others,
        f"rows: {rows} instead of {course_rows}": rows != course_rows,
        f"images: {size[0]}x{size[1]} instead of {COURSE_SIZE[0]}x{COURSE_SIZE[1]}": size != COURSE_SIZE,
    }
    return [phrase for phrase, differs in differences.items() if differs]


def csv_row(row: int, frame: np.ndarray) -> str:
    """Return a line of the CSV: the row's id and the frame's values, colour by colour."""
    return f"{row}," + ",".join(map(str, frame.transpose(2, 0, 1).ravel().tolist())) + "\n"


def strip(poses: np.ndarray, frames: list[np.ndarray]) -> np.ndarray:
    """Return an image of ten instants of a rollout below their poses; of fewer if it is shorter."""
    rows = {"pose": list(poses), "prediction": frames}
    return contact_sheet(rows, every=max(1, -(-len(poses) // 10)), scale=display_scale(poses))
