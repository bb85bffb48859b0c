"""What the options of the course's template mean: posecast command lines that do the same.

In: the template's options. Out: words of `posecast train`, `evaluate`, `import-lab4`, `submit`, and sentences on
what surprises. Nothing here runs, and nothing knows torch.
Next: `lab4.py`, which prints what is made here; `overrides.py` turns settings into words.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from posecast.config.overrides import as_flags, change, check_whole
from posecast.config.recipes import RECIPES
from posecast.config.schema import Config
from posecast.course.template_options import LabTest, LabTrain
from posecast.errors import InputError

Words = list[str]

# Options whose value is a setting's value as it is.
SAME_VALUE = {
    "batch_size": "batch_size",
    "lr": "learning_rate",
    "num_epoch": "epochs",
    "per_save": "checkpoint_every",
    "partial": "training_share",
    "train_vi_len": "clip_length",
    "val_vi_len": "validation_frames",
    "F_dim": "frame_channels",
    "L_dim": "pose_channels",
    "N_dim": "latent_channels",
    "D_out_dim": "fusion_channels",
    "tfr": "teacher_forcing",
    "tfr_sde": "teacher_forcing_decay_from",
    "tfr_d_step": "teacher_forcing_step",
    "grad_norm": "max_grad_norm",
    "posterior_sees": "posterior_sees",
    "seed": "seed",
}


def train_words(options: LabTrain) -> Words:
    """The `posecast train` that does what the template's options say. Raises InputError, naming the option.

    >>> words = train_words(LabTrain(DR=Path("data"), save_root=Path("run"), num_epoch=1, tfr=0.0))
    >>> words[:7]
    ['train', '--data', 'data', '--out', 'run', '--recipe', 'lab4']
    """
    words = ["train", "--data", str(options.DR), "--out", str(options.save_root), *as_flags(train_config(options))]
    words += ["--from", str(options.ckpt_path)] if options.ckpt_path else []
    words += [*on_device(options), "--threads", str(options.num_workers or 1)]
    words += ["--devices", str(options.gpu)] if options.gpu != 1 else []
    return words + ["--resume"] * options.resume + ["--force"] * options.force


def train_config(options: LabTrain) -> Config:
    """The whole configuration that the options mean. Raises InputError, naming the option."""
    config = RECIPES["lab4"]
    for option, setting in SAME_VALUE.items():
        config = change(config, {setting: getattr(options, option)}, f"--{option}")
    for option, settings in translated(options).items():
        config = change(config, settings, f"--{option}")
    check_whole(config)
    return config


def translated(options: LabTrain) -> dict[str, dict[str, Any]]:
    """By option, the settings whose values differ from the option's own."""
    height, width = options.frame_H, options.frame_W
    return {
        # Mean squared error plus beta x summed KL is the bound at this variance (docs/theory.md).
        "frame_H": {"size": f"{height}x{width}", "likelihood_variance": 3 * height * width / 2},
        "optim": {"optimizer": options.optim.lower()},
        "tfr": {"teacher_forcing_coin": "epoch"},
        "fast_train": fast_settings(options),
        "kl_anneal_type": kl_settings(options),
        "lr_schedule": learning_rate_settings(options),
        "output": {"output": options.output or "sigmoid"},
        "store_visualization": {"sample_every": int(options.store_visualization), "validate_every": 1},
    }


def fast_settings(options: LabTrain) -> dict[str, Any]:
    """The template's share is of all frames, ours is of those that training sees."""
    if not options.fast_train:
        return {}
    if options.fast_partial > options.partial:
        raise InputError(
            f"--fast_partial is {options.fast_partial:g} but --partial only {options.partial:g}; expected fast epochs "
            "to see a share of what the others see, so lower --fast_partial."
        )
    return {"fast_epochs": options.fast_train_epoch, "fast_share": options.fast_partial / options.partial}


