"""A run judged on a data set: scores.json, and samples/ for the eye.

In: a run folder and a data folder. Out: `Scores`, written into the run. Next: `evaluation.py` has the metrics,
`report.py` shows what is written here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from posecast.checkpoint import load_run, read_config
from posecast.config import Config, parse_size
from posecast.data.packed import load_recordings
from posecast.data.recordings import Recording, first_share
from posecast.errors import InputError
from posecast.evaluation import Scores, check_scorable, evaluate, mean_rollout
from posecast.files import write_json
from posecast.media import display_scale, open_writer, rollout_strip, side_by_side, write_png
from posecast.model.predictor import Predictor

SIDE_BY_SIDE_FRAMES = 630
"""The moving side-by-side shows at most this many frames: it is embedded in a page."""


def score_run(
    run: Path,
    data: Path,
    *,
    split: str = "val",
    futures: int = 10,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score a run on a split, write scores.json and samples/. Raises InputError."""
    if split not in ("train", "val"):
        raise InputError(f"The split {split!r} has no true frames to score against; choose val or train.")
    predictor = load_run(run, device)
    config, facts = read_config(run)
    size = parse_size(config.size)
    recordings = load_recordings(data, split, size)
    check_scorable(recordings, split, size)
    scores = evaluate(
        predictor,
        recordings,
        training=training_recordings(config, facts),
        futures=futures,
        seed=seed,
        split=split,
        selected_on=str(facts.get("selected_on", "")),
        progress=progress,
    )
    write_json(run / "scores.json", scores.as_json())
    write_samples(run / "samples", split, predictor, recordings[0])
    return scores


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


def write_samples(folder: Path, split: str, predictor: Predictor, recording: Recording) -> None:
    """A strip and a moving side-by-side of the first recording: pose, truth, the prior's mean."""
    truth, poses = recording.frames, recording.poses
    rolled_out = mean_rollout(predictor, recording)
    write_png(folder / f"{split}-strip.png", rollout_strip(truth, poses, rolled_out))
    rows = {"pose": poses, "truth": truth, "predicted": np.concatenate([truth[:1], rolled_out])}
    with open_writer(folder / f"{split}-side-by-side.webp", fps=25) as video:
        for number in range(min(len(truth), SIDE_BY_SIDE_FRAMES)):
            columns = {name: row[number] for name, row in rows.items()}
            video.write(side_by_side(columns, number + 1, scale=display_scale(truth)))
