"""Declarations of all settings, as frozen dataclasses.

A setting is declared once, with its default, range and help; flags, settings files and the reference derive from that.
Next: `overrides.py`, which changes settings from a file or the command line.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from posecast.errors import InputError, shown


def setting(default: Any, help: str, *, ge: float | None = None, le: float | None = None) -> Any:
    """Return a dataclass field for a setting.

    Args:
        default: Default value.
        help: Sentence for `--help`.
        ge: Smallest allowed value of a number, or of each member of a tuple.
        le: Largest allowed value likewise; given together with `ge`.
    """
    return field(default=default, metadata={"help": help, "ge": ge, "le": le})


@dataclass(frozen=True)
class Anchored:
    """Settings of posecast's networks, which see an anchor, a real frame of the recording, at every step."""

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
    patch: int = setting(2, "Side length of the pixel squares that the first layer folds into channels.", ge=1, le=16)
    latent_channels: int = setting(8, "Channels of z.", ge=1, le=1024)
    latent_scope: Literal["spatial", "global"] = setting(
        "spatial", "Extent of z: one vector for each cell of the coarsest scale, or one for the whole frame."
    )
    prior: Literal["fixed", "learned", "recurrent", "stationary"] = setting(
        "fixed",
        "Prior of z: N(0, I); learned from previous frame, pose and anchor; recurrent, learned with an additional "
        "recurrent state; or stationary, pairs of channels that rotate and decay at learned rates.",
    )
    attention: int = setting(
        0,
        "Number of coarsest scales at which the pose attends to the whole anchor, not only to its own cell; limited to "
        "the number of scales.",
        ge=0,
        le=16,
    )
    decoder: Literal["direct", "copy"] = setting(
        "direct", "Decoding of a frame: directly, or by changing anchor pixels that the pose selects."
    )
    pose_window: int = setting(1, "Pose maps on each side of the current one that the networks see.", ge=0, le=16)
    feedback: Literal["frame", "none"] = setting(
        "frame",
        "Input of the decoder in addition to pose, anchor and z: the last predicted frame; or none, so that "
        "errors do not accumulate and a clip is one batch.",
    )

    @property
    def stride(self) -> int:
        """Side length in pixels of a cell of the coarsest scale."""
        return self.patch * 2 ** (len(self.widths) - 1)


@dataclass(frozen=True)
class Lab4:
    """Settings of the course's networks."""

    frame_channels: int = setting(128, "Features of a frame (the course's F_dim).", ge=8, le=4096)
    pose_channels: int = setting(32, "Features of a pose map (the course's L_dim).", ge=2, le=4096)
    latent_channels: int = setting(12, "Channels of z (the course's N_dim).", ge=4, le=1024)
    fusion_channels: int = setting(192, "Features of the decoder's fusion (the course's D_out_dim).", ge=8, le=4096)
    posterior_sees: Literal["current", "previous"] = setting(
        "current", "Frame that the posterior sees: current (the assignment) or previous (the code of the report)."
    )
    output: Literal["sigmoid", "clamp", "none"] = setting(
        "sigmoid", "Function that keeps the decoded frame within [0, 1]; none as in the original."
    )
    batchnorm: Literal["running", "batch"] = setting(
        "running",
        "Statistics of BatchNorm after training: those of the training footage, or, as in the original, which decodes "
        "one frame at a time, those of each frame alone (batch).",
    )

    @property
    def stride(self) -> int:
        """Side length in pixels that both sides of a frame must be multiples of."""
        return 1

    @property
    def pose_window(self) -> int:
        """Pose maps on each side of the current one that the networks see."""
        return 0


