"""Every setting, as frozen dataclasses.

A setting is declared once, with its default, its range and its help; flags, files and the reference follow from that.
Knows no torch and no files. Next: `overrides.py`, which changes settings from a file or the command line.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from posecast.errors import InputError


def setting(default: Any, help: str, *, ge: float | None = None, le: float | None = None) -> Any:
    """A dataclass field with its sentence and its allowed range."""
    return field(default=default, metadata={"help": help, "ge": ge, "le": le})


@dataclass(frozen=True)
class Anchored:
    """Our networks: strided, anchored on a real frame."""

    widths: tuple[int, ...] = setting(
        (32, 64, 96), "Channels at each scale, finest first; multiples of 8.", ge=8, le=4096
    )
    blocks: int = setting(2, "Residual blocks at each scale of the decoder.", ge=1, le=64)
    pose_blocks: int = setting(2, "Residual blocks at each scale of the pose encoder.", ge=1, le=64)
    finest_blocks: int = setting(
        1,
        "Residual blocks at the finest scale of the encoders of frames and of the anchor; coarser ones have one.",
        ge=0,
        le=64,
    )
    patch: int = setting(2, "Pixels on a side that the first layer folds into channels.", ge=1, le=16)
    latent_channels: int = setting(8, "Channels of z.", ge=1, le=1024)
    latent_scope: Literal["spatial", "global"] = setting(
        "spatial", "What one z describes: each cell of the coarsest scale, or the whole picture."
    )
    prior: Literal["fixed", "learned", "recurrent", "stationary"] = setting(
        "fixed",
        "Prior of z: N(0, I); learned from previous frame, pose and anchor; with a recurrent state beside them; or "
        "stationary, pairs of channels that swing and forget at learned paces.",
    )
    attention: int = setting(
        0,
        "Coarsest scales, if there are so many, at which the pose asks the whole anchor, not only its own cell.",
        ge=0,
        le=16,
    )
    decoder: Literal["direct", "copy"] = setting(
        "direct", "How a picture is decoded: directly, or from the anchor's pixels that a pose finds, then changed."
    )
    pose_window: int = setting(1, "Pose maps seen on each side of the current one.", ge=0, le=16)
    feedback: Literal["frame", "none"] = setting(
        "frame",
        "What a frame is decoded from besides pose, anchor and z: the last predicted frame, or none, so that errors "
        "cannot add up and a clip is one batch.",
    )

    @property
    def stride(self) -> int:
        """Pixels on a side of one cell of the coarsest scale."""
        return self.patch * 2 ** (len(self.widths) - 1)


@dataclass(frozen=True)
class Lab4:
    """The course's networks."""

    frame_channels: int = setting(128, "Features of a frame (the course's F_dim).", ge=8, le=4096)
    pose_channels: int = setting(32, "Features of a pose map (the course's L_dim).", ge=2, le=4096)
    latent_channels: int = setting(12, "Channels of z (the course's N_dim).", ge=4, le=1024)
    fusion_channels: int = setting(192, "Features of the fused decoder (the course's D_out_dim).", ge=8, le=4096)
    posterior_sees: Literal["current", "previous"] = setting(
        "current", "The frame the posterior sees: current (the assignment) or previous (the report's code)."
    )
    output: Literal["sigmoid", "clamp", "none"] = setting(
        "sigmoid", "How the painted frame is kept within [0, 1]; none as in the original."
    )

    @property
    def stride(self) -> int:
        return 1

    @property
    def pose_window(self) -> int:
        return 0


@dataclass(frozen=True)
class Bound:
    """The evidence lower bound: its likelihood and its KL weight."""

    likelihood_variance: float | Literal["optimal"] = setting(
        "optimal",
        "Variance of the Gaussian likelihood, pixels in [0, 1]; 3072 is the course's (docs/theory.md), "
        "optimal the batch's own mean squared error.",
        ge=1e-8,
        le=1e6,
    )
    kl_schedule: Literal["constant", "monotonic", "cyclical"] = setting(
        "constant", "How the KL weight moves over epochs."
    )
    kl_peak: float = setting(1.0, "The KL weight's highest value.", ge=0.0, le=1e6)
    kl_floor: float = setting(0.0, "The KL weight where a rise starts.", ge=0.0, le=1e6)
    kl_period: float = setting(10.0, "Epochs of one cycle, or of the single monotonic rise.", ge=1e-3, le=1e9)
    kl_ramp: float = setting(1.0, "Share of the period spent rising.", ge=1e-6, le=1.0)


