"""Parity of exported graphs: a rollout by ONNX Runtime against the same rollout by torch.

In: a predictor and its graphs. Out: PSNR and largest difference over a dance, mean and one sampled future.
Next: `onnx_folder.py` refuses to export graphs that differ.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch

from posecast.config.schema import parse_size
from posecast.data.dancer.dance import dance
from posecast.errors import InputError
from posecast.model.device import processor_name
from posecast.model.draws import future_generators
from posecast.model.onnx_rollout import OnnxRollout
from posecast.model.predictor import Predictor
from posecast.model.rollout import rollout_together
from posecast.model.rollout_input import RolloutInput

FRAMES = 100
LEAST_PSNR_DB = 60.0
"""Graphs whose frames are farther than this from torch's are refused."""


@dataclass(frozen=True)
class Parity:
    """Difference of two rollouts of the synthetic dancer, over all frames of the prior mean and of one future."""

    frames: int
    psnr_db: float
    """-10 log10 of the mean squared difference of values in [0, 1], not rounded to pixels."""
    largest_difference: float
    torch: str
    runtime: str
    processor: str

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def sentence(self) -> str:
        """Return the result as one line."""
        return (
            f"parity: {self.psnr_db:.1f} dB, largest difference {self.largest_difference:.1e}, over {self.frames} "
            f"frames ({self.runtime} against torch {self.torch})"
        )


def measure_parity(predictor: Predictor, graphs: OnnxRollout) -> Parity:
    """Compare rollouts of graphs with those of the predictor they were made from, both in float32.

    Raises:
        InputError: They differ by more than rounding.
    """
    recording = dance(FRAMES + 1, size=parse_size(predictor.config.size)).recording
    inputs = [RolloutInput(recording.frames[0], recording.poses)]
    squares, largest, count = 0.0, 0.0, 0
    for num_futures in (0, 1):
        generators = [future_generators(0, 0, range(num_futures)) or None for _ in range(2)]
        pairs = itertools.zip_longest(
            rollout_together(predictor, inputs, generators=generators[0]),
            graphs.frames(inputs, generators[1], len(recording)),
        )
        for ours, theirs in pairs:
            difference = (ours.cpu() - theirs).double()
            squares += float(difference.square().mean())
            largest = max(largest, float(difference.abs().max()))
            count += 1
    psnr_db = -10.0 * math.log10(max(squares / count, 1e-20)) if math.isfinite(squares) else -math.inf
    if not psnr_db >= LEAST_PSNR_DB:
        raise InputError(
            f"The exported graphs differ from torch by more than rounding ({psnr_db:.1f} dB; expected at least "
            f"{LEAST_PSNR_DB:.0f}); use torch on this machine, and report it."
        )
    version = torch.__version__.partition("+")[0]
    return Parity(FRAMES, psnr_db, largest, version, graphs.version, processor_name())
