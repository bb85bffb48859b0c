"""The content of scores.json: scores of frames, of sequences, of a run.

In: figures that were measured. Out: `Scores`, and its JSON. Computes no rollout. Next: `evaluate.py` fills it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from posecast.evaluation.calibration import CALIBRATION_DEFINITION, LEVELS, expected_best
from posecast.evaluation.factor_probe import FactorEvidence
from posecast.evaluation.metrics import PSNR_DEFINITION, SSIM_DEFINITION
from posecast.evaluation.posterior import (
    ACTIVE_UNITS_DEFINITION,
    BOUND_DEFINITION,
    RECONSTRUCTION_NOTE,
    Bounds,
    Reconstruction,
)

DRIFT_FRAMES = 100


@dataclass(frozen=True)
class FrameScores:
    """PSNR in dB and SSIM of every frame."""

    psnr_db: Float[np.ndarray, " T"]
    ssim: Float[np.ndarray, " T"]


@dataclass(frozen=True)
class SequenceScores:
    """One sequence: frames 2..T scored for the prior's mean, the average of N futures, and the best of them."""

    name: str
    mean: FrameScores
    sample: FrameScores
    best: FrameScores
    best_future: int
    futures_psnr_db: Float[np.ndarray, " N"]
    """Mean over frames of each future."""


@dataclass(frozen=True)
class Drift:
    """The last frames of a rollout against the same frames rolled out anew from the truth before them."""

    last_psnr_db: float
    restarted_psnr_db: float

    @property
    def difference_db(self) -> float:
        """What errors in earlier frames have cost by the end."""
        return self.restarted_psnr_db - self.last_psnr_db


@dataclass(frozen=True)
class Scores:
    """All that scores.json holds; PSNR in dB."""

    split: str
    selected_on: str
    seed: int
    futures: int
    sequences: Sequence[SequenceScores]
    reconstruction: Reconstruction
    drift: Drift | None
    baselines: dict[str, float | None]
    spread: Sequence[float]
    """At each of LEVELS, how often the truth lies within the futures' central interval."""
    predictive: Sequence[float]
    """The same with the likelihood's variance around every future."""
    bounds: Bounds | None
    """On the first recording; None where it was not asked for."""
    factors: Sequence[FactorEvidence]
    """Empty where the data set has no recorded factors."""

    def summary(self, kind: str, metric: str) -> float:
        """Mean over frames, then over sequences; `kind` is mean, sample or best, `metric` psnr_db or ssim."""
        return float(np.mean([getattr(getattr(one, kind), metric).mean() for one in self.sequences]))

    def best_of(self) -> list[float]:
        """PSNR of the best of n futures, expected over which n of them, for n = 1..N; mean over sequences."""
        return np.mean([expected_best(one.futures_psnr_db) for one in self.sequences], axis=0).tolist()

    def as_json(self) -> dict[str, Any]:
        """The contract of scores.json; `latent`, `drift`, `seed` and the evidence about z stand beside it."""
        kinds = ("mean", "sample", "best")
        per_metric = {metric: {kind: self.summary(kind, metric) for kind in kinds} for metric in ("psnr_db", "ssim")}
        return {
            "split": self.split,
            "selected_on": self.selected_on,
            "seed": self.seed,
            "psnr": PSNR_DEFINITION,
            "ssim": SSIM_DEFINITION,
            "sequences": [
                {
                    "name": one.name,
                    "frames": len(one.mean.psnr_db),
                    "best_future": one.best_future,
                    **{
                        metric: {kind: getattr(getattr(one, kind), metric).tolist() for kind in kinds}
                        for metric in ("psnr_db", "ssim")
                    },
                }
                for one in self.sequences
            ],
            "summary": {**per_metric, "futures": self.futures},
            "reconstruction": {"psnr_db": self.reconstruction.psnr_db, "note": RECONSTRUCTION_NOTE},
            "latent": {
                "rate_nats": self.reconstruction.rate_nats,
                "active_units": self.reconstruction.active_units,
                "units": self.reconstruction.num_units,
                "active": ACTIVE_UNITS_DEFINITION,
            },
            "drift": None
            if self.drift is None
            else {
                "frames": DRIFT_FRAMES,
                "last_psnr_db": self.drift.last_psnr_db,
                "restarted_psnr_db": self.drift.restarted_psnr_db,
                "difference_db": self.drift.difference_db,
            },
            "baselines": self.baselines,
            "best_of": self.best_of(),
            "calibration": {
                "levels": list(LEVELS),
                "spread": list(self.spread),
                "predictive": list(self.predictive),
                "variance": self.reconstruction.mse,
                "definition": CALIBRATION_DEFINITION,
            },
            "bounds": {**dataclasses.asdict(self.bounds), "definition": BOUND_DEFINITION} if self.bounds else None,
            "factors": [factor_json(one) for one in self.factors],
        }


def factor_json(one: FactorEvidence) -> dict[str, Any]:
    """Figures, and the paths of the first recording: true, and the 5th, 50th and 95th percentile of the futures.

    What could not be read is null.
    """
    low, middle, high = np.percentile(one.futures, (5, 50, 95), axis=0)
    paths = {"recorded": one.recorded, "low": low, "middle": middle, "high": high, "one": one.futures[0]}
    return {
        "name": one.name,
        "reader_r2": known(one.reader_r2),
        "posterior_r2": known(one.posterior_r2),
        "apart": known(one.apart),
        "truth": {name: known(value) for name, value in dataclasses.asdict(one.truth).items()},
        "prior": {name: known(value) for name, value in dataclasses.asdict(one.prior).items()},
        "paths": {name: [known(float(f"{value:.4g}")) for value in values] for name, values in paths.items()},
    }


def known(value: float) -> float | None:
    """JSON has no NaN."""
    return value if np.isfinite(value) else None