@dataclass(frozen=True)
class Bound:
    """Settings of the evidence lower bound: its likelihood and its KL weight."""

    likelihood_variance: float | Literal["optimal", "course"] = setting(
        "optimal",
        "Variance of the Gaussian likelihood, for pixels in [0, 1]: optimal is the mean squared error of the batch; "
        "course is half of the number of values, 3072 at 32x64 (docs/explanation/theory.md).",
        ge=1e-8,
        le=1e6,
    )
    kl_schedule: Literal["constant", "monotonic", "cyclical"] = setting(
        "constant", "Schedule of the KL weight over epochs."
    )
    kl_peak: float = setting(1.0, "Highest KL weight.", ge=0.0, le=1e6)
    kl_floor: float = setting(0.0, "KL weight at the start of a rise.", ge=0.0, le=1e6)
    kl_period: float = setting(10.0, "Epochs of a cycle, or of the single monotonic rise.", ge=1e-3, le=1e9)
    kl_ramp: float = setting(1.0, "Share of the period in which the weight rises.", ge=1e-6, le=1.0)

    def variance(self, num_values: int) -> float | None:
        """Return the variance of the likelihood of a frame with `num_values` values, or None for the optimal one."""
        if self.likelihood_variance == "optimal":
            return None
        return num_values / 2 if self.likelihood_variance == "course" else self.likelihood_variance


@dataclass(frozen=True)
class Training:
    """Settings of the training loop."""

    initial_weights: Literal["random", "dancers"] = setting(
        "random",
        "Weights to start from: random, or those of a training on synthetic dancers (random if the networks have other "
        "shapes).",
    )
    clip_length: int = setting(8, "Frames in a clip; the first is given, the others are predicted.", ge=2, le=100_000)
    batch_size: int = setting(8, "Clips in an update, over all processes.", ge=1, le=100_000)
    clips_per_epoch: int = setting(0, "Clips in an epoch; 0: training frames divided by clip length.", ge=0, le=10**9)
    optimizer: Literal["adamw", "adam", "muon"] = setting(
        "adamw", "Optimizer; muon is Muon for large kernels and AdamW for the rest."
    )
    learning_rate: float = setting(2e-3, "Highest learning rate.", ge=1e-9, le=10.0)
    learning_rate_schedule: Literal["cosine", "milestones", "constant"] = setting(
        "cosine", "Schedule of the learning rate after the warm-up."
    )
    warmup_steps: int = setting(100, "Updates over which the learning rate rises from 0.", ge=0, le=10**9)
    milestones: tuple[float, ...] = setting(
        (0.5, 0.8), "Shares of all updates after which the learning rate is multiplied.", ge=0.0, le=1.0
    )
    milestone_factor: float = setting(0.1, "Factor of the learning rate at each milestone.", ge=0.0, le=1.0)
    beta1: float = setting(0.9, "Adam's coefficient for the running mean of gradients.", ge=0.0, le=0.999999)
    beta2: float = setting(0.95, "Adam's coefficient for the running mean of squared gradients.", ge=0.0, le=0.999999)
    weight_decay: float = setting(0.01, "Weight decay of AdamW and Muon.", ge=0.0, le=10.0)
    max_grad_norm: float = setting(1.0, "Norm to which larger gradients are scaled down; 0: never.", ge=0.0, le=1e9)
    ema_decay: float = setting(
        0.999, "Share of the averaged weights kept at each update; 0: no averaging.", ge=0.0, le=0.999999
    )
    training_share: float = setting(
        1.0, "Share of the training frames to use, counted from the first.", ge=1e-6, le=1.0
    )
    fast_epochs: int = setting(0, "Number of first epochs that see only --fast-share of the frames.", ge=0, le=10**9)
    fast_share: float = setting(
        0.4, "Share of the training frames in fast epochs, counted from the first.", ge=1e-6, le=1.0
    )
    clip_length_curriculum: tuple[float, ...] = setting(
        (1.0,),
        "Successive clip lengths, as shares of --clip-length, for equal numbers of updates. Batches of shorter clips "
        "are larger, so that an update has about the same number of predictions.",
        ge=1e-6,
        le=1.0,
    )
    first_frame_dropout: float = setting(0.0, "Share of the clips whose first frame is withheld.", ge=0.0, le=1.0)
    prior_mean_share: float = setting(
        0.0, "Share of the clips decoded from the prior's mean, as in a rollout.", ge=0.0, le=1.0
    )
    shift_prob: float = setting(0.0, "Share of the clips whose person is shifted and scaled.", ge=0.0, le=1.0)
    max_shift: float = setting(0.3, "Largest shift to either side, as a share of the width.", ge=0.0, le=1.0)
    max_scale: float = setting(0.1, "Largest relative change of a shifted person's size.", ge=0.0, le=1.0)
    flip_prob: float = setting(
        0.5, "Share of the shifted persons that are mirrored, left limbs as right.", ge=0.0, le=1.0
    )
    pose_dropout: float = setting(0.0, "Share of the clips with some blank pose maps.", ge=0.0, le=1.0)
    teacher_forcing: float = setting(0.0, "Teacher-forcing rate at the start.", ge=0.0, le=1.0)
    teacher_forcing_step: float = setting(0.0, "Decrease of the rate per epoch of decay.", ge=0.0, le=1.0)
    teacher_forcing_decay_from: int = setting(0, "First epoch of decay, counted from 0.", ge=0, le=10**9)
    teacher_forcing_coin: Literal["epoch", "batch", "frame"] = setting(
        "batch", "Scope of one random decision on teacher forcing: an epoch (as in the course), a batch, or a frame."
    )
    validate_every: int = setting(5, "Epochs between validations; the last epoch always has one.", ge=1, le=10**9)
    validation_frames: int = setting(
        0, "First frames of each validation recording to validate on; 0: all.", ge=0, le=10**9
    )
    sample_every: int = setting(
        0, "Epochs between images of the validation rollout (RUN/samples/epochs); 0: none.", ge=0, le=10**9
    )
    checkpoint_every: int = setting(
        0, "Epochs between kept sets of weights (RUN/epochs); 0: only the best.", ge=0, le=10**9
    )
    save_every_seconds: float = setting(60.0, "Seconds between saved states.", ge=0.0, le=1e9)

    @property
    def clip_lengths(self) -> list[int]:
        """Frames in a clip, for each stage of the curriculum."""
        return [max(2, round(share * self.clip_length)) for share in self.clip_length_curriculum]