def kl_settings(options: LabTrain) -> dict[str, Any]:
    """The KL weight over epochs, in the reading that was chosen."""
    cycle, ratio = options.kl_anneal_cycle, options.kl_anneal_ratio
    if options.kl_anneal_type == "Without":
        return {"kl_schedule": "constant", "kl_peak": 1.0}
    if cycle < 1:
        raise InputError(f"--kl_anneal_cycle is {cycle}; expected a number from 1, or --kl_anneal_type Without.")
    if options.kl_reading == "report":
        return kl_settings_of_the_report(options.kl_anneal_type, cycle, ratio)
    if not 0 < ratio <= 1:
        raise InputError(
            f"--kl_anneal_ratio is {ratio:g}; expected the share of a cycle spent rising, above 0 and at most 1. "
            "With --kl_reading report it is the peak."
        )
    num_cycles = cycle if options.kl_anneal_type == "Cyclical" else 1
    return {"kl_schedule": "cyclical", "kl_period": options.num_epoch / num_cycles, "kl_ramp": ratio, "kl_peak": 1.0}


def kl_settings_of_the_report(kind: str, cycle: int, ratio: float) -> dict[str, Any]:
    """beta = min(1, (epoch mod cycle) / cycle x ratio); monotonic the same without the mod."""
    if not ratio > 0:
        return {"kl_schedule": "constant", "kl_peak": 0.0}
    if kind == "Monotonic":
        return {"kl_schedule": "monotonic", "kl_period": cycle / ratio, "kl_ramp": 1.0, "kl_peak": 1.0}
    return {"kl_schedule": "cyclical", "kl_period": cycle, "kl_ramp": min(1.0, 1 / ratio), "kl_peak": min(1.0, ratio)}


def learning_rate_settings(options: LabTrain) -> dict[str, Any]:
    """Milestones are epochs there and shares of all updates here; those beyond the end are never reached."""
    if options.lr_schedule != "milestones":
        return {"learning_rate_schedule": options.lr_schedule}
    shares = [share_before(options, epoch) for epoch in options.milestones if epoch < options.num_epoch]
    if not shares:
        return {"learning_rate_schedule": "constant"}
    return {"learning_rate_schedule": "milestones", "milestones": shares}


def share_before(options: LabTrain, epoch: int) -> float:
    """The share of all updates that come before an epoch; a fast epoch has fast_partial of an ordinary one's.

    A hair too small, since rounding up would miss the epoch's first update. With fast epochs it is as exact as an
    epoch's whole batches are: a few updates.
    """

    def before(number: int) -> float:
        fast = min(number, options.fast_train_epoch) if options.fast_train else 0
        return fast * options.fast_partial / options.partial + number - fast

    return max(0, math.ceil(1e9 * before(epoch) / before(options.num_epoch)) - 1) / 1e9


def evaluate_words(options: LabTrain) -> list[Words]:
    """What --test means: the checkpoint imported if it is the course's, then scored on val. Raises InputError."""
    if options.ckpt_path is None:
        raise InputError("--test scores trained weights; name a run folder or a checkpoint with --ckpt_path.")
    size, place = f"{options.frame_H}x{options.frame_W}", options.save_root / "imported"
    run, importing = as_run(options.ckpt_path, place, size, options.output, options.posterior_sees, force=options.force)
    words = ["evaluate", str(run), "--data", str(options.DR), *on_device(options)]
    return [*importing, words + (["--seed", str(options.seed)] if options.seed else [])]


