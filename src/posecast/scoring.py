"""A run judged on a data set: scores.json, and samples/ for the eye.

In: a run folder and a data folder. Out: `Scores`, written into the run. Next: `evaluate.py` has the metrics,
`run_report.py` shows what is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from posecast.config.schema import Config, parse_size
from posecast.data.cache import load_recordings
from posecast.data.images import contact_sheet, display_scale, open_writer, rollout_strip, side_by_side, write_png
from posecast.data.recordings import Recording, first_share
from posecast.errors import InputError
from posecast.evaluation import Evaluation, Hidden, Scores, check_scorable, evaluate_fully
from posecast.factors import fit_reader, recorded_factors
from posecast.files import write_json
from posecast.metrics import Pixels
from posecast.model.checkpoint import load_run, read_config
from posecast.model.predictor import Predictor
from posecast.observing import REACH, STOPS, traversal

SPREAD_WHITE = 8.0
"""Of 255: the standard deviation that is shown white."""
SIDE_BY_SIDE_FRAMES = 630
"""The moving side-by-side shows at most this many frames: it is embedded in a page."""


def score_run(
    run: Path,
    data: Path,
    *,
    split: str = "val",
    futures: int = 10,
    seed: int = 0,
    bound: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score a run on a split, write scores.json and samples/; options as of `evaluate_fully`. Raises InputError."""
    if split not in ("train", "val"):
        raise InputError(f"The split {split!r} has no true frames to score against; choose val or train.")
    predictor = load_run(run, device)
    config, facts = read_config(run)
    size = parse_size(config.size)
    recordings = load_recordings(data, split, size)
    check_scorable(recordings, split, size)
    found = evaluate_fully(
        predictor,
        recordings,
        training=training_recordings(config, facts),
        hidden=hidden_factors(data, split, recordings, size),
        futures=futures,
        seed=seed,
        split=split,
        selected_on=str(facts.get("selected_on", "")),
        bound=bound,
        progress=progress,
    )
    write_samples(run / "samples", split, recordings[0], found.mean)
    write_latent_samples(run / "samples", split, predictor, recordings[0], found)
    write_json(run / "scores.json", found.scores.as_json())  # last: a run with scores has its pictures too
    return found.scores


def training_recordings(config: Config, facts: dict) -> list[Recording] | None:
    """The run's own training recordings, for the baselines; None when they are gone or have changed."""
    source, size = facts.get("source") or {}, parse_size(config.size)
    if not isinstance(source.get("path"), str):
        return None
    try:
        recordings = load_recordings(Path(source["path"]), "train", size)
        return first_share(recordings, config.training.training_share)
    except InputError:
        return None


def hidden_factors(data: Path, split: str, recordings: Sequence[Recording], size: tuple[int, int]) -> Hidden | None:
    """The recordings' hidden factors and a reader fitted to the training recordings, where hidden.npz has them."""
    recorded = recorded_factors(data, split, recordings)
    if recorded is None:
        return None
    try:
        training = load_recordings(data, "train", size)
        known = recorded_factors(data, "train", training)
    except InputError:  # scoring needs the split alone
        return None
    reader = fit_reader(training, known) if known else None
    return Hidden(reader, recorded) if reader else None


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