@dataclass(frozen=True)
class Budget:
    """Length of a training, given by exactly one of the settings."""

    epochs: int | None = setting(None, "Number of epochs to train.", ge=1, le=10**9)
    steps: int | None = setting(None, "Number of updates to train.", ge=1, le=10**12)
    minutes: float | None = setting(
        None, "Approximate training time in minutes; the speed is measured at the start.", ge=1e-3, le=1e6
    )


@dataclass(frozen=True)
class Config:
    """Configuration of a run; together with the data set and the machine it determines every result."""

    recipe: str
    networks: Anchored | Lab4
    size: str = setting("32x64", "Height and width of the frames that the model sees, in pixels.")
    bound: Bound = Bound()
    training: Training = Training()
    budget: Budget = Budget(minutes=15.0)
    seed: int = setting(0, "Seed of all random draws: weights, clips and noise.", ge=0, le=2**63 - 1)


SECTIONS = ("networks", "bound", "training", "budget")


_types = functools.cache(typing.get_type_hints)


def owners_of(config: Config) -> dict[str, Any]:
    """Return the objects that hold settings: each section by name, then the configuration itself under ""."""
    return {name: getattr(config, name) for name in SECTIONS} | {"": config}


def settings_of(section: type) -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Yield name, type and field of every setting of a section."""
    hints = _types(section)
    for entry in dataclasses.fields(section):
        if entry.metadata:
            yield entry.name, hints[entry.name], entry


def parse_size(text: Any) -> tuple[int, int]:
    """Return height and width in pixels from text such as "32x64".

    Raises:
        InputError: The text has another form, or a side is not from 16 to 4096.

    >>> parse_size("32x64")
    (32, 64)
    """
    sides = text.lower().split("x") if isinstance(text, str) else ()
    if len(sides) != 2 or not all(side.isdecimal() and len(side) < 10 and 16 <= int(side) <= 4096 for side in sides):
        raise InputError(f"The size is {shown(text)}; expected HEIGHTxWIDTH, each from 16 to 4096, such as 32x64.")
    return int(sides[0]), int(sides[1])


def to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as JSON values, in tables by section."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def flattened(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables into one, with keys joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
