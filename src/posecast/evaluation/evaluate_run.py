"""A run judged on a data set: scores.json, and samples/ for the eye.

In: a run folder and a data folder. Out: `Scores`, written into the run. Next: `evaluate.py` has the metrics,
`run_report.py` shows what is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from posecast.config.schema import Config, parse_size
from posecast.data.cache import load_recordings
from posecast.data.recordings import Recording, first_share
from posecast.errors import InputError
from posecast.evaluation.evaluate import FactorTargets, check_scorable, evaluate_fully
from posecast.evaluation.factor_probe import fit_probe, recorded_factors
from posecast.evaluation.samples import write_latent_samples, write_samples
from posecast.evaluation.scores import Scores
from posecast.files import write_json
from posecast.model.checkpoint import load_run, read_config


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


def hidden_factors(
    data: Path, split: str, recordings: Sequence[Recording], size: tuple[int, int]
) -> FactorTargets | None:
    """The recordings' hidden factors and a reader fitted to the training recordings, where hidden.npz has them."""
    recorded = recorded_factors(data, split, recordings)
    if recorded is None:
        return None
    try:
        training = load_recordings(data, "train", size)
        known = recorded_factors(data, "train", training)
    except InputError:  # scoring needs the split alone
        return None
    reader = fit_probe(training, known) if known else None
    return FactorTargets(reader, recorded) if reader else None