@dataclass(frozen=True)
class Training:
    """The training loop."""

    clip_length: int = setting(8, "Frames in a clip; the first is given, the others are predicted.", ge=2, le=100_000)
    batch_size: int = setting(8, "Clips in one update, over all processes.", ge=1, le=100_000)
    clips_per_epoch: int = setting(0, "Clips in an epoch; 0: training frames divided by clip length.", ge=0, le=10**9)
    optimizer: Literal["adamw", "adam", "muon"] = setting(
        "adamw", "Adam; Adam with decoupled weight decay; or Muon for large kernels and AdamW for the rest."
    )
    learning_rate: float = setting(2e-3, "The learning rate's highest value.", ge=1e-9, le=10.0)
    learning_rate_schedule: Literal["cosine", "milestones", "constant"] = setting(
        "cosine", "How the learning rate falls after the warm-up."
    )
    warmup_steps: int = setting(100, "Updates in which the learning rate rises from 0.", ge=0, le=10**9)
    milestones: tuple[float, ...] = setting(
        (0.5, 0.8), "Shares of all updates after which the learning rate is multiplied.", ge=0.0, le=1.0
    )
    milestone_factor: float = setting(0.1, "What a milestone multiplies the learning rate by.", ge=0.0, le=1.0)
    beta1: float = setting(0.9, "Adam's memory of gradients.", ge=0.0, le=0.999999)
    beta2: float = setting(0.95, "Adam's memory of squared gradients.", ge=0.0, le=0.999999)
    weight_decay: float = setting(0.01, "Weight decay of AdamW and Muon.", ge=0.0, le=10.0)
    max_grad_norm: float = setting(1.0, "Gradients are scaled down to this norm; 0: never.", ge=0.0, le=1e9)
    ema_decay: float = setting(
        0.999, "Share of the averaged weights kept at each update; 0: no averaging.", ge=0.0, le=0.999999
    )
    training_share: float = setting(
        1.0, "Share of the training frames that is used, counted from the first.", ge=1e-6, le=1.0
    )
    fast_epochs: int = setting(0, "The first so many epochs are fast: they see a share of the clips.", ge=0, le=10**9)
    fast_share: float = setting(
        0.4, "Share of the training frames seen in fast epochs, from the first.", ge=1e-6, le=1.0
    )
    clip_length_curriculum: tuple[float, ...] = setting(
        (1.0,),
        "Clip lengths in the order they come, as shares of --clip-length; each has as many updates. Shorter clips come "
        "in larger batches: an update has as many predictions.",
        ge=1e-6,
        le=1.0,
    )
    first_frame_dropout: float = setting(
        0.0, "Share of the clips that start from nothing: their first frame is not shown.", ge=0.0, le=1.0
    )
    prior_mean_share: float = setting(
        0.0, "Share of the clips painted from the prior's mean, as a rollout is.", ge=0.0, le=1.0
    )
    shift_prob: float = setting(0.0, "Share of the clips whose person is put elsewhere in the room.", ge=0.0, le=1.0)
    max_shift: float = setting(0.3, "The farthest a person is moved aside, as a share of the width.", ge=0.0, le=1.0)
    max_scale: float = setting(0.1, "The largest change of a moved person's size, as a share.", ge=0.0, le=1.0)
    flip_prob: float = setting(
        0.5, "Share of the moved persons that are mirrored, left limbs as right.", ge=0.0, le=1.0
    )
    pose_dropout: float = setting(0.0, "Share of the clips some of whose pose maps are blank.", ge=0.0, le=1.0)
    teacher_forcing: float = setting(0.0, "Teacher-forcing rate at the start.", ge=0.0, le=1.0)
    teacher_forcing_step: float = setting(0.0, "What an epoch of decay takes off the rate.", ge=0.0, le=1.0)
    teacher_forcing_decay_from: int = setting(0, "The first epoch of decay, counted from 0.", ge=0, le=10**9)
    teacher_forcing_coin: Literal["epoch", "batch", "frame"] = setting(
        "batch", "What one toss decides: an epoch (as in the course), a batch, or a frame."
    )
    validate_every: int = setting(
        5, "Epochs from one validation to the next; the last epoch always has one.", ge=1, le=10**9
    )
    validation_frames: int = setting(
        0, "Frames at the start of each validation recording that validation sees; 0: all.", ge=0, le=10**9
    )
    sample_every: int = setting(
        0,
        "Epochs from one picture of the validation rollout (RUN/samples/epochs) to the next; 0: none.",
        ge=0,
        le=10**9,
    )
    checkpoint_every: int = setting(
        0, "Epochs from one kept set of weights (RUN/epochs) to the next; 0: only the best.", ge=0, le=10**9
    )
    save_every_seconds: float = setting(60.0, "Seconds from one saved state to the next.", ge=0.0, le=1e9)


@dataclass(frozen=True)
class Budget:
    """Length of a training: exactly one of the three."""

    epochs: int | None = setting(None, "Train this many epochs.", ge=1, le=10**9)
    steps: int | None = setting(None, "Train this many updates.", ge=1, le=10**12)
    minutes: float | None = setting(
        None, "Train about this many minutes; the speed is measured at the start.", ge=1e-3, le=1e6
    )


@dataclass(frozen=True)
class Config:
    """Configuration of a run; with the data set and the machine it determines all."""

    recipe: str
    networks: Anchored | Lab4
    size: str = setting("32x64", "Height x width of the pictures the model sees.")
    bound: Bound = Bound()
    training: Training = Training()
    budget: Budget = Budget(minutes=15.0)
    seed: int = setting(0, "Seed of weights, clips, coins and noise.", ge=0, le=2**63 - 1)


SECTIONS = ("networks", "bound", "training", "budget")


_types = functools.cache(typing.get_type_hints)


def settings_of(section: type) -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Name, type and field of every setting of one section."""
    hints = _types(section)
    for entry in dataclasses.fields(section):
        if entry.metadata:
            yield entry.name, hints[entry.name], entry


def parse_size(text: Any) -> tuple[int, int]:
    """HEIGHTxWIDTH in pixels as two numbers.

    >>> parse_size("32x64")
    (32, 64)
    """
    parts = text.lower().split("x") if isinstance(text, str) else ()
    if len(parts) != 2 or not all(part.isdecimal() and 16 <= int(part) <= 4096 for part in parts):
        raise InputError(f"The size is {text!r}; expected HEIGHTxWIDTH, each from 16 to 4096, such as 32x64.")
    return int(parts[0]), int(parts[1])


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values, sections kept."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def flattened(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
