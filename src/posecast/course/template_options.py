"""The options of the course's template, under its own names and with its own defaults.

In: nothing. Out: two frozen dataclasses, one for its Trainer and one for its Tester; the sentence under a field is
its help. Next: `template.py`, which says in our words what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "cuda", "mps"]
Output = Literal["sigmoid", "clamp", "none"]
Seen = Literal["current", "previous"]


@dataclass(frozen=True, kw_only=True)
class LabTrain:
    """What the template's Trainer takes; from `kl_reading` on, what it has fixed in its code or lacks."""

    DR: Path
    """The data set's folder."""
    save_root: Path
    """Where to write the run."""
    batch_size: int = 2
    """Clips in one update."""
    lr: float = 1e-3
    """Learning rate before the first milestone."""
    optim: Literal["Adam", "AdamW"] = "Adam"
    """Optimiser."""
    num_epoch: int = 70
    """Epochs."""
    per_save: int = 3
    """Epochs from one kept set of weights (save_root/epochs) to the next; 0: only the best."""
    partial: float = 1.0
    """Share of the training frames that is used, from the first."""
    train_vi_len: int = 16
    """Frames in a training clip."""
    val_vi_len: int = 630
    """Frames of a validation recording that validation sees, at most; with --test, how many it must have."""
    frame_H: int = 32
    """Height of the pictures."""
    frame_W: int = 64
    """Width of the pictures."""
    F_dim: int = 128
    """Features of a frame."""
    L_dim: int = 32
    """Features of a pose map."""
    N_dim: int = 12
    """Channels of z."""
    D_out_dim: int = 192
    """Features of the fused decoder."""
    tfr: float = 1.0
    """Teacher-forcing rate at the start: how likely an epoch is fed true previous frames."""
    tfr_sde: int = 10
    """First epoch in which the teacher-forcing rate falls, counted from 0."""
    tfr_d_step: float = 0.1
    """What such an epoch takes off the teacher-forcing rate."""
    ckpt_path: Path | None = None
    """Weights to start from, or with --test to judge: a run folder, or a checkpoint of the course's code."""
    fast_train: bool = False
    """Begin with fast epochs, which see only a share of the training frames."""
    fast_partial: float = 0.4
    """With --fast_train: that share, of all training frames."""
    fast_train_epoch: int = 5
    """With --fast_train: how many epochs are fast."""
    kl_anneal_type: Literal["Cyclical", "Monotonic", "Without"] = "Cyclical"
    """How the KL weight rises: again and again, once, or not at all."""
    kl_anneal_cycle: int = 10
    """Cycles over the run; in the reading 'report', epochs in a cycle."""
    kl_anneal_ratio: float = 1.0
    """Share of a cycle spent rising; in the reading 'report', the peak."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    num_workers: int = 4
    """Threads that decode pictures while packing, once; training reads no PNG. 0: one."""
    gpu: int = 1
    """Processes, or GPUs, that share a batch."""
    store_visualization: bool = False
    """Write a picture of the validation rollout after every epoch (save_root/samples/epochs)."""
    test: bool = False
    """Train nothing: score --ckpt_path on val."""
    kl_reading: Literal["fu", "report"] = "fu"
    """What cycle and ratio mean: fu (Fu et al. 2019, the assignment) or report (epochs in a cycle, and the peak)."""
    grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0: never. The report has 0.75."""
    milestones: tuple[int, ...] = (2, 5)
    """Epochs from which on the learning rate is a tenth of what it was."""
    lr_schedule: Literal["milestones", "cosine", "constant"] = "milestones"
    """How the learning rate falls; cosine trains far better than the template's milestones."""
    output: Output | None = None
    """How pictures are bounded. [default: sigmoid; clamp for a checkpoint of the course's code under --test]"""
    posterior_sees: Seen = "current"
    """The frame that the posterior is fed."""
    seed: int = 0
    """Seed of weights, clips, coins and noise."""
    resume: bool = False
    """Go on where save_root stopped, with the same options; start if nothing was saved there yet."""
    force: bool = False
    """Replace what posecast wrote there before."""
    dry_run: bool = False
    """Print the equivalent command and stop."""


@dataclass(frozen=True, kw_only=True)
class LabTest:
    """What the template's Tester takes; networks' widths are read off the checkpoint, and checked where given."""

    DR: Path
    """The data set's folder."""
    save_root: Path
    """Where to write submission.csv and the GIFs."""
    ckpt_path: Path
    """A run folder, or a checkpoint of the course's code, which is imported into SAVE_ROOT-run."""
    val_vi_len: int = 630
    """Poses that each test sequence must have."""
    frame_H: int | None = None
    """For a checkpoint of the course's code: height of the pictures. [default: 32]"""
    frame_W: int | None = None
    """For a checkpoint of the course's code: width of the pictures. [default: 64]"""
    F_dim: int | None = None
    """Features of a frame; must be the checkpoint's. [default: as there]"""
    L_dim: int | None = None
    """Features of a pose map; must be the checkpoint's. [default: as there]"""
    N_dim: int | None = None
    """Channels of z; must be the checkpoint's. [default: as there]"""
    D_out_dim: int | None = None
    """Features of the fused decoder; must be the checkpoint's. [default: as there]"""
    output: Output | None = None
    """For a checkpoint of the course's code: how its pictures are bounded. [default: clamp]"""
    posterior_sees: Seen | None = None
    """For a checkpoint of the course's code: the frame its posterior was fed. [default: current]"""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    num_workers: int = 4
    """Threads that decode the test pictures. 0: one."""
    store_visualization: bool = False
    """Write a picture of ten instants, pose and prediction, beside each GIF (save_root/pred_seq0.png, ...)."""
    test: bool = False
    """Changes nothing, since testing is what this command does; taken so that a script may go on passing it."""
    force: bool = False
    """Replace what posecast wrote there before."""
    dry_run: bool = False
    """Print the equivalent commands and stop."""
