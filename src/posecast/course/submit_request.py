"""Request of `posecast submit`.

The fields are the command's options, and their docstrings its help, so that this module imports nothing heavy.
Next: `submission.py`, which carries out the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SubmitRequest:
    """Submission to write: its data set, its folder, and how the test sequences are predicted."""

    data: Path
    """Data set in the course's layout: folders train, val and test."""
    out: Path
    """Output folder. Files that posecast did not write are never overwritten."""
    latent: Literal["mean", "sample"] = "mean"
    """The prior mean, or z sampled from the prior."""
    seed: int = 0
    """Seed of the noise; the same seed gives the same bytes."""
    strict: bool = False
    """Refuse any test split that differs from the course's: 5 sequences, 630 poses each, images of 32x64."""
    strips: bool = False
    """Write an image of ten instants, pose and prediction, beside each GIF: pred_seq0.png, ..."""
    threads: int | None = None
    """Threads that decode the images; if not given, one per core."""
    force: bool = False
    """Replace what posecast wrote there before."""