def submit_words(options: LabTest) -> list[Words]:
    """What `lab4 test` means: the checkpoint imported if it is the course's, then a submission. Raises InputError.

    >>> submit_words(LabTest(DR=Path("data"), save_root=Path("out"), ckpt_path=Path("epoch=9.ckpt")))[0][:4]
    ['import-lab4', 'epoch=9.ckpt', '--out', 'out-run']
    """
    if options.ckpt_path.is_dir() and (options.output or options.posterior_sees):
        raise InputError(
            f"{options.ckpt_path} is a run, which knows its own; leave --output and --posterior_sees out: they "
            "describe a checkpoint of the course's code."
        )
    size = f"{options.frame_H or 32}x{options.frame_W or 64}"
    place = Path(f"{options.save_root}-run")
    run, importing = as_run(
        options.ckpt_path, place, size, options.output, options.posterior_sees or "current", force=options.force
    )
    words = ["submit", str(run), "--data", str(options.DR), "--out", str(options.save_root), *on_device(options)]
    words += ["--threads", str(options.num_workers or 1)]
    return [*importing, words + ["--strips"] * options.store_visualization + ["--force"] * options.force]


def as_run(
    checkpoint: Path, place: Path, size: str, output: str | None, posterior_sees: str, *, force: bool
) -> tuple[Path, list[Words]]:
    """A run folder as it is; anything else imported into `place`, by the words returned beside it."""
    if checkpoint.is_dir():
        return checkpoint, []
    words = ["import-lab4", str(checkpoint), "--out", str(place), "--size", size]
    words += ["--output", output or "clamp", "--posterior-sees", posterior_sees]
    return place, [words + ["--force"] * force]


def on_device(options: LabTrain | LabTest) -> Words:
    return ["--device", options.device] if options.device != "auto" else []


def notes(options: LabTrain) -> list[str]:
    """What a student should know before training starts: how the KL options were read, and the template's traps."""
    said = [kl_note(options)]
    epochs = sorted(epoch for epoch in options.milestones if epoch < options.num_epoch)
    rates = [f"{options.lr * 0.1**n:g} from epoch {epoch}" for n, epoch in enumerate(epochs, start=1)]
    if options.lr_schedule == "milestones" and rates:
        said.append(
            f"As in the template, the learning rate is {', '.join(rates)} on; --lr_schedule cosine trains far better."
        )
    if options.tfr > 0:
        said.append(
            "Teacher forcing hides from the networks what they will see when they are tested, their own "
            "predictions; --tfr 0 scores far better."
        )
    if options.ckpt_path and not options.resume:
        said.append("--ckpt_path gives the weights; optimiser and schedules begin anew. To go on exactly: --resume.")
    if options.ckpt_path and not options.ckpt_path.is_dir():
        said.append(output_note(options.output or "sigmoid"))
    return said


def kl_note(options: LabTrain) -> str:
    """The KL weight in a sentence, and the name of the reading."""
    cycle, ratio = options.kl_anneal_cycle, options.kl_anneal_ratio
    again = options.kl_anneal_type == "Cyclical"
    if options.kl_anneal_type == "Without":
        return "The KL weight is 1 throughout."
    if options.kl_reading == "report":
        share = f"(epoch mod {cycle})" if again else "epoch"
        return (
            f"--kl_reading report: the KL weight is min(1, {share} / {cycle} x {ratio:g}), so --kl_anneal_cycle counts "
            "epochs. In the other reading, fu, it counts cycles, and the ratio is the share of one spent rising."
        )
    times = f"in each of {cycle} cycles of {options.num_epoch / cycle:g} epochs" if again else "once"
    part = f"{'the whole' if ratio == 1 else f'the first {ratio:.0%} of the'} {'cycle' if again else 'run'}"
    stays = " No cycle is longer than an epoch here, so it stays 0." if again and options.num_epoch <= cycle else ""
    return (
        f"--kl_reading fu: the KL weight rises from 0 to 1 {times}, over {part}.{stays} "
        "In the other reading, report, --kl_anneal_cycle counts epochs, and the ratio is the peak."
    )


def output_note(output: str) -> str:
    """What no checkpoint says of itself."""
    return (
        f"A final Sigmoid leaves no trace in a checkpoint; this one is taken to end in: {output}. "
        "If its Generator ends otherwise, say so with --output sigmoid, clamp or none."
    )
