"""Options of the course's template, with its names and its defaults.

Out: a frozen dataclass for its Trainer and one for its Tester; the docstring of a field is the option's help.
Next: `template.py`, which translates them into posecast commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "cuda", "mps"]
Output = Literal["sigmoid", "clamp", "none"]
PosteriorFrame = Literal["current", "previous"]


@dataclass(frozen=True, kw_only=True)
class LabOptions:
    """Options of both the Trainer and the Tester."""

    DR: Path
    """Folder of the data set."""
    device: Device = "auto"
    """Device to compute on; auto takes a GPU if there is one."""
    force: bool = False
    """Replace what posecast wrote there before."""
    dry_run: bool = False
    """Print the equivalent commands and stop."""


@dataclass(frozen=True, kw_only=True)
class LabTrain(LabOptions):
    """Options of the Trainer; those from `kl_reading` on are fixed in the template's code, or missing there."""

    save_root: Path
    """Run folder to write."""
    batch_size: int = 2
    """Clips in one update."""
    lr: float = 1e-3
    """Learning rate before the first milestone."""
    optim: Literal["Adam", "AdamW"] = "Adam"
    """Optimiser."""
    num_epoch: int = 70
    """Number of epochs."""
    per_save: int = 3
    """Epochs from one kept set of weights (save_root/epochs) to the next; 0: only the best."""
    partial: float = 1.0
    """Share of the training frames that is used, counted from the first."""
    train_vi_len: int = 16
    """Frames in a training clip."""
    val_vi_len: int = 630
    """Largest number of frames of a validation recording that are used; with --test, the number it must have."""
    frame_H: int = 32
    """Height of the images."""
    frame_W: int = 64
    """Width of the images."""
    F_dim: int = 128
    """Feature channels of a frame."""
    L_dim: int = 32
    """Feature channels of a pose map."""
    N_dim: int = 12
    """Channels of z."""
    D_out_dim: int = 192
    """Channels after decoder fusion."""
    tfr: float = 1.0
    """Teacher-forcing rate at the start: the probability that an epoch is fed true previous frames."""
    tfr_sde: int = 10
    """First epoch in which the teacher-forcing rate falls, counted from 0."""
    tfr_d_step: float = 0.1
    """Amount by which the teacher-forcing rate falls in each such epoch."""
    ckpt_path: Path | None = None
    """Weights to start from, or with --test to score: a run folder, or a checkpoint of the course's code."""
    fast_train: bool = False
    """Start with fast epochs, which use only a share of the training frames."""
    fast_partial: float = 0.4
    """With --fast_train: that share, of all training frames."""
    fast_train_epoch: int = 5
    """With --fast_train: number of fast epochs."""
    kl_anneal_type: Literal["Cyclical", "Monotonic", "Without"] = "Cyclical"
    """Rise of the KL weight: in cycles, once, or not at all."""
    kl_anneal_cycle: int = 10
    """Cycles over the run; in the reading 'report', epochs in a cycle."""
    kl_anneal_ratio: float = 1.0
    """Share of a cycle spent rising; in the reading 'report', the peak."""
    num_workers: int = 4
    """Threads that decode images while packing, which happens once. 0: one thread."""
    gpu: int = 1
    """Processes, or GPUs, that share a batch."""
    store_visualization: bool = False
    """Write an image of the validation rollout after every epoch (save_root/samples/epochs)."""
    test: bool = False
    """Do not train; score --ckpt_path on val."""
    kl_reading: Literal["fu", "report"] = "fu"
    """Meaning of cycle and ratio: fu (Fu et al. 2019, the assignment) or report (epochs in a cycle, and the peak)."""
    grad_norm: float = 1.0
    """Largest norm of a gradient; larger ones are scaled down to it. 0: no limit. The report has 0.75."""
    milestones: tuple[int, ...] = (2, 5)
    """Epochs at whose start the learning rate is divided by ten."""
    lr_schedule: Literal["milestones", "cosine", "constant"] = "milestones"
    """Fall of the learning rate; cosine trains far better than the template's milestones."""
    output: Output | None = None
    """How output is bounded. [default: sigmoid; clamp for a checkpoint of the course's code under --test]"""
    posterior_sees: PosteriorFrame = "current"
    """Frame that the posterior is fed."""
    seed: int = 0
    """Seed of weights, clips, coins and noise."""
    resume: bool = False
    """Continue where save_root stopped, with the same options; start if nothing is saved there yet."""


@dataclass(frozen=True, kw_only=True)
class LabTest(LabOptions):
    """Options of the Tester; widths are read off the checkpoint, and must agree with it where they are given."""

    save_root: Path
    """Folder for submission.csv and the GIFs."""
    ckpt_path: Path
    """Run folder, or checkpoint of the course's code, which is imported into SAVE_ROOT-run."""
    val_vi_len: int = 630
    """Number of poses that each test sequence must have."""
    frame_H: int | None = None
    """For a checkpoint of the course's code: height of the images. [default: 32]"""
    frame_W: int | None = None
    """For a checkpoint of the course's code: width of the images. [default: 64]"""
    F_dim: int | None = None
    """Feature channels of a frame; must be the checkpoint's. [default: as there]"""
    L_dim: int | None = None
    """Feature channels of a pose map; must be the checkpoint's. [default: as there]"""
    N_dim: int | None = None
    """Channels of z; must be the checkpoint's. [default: as there]"""
    D_out_dim: int | None = None
    """Channels after decoder fusion; must be the checkpoint's. [default: as there]"""
    output: Output | None = None
    """For a checkpoint of the course's code: how output is bounded. [default: clamp]"""
    posterior_sees: PosteriorFrame | None = None
    """For a checkpoint of the course's code: frame that its posterior was fed. [default: current]"""
    num_workers: int = 4
    """Threads that decode the test images. 0: one thread."""
    store_visualization: bool = False
    """Write an image of ten instants, pose and prediction, beside each GIF (save_root/pred_seq0.png, ...)."""
    test: bool = False
    """No effect; accepted because the template's scripts pass it."""
