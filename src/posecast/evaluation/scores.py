"""Scores of frames, of sequences and of a run, and their form in scores.json.

In: measured numbers. Out: `Scores` and its JSON. Next: `evaluate.py`, which measures them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from posecast.evaluation.bounds import BOUND_DEFINITION, Bounds
from posecast.evaluation.calibration import CALIBRATION_DEFINITION, LEVELS, Coverage, expected_best
from posecast.evaluation.energies import DETAIL_DEFINITION, Detail, Energies
from posecast.evaluation.explained_error import GENERATIVE_DEFINITION, ExplainedError
from posecast.evaluation.factor_evidence import FactorEvidence
from posecast.evaluation.metrics import PSNR_DEFINITION, SSIM_DEFINITION
from posecast.evaluation.posterior import ACTIVE_UNITS_DEFINITION, RECONSTRUCTION_NOTE, Reconstruction
from posecast.files import finite

DRIFT_FRAMES = 100
KINDS = ("mean", "sample", "best")
"""Predictions that are scored: the prior mean, the average of N futures, and the best of them."""
METRICS = ("psnr_db", "ssim")
DETAILS: tuple[Detail, ...] = ("sharpness", "flicker")


@dataclass(frozen=True)
class FrameScores:
    """PSNR in dB and SSIM of every frame."""

    psnr_db: Float[np.ndarray, " T"]
    ssim: Float[np.ndarray, " T"]


@dataclass(frozen=True)
class SequenceScores:
    """Scores of frames 2..T of one sequence: for the prior mean, the average of N futures, and the best of them."""

    name: str
    mean: FrameScores
    sample: FrameScores
    best: FrameScores
    best_future: int
    futures_psnr_db: Float[np.ndarray, " N"]
    """Mean over frames of each future."""
    energies: Mapping[str, Energies]
    """Energies of the frames of each of `KINDS`, and of the truth."""

    def frame_scores(self, kind: str, metric: str) -> np.ndarray:
        """Return one of `METRICS` of frames 2..T, for one of `KINDS`."""
        return getattr(getattr(self, kind), metric)


@dataclass(frozen=True)
class Drift:
    """PSNR in dB of the last 100 frames of a rollout, and of the same frames restarted from the true frame before."""

    last_psnr_db: float
    restarted_psnr_db: float

    @property
    def difference_db(self) -> float:
        """Loss caused by errors in earlier frames."""
        return self.restarted_psnr_db - self.last_psnr_db


@dataclass(frozen=True)
class Scores:
    """Content of scores.json; PSNR in dB."""

    split: str
    selected_on: str
    seed: int
    futures: int
    sequences: Sequence[SequenceScores]
    reconstruction: Reconstruction
    drift: Drift | None
    """Mean over the recordings that are long enough; None if there are none."""
    baselines: dict[str, float | None]
    baselines_note: str | None
    """Reason why baselines from training footage are None; None if they are not."""
    spread: Coverage
    """Coverage of the truth by the futures."""
    predictive: Coverage
    """Coverage of the truth by the futures with the noise of the likelihood."""
    explained: ExplainedError
    """Squared error that z from the posterior explains, and that z from the prior supplies."""
    bounds: Bounds | None
    """Bounds of the first recording; None if they were not requested."""
    factors: Sequence[FactorEvidence]
    """Empty if the data set has no recorded factors."""
    engine: str = ""
    """Name and version of what computed the rollouts."""

    def summary(self, kind: str, metric: str) -> float:
        """Return the mean of one of `METRICS` over frames, then over sequences, for one of `KINDS`."""
        return float(np.mean([sequence.frame_scores(kind, metric).mean() for sequence in self.sequences]))

    def detail(self, kind: str, detail: Detail) -> float:
        """Return the sharpness or flicker of one of `KINDS` by that of the truth; NaN where the truth has none."""
        pairs = [[getattr(sequence.energies[key], detail) for key in (kind, "truth")] for sequence in self.sequences]
        return float(np.mean([predicted / true if true else np.nan for predicted, true in pairs]))

    def best_of(self) -> list[float]:
        """Return the expected PSNR of the best of n futures for n = 1..N, as the mean over sequences."""
        return np.mean([expected_best(sequence.futures_psnr_db) for sequence in self.sequences], axis=0).tolist()

    def as_json(self) -> dict[str, Any]:
        """Return the content of scores.json; values that are not finite are None."""
        return {
            "split": self.split,
            "selected_on": self.selected_on,
            "seed": self.seed,
            "engine": self.engine,
            "psnr": PSNR_DEFINITION,
            "ssim": SSIM_DEFINITION,
            "sequences": [_sequence_json(sequence) for sequence in self.sequences],
            "summary": {
                **{metric: {kind: self.summary(kind, metric) for kind in KINDS} for metric in METRICS},
                **{detail: finite({kind: self.detail(kind, detail) for kind in KINDS}) for detail in DETAILS},
                "futures": self.futures,
            },
            "detail": DETAIL_DEFINITION,
            "reconstruction": {"psnr_db": self.reconstruction.psnr_db, "note": RECONSTRUCTION_NOTE},
            "latent": {
                "rate_nats": self.reconstruction.rate_nats,
                "active_units": self.reconstruction.active_units,
                "units": self.reconstruction.num_units,
                "active": ACTIVE_UNITS_DEFINITION,
            },
            "drift": _drift_json(self.drift) if self.drift else None,
            "baselines": self.baselines,
            "baselines_note": self.baselines_note,
            "best_of": self.best_of(),
            "calibration": {
                "levels": list(LEVELS),
                "spread": self.spread.share,
                "spread_standard_error": self.spread.standard_error,
                "predictive": self.predictive.share,
                "predictive_standard_error": self.predictive.standard_error,
                "variance": self.reconstruction.mse,
                "definition": CALIBRATION_DEFINITION,
            },
            "generative": _explained_json(self.explained),
            "bounds": {**dataclasses.asdict(self.bounds), "definition": BOUND_DEFINITION} if self.bounds else None,
            "factors": [_factor_json(factor) for factor in self.factors],
        }


def _sequence_json(sequence: SequenceScores) -> dict[str, Any]:
    return {
        "name": sequence.name,
        "frames": len(sequence.mean.psnr_db),
        "best_future": sequence.best_future,
        **{metric: {kind: sequence.frame_scores(kind, metric).tolist() for kind in KINDS} for metric in METRICS},
    }


def _drift_json(drift: Drift) -> dict[str, Any]:
    return {
        "frames": DRIFT_FRAMES,
        "last_psnr_db": drift.last_psnr_db,
        "restarted_psnr_db": drift.restarted_psnr_db,
        "difference_db": drift.difference_db,
    }


def _explained_json(explained: ExplainedError) -> dict[str, Any]:
    values = {
        "mean_mse": explained.mean_mse,
        "explained": explained.explained,
        "supplied": explained.supplied,
        "ratio": explained.ratio,
        "ratio_standard_error": explained.ratio_standard_error,
    }
    return {**finite(values), "definition": GENERATIVE_DEFINITION}


def _factor_json(factor: FactorEvidence) -> dict[str, Any]:
    """Return a factor's numbers and, of the first recording, the true path and three percentiles of the futures."""
    low, middle, high = np.percentile(factor.futures, (5, 50, 95), axis=0)
    paths = {"recorded": factor.recorded, "low": low, "middle": middle, "high": high, "one": factor.futures[0]}
    content = {
        "name": factor.name,
        "reader_r2": factor.reader_r2,
        "posterior_r2": factor.posterior_r2,
        "apart": factor.apart,
        "truth": dataclasses.asdict(factor.truth),
        "prior": dataclasses.asdict(factor.prior),
        "paths": {name: [float(f"{value:.4g}") for value in values] for name, values in paths.items()},
    }
    return finite(content)
