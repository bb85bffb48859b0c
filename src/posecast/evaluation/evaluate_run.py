"""Evaluation of a run folder on a data set.

In: a run folder and a data folder. Out: scores.json and samples/ in the run folder.
Next: `evaluate.py` computes the scores, `samples.py` the images, `reporting/run_report.py` shows both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from posecast.config.schema import Config, parse_size
from posecast.data.cache import find_pack, load_recordings, load_split
from posecast.data.recordings import Recording, first_share
from posecast.errors import InputError
from posecast.evaluation.bounds import stored_variance
from posecast.evaluation.evaluate import EvaluationOptions, FactorTargets, check_scorable, evaluate_fully
from posecast.evaluation.factor_probe import fit_probe, recorded_factors
from posecast.evaluation.samples import write_latent_samples, write_samples
from posecast.evaluation.scores import Scores
from posecast.export.engine import choose_engine
from posecast.files import check_writable, write_json
from posecast.model.checkpoint import load_run, read_config
from posecast.model.onnx_rollout import Engine
from posecast.system.names import is_local


def score_run(
    run: Path,
    data: Path,
    options: EvaluationOptions,
    *,
    device: str = "cpu",
    engine: Engine = "torch",
    progress: Callable[[int, int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Scores:
    """Score a run on a split of a data set, and write scores.json and samples/ into the run folder.

    Args:
        run: Folder of the run.
        data: Data folder; only the split is needed. Baselines use the run's own training recordings, if they have the
            fingerprint that the run recorded.
        options: Split to score, number of futures, seed and bounds. `selected_on` and `training_variance` are taken
            from the run.
        device: Device to compute on: "cpu", "cuda" or "mps".
        engine: What computes rollouts on a CPU; see `export/engine.py`.
        progress: Called with the number of frames done and their total.
        tell: Called with one sentence before long preparations.

    Raises:
        InputError: The run or the split cannot be read, or the split has no true frames of the model's size.
        OSError: The folder of the run cannot be written to.
    """
    split = options.split
    if split not in ("train", "val"):
        raise InputError(f"The split {split!r} has no true frames to score against; choose val or train.")
    predictor = load_run(run, device)
    for folder in (run, run / "samples"):
        if folder.is_dir():
            check_writable(folder)
    config, facts = read_config(run)
    size = parse_size(config.size)
    recordings = load_recordings(data, split, size)
    check_scorable(recordings, split, size)
    training, note = _training_recordings(config, facts, data)
    computed_by = choose_engine(predictor, engine, tell)  # may take long, so after all that can be refused
    of_run = {"selected_on": str(facts.get("selected_on", "")), "training_variance": stored_variance(facts)}
    evaluation = evaluate_fully(
        predictor,
        recordings,
        dataclasses.replace(options, **of_run),
        training=training,
        hidden=_factor_targets(data, split, recordings, size),
        progress=progress,
    )
    write_samples(run / "samples", split, recordings[0], evaluation.mean)
    write_latent_samples(run / "samples", split, predictor, recordings[0], evaluation)
    remark = note or evaluation.scores.baselines_note
    scores = dataclasses.replace(evaluation.scores, baselines_note=remark, engine=computed_by)
    write_json(run / "scores.json", scores.as_json())  # last, so that a run with scores also has samples
    return scores


def _training_recordings(
    config: Config, facts: dict[str, Any], data: Path
) -> tuple[list[Recording] | None, str | None]:
    """Return the run's own training recordings, from where they were or from `data`; or None, and the reason."""
    source, size = facts.get("source") or {}, parse_size(config.size)
    recorded, path = source.get("fingerprint"), source.get("path")
    # A run may come from a stranger: of the folder that it records, only a pack of the same images is read.
    training = None
    if isinstance(path, str) and is_local(path) and path != str(data.resolve()):
        training = find_pack(Path(path), "train", size, recorded)
    if training is None:
        try:
            training = load_split(data, "train", size)
        except InputError:
            return None, "the run's training footage was not found"
    if recorded in training.fingerprints:
        return first_share(training.recordings, config.training.training_share), None
    return None, "the training footage is not what the run was trained on, or has changed since"


def _factor_targets(
    data: Path, split: str, recordings: Sequence[Recording], size: tuple[int, int]
) -> FactorTargets | None:
    """Return the recorded hidden factors and a probe fitted to the training recordings, or None if there are none."""
    recorded = recorded_factors(data, split, recordings)
    if recorded is None:
        return None
    try:
        training = load_recordings(data, "train", size)
        training_factors = recorded_factors(data, "train", training)
    except InputError:  # scoring requires only the split
        return None
    probe = fit_probe(training, training_factors) if training_factors else None
    return FactorTargets(probe, recorded) if probe else None
