"""Translation of the options of the course's template into posecast commands.

In: the template's options. Out: words of `posecast train`, `evaluate`, `import-lab4` and `submit`, and notes for the
student. Imports no torch. Next: `cli/lab4.py`, which prints the commands; `config/overrides.py`, which turns settings
into words.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from posecast.config.overrides import as_flags, change, check_whole
from posecast.config.recipes import RECIPES
from posecast.config.schema import Config
from posecast.course.template_options import LabOptions, LabTest, LabTrain
from posecast.errors import InputError

Words = list[str]
"""A command line without the program's name."""

# Options with a setting that takes the same value.
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
    "tfr_d_step": "teacher_forcing_step",
    "posterior_sees": "posterior_sees",
    "seed": "seed",
}


def train_words(options: LabTrain) -> Words:
    """Return the `posecast train` command that does what the template's options say.

    Raises:
        InputError: If a value is out of range; the message names the option.

    >>> words = train_words(LabTrain(DR=Path("data"), save_root=Path("run"), num_epoch=1, tfr=0.0))
    >>> words[:7]
    ['train', '--data', 'data', '--out', 'run', '--recipe', 'lab4']
    """
    words = ["train", "--data", path_word(options.DR), "--out", path_word(options.save_root)]
    words += as_flags(train_config(options))
    words += ["--from", path_word(options.ckpt_path)] if options.ckpt_path else []
    words += [*device_words(options), "--threads", str(options.num_workers or 1)]
    words += ["--devices", str(options.gpu)] if options.gpu != 1 else []
    return words + ["--resume"] * options.resume + ["--force"] * options.force


def train_config(options: LabTrain) -> Config:
    """Return the complete configuration that the options describe.

    Raises:
        InputError: If a value is out of range; the message names the option.
    """
    config = RECIPES["lab4"]
    for option, setting in SAME_VALUE.items():
        config = change(config, {setting: getattr(options, option)}, f"--{option}")
    for option, settings in translated_settings(options).items():
        config = change(config, settings, f"--{option}")
    check_whole(config)
    return config


def translated_settings(options: LabTrain) -> dict[str, dict[str, Any]]:
    """Return, by option, the settings that take another value than the option itself."""
    return {
        "frame_H": {"size": f"{options.frame_H}x{options.frame_W}"},
        "optim": {"optimizer": options.optim.lower()},
        "tfr": {"teacher_forcing_coin": "epoch"},
        "tfr_sde": {"teacher_forcing_decay_from": max(1, options.tfr_sde)},  # the template never lowers epoch 0
        # The template limits the gradient of a sum over a clip's predicted frames; ours is that of their mean.
        "grad_norm": {"max_grad_norm": options.grad_norm / (options.train_vi_len - 1)},
        "fast_train": fast_settings(options),
        "kl_anneal_type": kl_settings(options),
        "lr_schedule": learning_rate_settings(options),
        "output": {"output": options.output or "sigmoid"},
        "store_visualization": {"sample_every": int(options.store_visualization), "validate_every": 1},
    }


def fast_settings(options: LabTrain) -> dict[str, Any]:
    """Return the settings of fast epochs; the template's share is of all frames, that of posecast of those in use."""
    if not options.fast_train:
        return {}
    if options.fast_partial > options.partial:
        raise InputError(
            f"--fast_partial is {options.fast_partial:g} but --partial is only {options.partial:g}; expected fast "
            "epochs to use a part of what the others use, so lower --fast_partial."
        )
    return {"fast_epochs": num_fast_epochs(options), "fast_share": options.fast_partial / options.partial}


def num_fast_epochs(options: LabTrain) -> int:
    """Return the number of fast epochs: two more than the option says, as in the template.

    The template ends them in the first epoch whose number, from 0, exceeds the option, and only after it has loaded
    that epoch's data.
    """
    return options.fast_train_epoch + 2 if options.fast_train else 0


def kl_settings(options: LabTrain) -> dict[str, Any]:
    """Return the settings of the KL weight, in the reading that was chosen."""
    cycle, ratio = options.kl_anneal_cycle, options.kl_anneal_ratio
    if options.kl_anneal_type == "Without":
        return {"kl_schedule": "constant", "kl_peak": 1.0}
    if cycle < 1:
        raise InputError(f"--kl_anneal_cycle is {cycle}; expected a number from 1, or --kl_anneal_type Without.")
    if options.kl_reading == "report":
        return report_kl_settings(options.kl_anneal_type, cycle, ratio)
    if not 0 < ratio <= 1:
        raise InputError(
            f"--kl_anneal_ratio is {ratio:g}; expected the share of a cycle spent rising, above 0 and at most 1. "
            "With --kl_reading report it is the peak."
        )
    num_cycles = cycle if options.kl_anneal_type == "Cyclical" else 1
    return {"kl_schedule": "cyclical", "kl_period": options.num_epoch / num_cycles, "kl_ramp": ratio, "kl_peak": 1.0}


def report_kl_settings(anneal_type: str, cycle: int, ratio: float) -> dict[str, Any]:
    """Return the report's schedule: min(1, (epoch mod cycle) / cycle * ratio), for monotonic without the modulus."""
    if not ratio > 0:
        return {"kl_schedule": "constant", "kl_peak": 0.0}
    if anneal_type == "Monotonic":
        return {"kl_schedule": "monotonic", "kl_period": cycle / ratio, "kl_ramp": 1.0, "kl_peak": 1.0}
    return {"kl_schedule": "cyclical", "kl_period": cycle, "kl_ramp": min(1.0, 1 / ratio), "kl_peak": min(1.0, ratio)}


def learning_rate_settings(options: LabTrain) -> dict[str, Any]:
    """Return the settings of the learning rate; milestones in epochs become shares of all updates."""
    if options.lr_schedule != "milestones":
        return {"learning_rate_schedule": options.lr_schedule}
    shares = [share_before(options, epoch) for epoch in options.milestones if epoch < options.num_epoch]
    if not shares:
        return {"learning_rate_schedule": "constant"}
    return {"learning_rate_schedule": "milestones", "milestones": shares}


def share_before(options: LabTrain, epoch: int) -> float:
    """Return the share of all updates that come before an epoch; a fast epoch has only a part of the usual updates.

    The result is rounded down, because rounding up would miss the epoch's first update. With fast epochs it is off
    by a few updates, because epochs consist of complete batches.
    """

    def usual_epochs(num_epochs: int) -> float:
        fast = min(num_epochs, num_fast_epochs(options))
        return fast * options.fast_partial / options.partial + num_epochs - fast

    return max(0, math.ceil(1e9 * usual_epochs(epoch) / usual_epochs(options.num_epoch)) - 1) / 1e9


def evaluate_words(options: LabTrain) -> list[Words]:
    """Return the commands for --test: import the checkpoint if it is the course's, then score it on val.

    Raises:
        InputError: If no checkpoint was given.
    """
    if options.ckpt_path is None:
        raise InputError("--test scores trained weights; name a run folder or a checkpoint with --ckpt_path.")
    size, folder = f"{options.frame_H}x{options.frame_W}", options.save_root / "imported"
    run, importing = imported_run(
        options.ckpt_path, folder, size, options.output, options.posterior_sees, force=options.force
    )
    words = ["evaluate", path_word(run), "--data", path_word(options.DR), *device_words(options)]
    return [*importing, words + (["--seed", str(options.seed)] if options.seed else [])]


def submit_words(options: LabTest) -> list[Words]:
    """Return the commands for `lab4 test`: import the checkpoint if it is the course's, then write a submission.

    Raises:
        InputError: If options that describe a checkpoint of the course's code are given for a run.

    >>> submit_words(LabTest(DR=Path("data"), save_root=Path("out"), ckpt_path=Path("epoch=9.ckpt")))[0][:4]
    ['import-lab4', 'epoch=9.ckpt', '--out', 'out-run']
    """
    if options.ckpt_path.is_dir() and (options.output or options.posterior_sees):
        raise InputError(
            f"{options.ckpt_path} is a run, whose configuration has both; leave --output and --posterior_sees out: "
            "they describe a checkpoint of the course's code."
        )
    size = f"{options.frame_H or 32}x{options.frame_W or 64}"
    folder = Path(f"{options.save_root}-run")
    run, importing = imported_run(
        options.ckpt_path, folder, size, options.output, options.posterior_sees or "current", force=options.force
    )
    words = ["submit", path_word(run), "--data", path_word(options.DR), "--out", path_word(options.save_root)]
    words += [*device_words(options), "--threads", str(options.num_workers or 1)]
    return [*importing, words + ["--strips"] * options.store_visualization + ["--force"] * options.force]


def imported_run(
    checkpoint: Path, folder: Path, size: str, output: str | None, posterior_sees: str, *, force: bool
) -> tuple[Path, list[Words]]:
    """Return the run of a checkpoint, and the command that imports it into `folder` unless it is a run already."""
    if checkpoint.is_dir():
        return checkpoint, []
    words = ["import-lab4", path_word(checkpoint), "--out", path_word(folder), "--size", size]
    words += ["--output", output or "clamp", "--posterior-sees", posterior_sees]
    words += ["--batchnorm", "batch"]  # the template never leaves training mode
    return folder, [words + ["--force"] * force]


def path_word(path: Path) -> str:
    """Return a path as a word that no command takes for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def device_words(options: LabOptions) -> Words:
    """Return the option --device, unless it has its default."""
    return ["--device", options.device] if options.device != "auto" else []


def notes(options: LabTrain) -> list[str]:
    """Return sentences on the reading of the KL options, and on defaults of the template that harm training."""
    sentences = [kl_note(options)]
    epochs = sorted(epoch for epoch in options.milestones if epoch < options.num_epoch)
    rates = [f"{options.lr * 0.1**n:g} from epoch {epoch}" for n, epoch in enumerate(epochs, start=1)]
    if options.lr_schedule == "milestones" and rates:
        sentences.append(
            f"As in the template, the learning rate is {', '.join(rates)} on; --lr_schedule cosine trains far better."
        )
    if options.tfr > 0:
        sentences.append(
            "With teacher forcing the networks are not trained on their own predictions, which they are fed when they "
            "are tested; --tfr 0 scores far better."
        )
    if options.ckpt_path and not options.resume:
        sentences.append(
            "--ckpt_path gives the weights only; optimiser and schedules start from the beginning. To continue a run "
            "exactly, use --resume."
        )
    if options.ckpt_path and not options.ckpt_path.is_dir():
        sentences.append(output_note(options.output or "sigmoid"))
    return sentences


def kl_note(options: LabTrain) -> str:
    """Return a sentence on the KL weight that names the reading."""
    cycle, ratio = options.kl_anneal_cycle, options.kl_anneal_ratio
    is_cyclical = options.kl_anneal_type == "Cyclical"
    if options.kl_anneal_type == "Without":
        return "The KL weight is 1 throughout."
    if options.kl_reading == "report":
        position = f"(epoch mod {cycle})" if is_cyclical else "epoch"
        return (
            f"--kl_reading report: the KL weight is min(1, {position} / {cycle} x {ratio:g}); --kl_anneal_cycle counts "
            "epochs. In the other reading, fu, it counts cycles, and the ratio is the share of a cycle spent rising."
        )
    length = options.num_epoch / cycle
    has_cycles = is_cyclical and cycle > 1
    times = f"in each of {cycle} cycles of {length:g} epoch{'s' * (length != 1)}" if has_cycles else "once"
    share = "all" if ratio == 1 else f"the first {ratio:.0%}"
    remark = ""
    if is_cyclical and options.num_epoch <= cycle:
        remark = " No cycle is longer than an epoch here, so it stays 0."
    return (
        f"--kl_reading fu: the KL weight rises from 0 to 1 {times}, over {share} of the "
        f"{'cycle' if has_cycles else 'run'}.{remark} "
        "In the other reading, report, --kl_anneal_cycle counts epochs, and the ratio is the peak."
    )


def output_note(output: str) -> str:
    """Return a sentence on the bound of the output, which a checkpoint does not record."""
    return (
        f"A final Sigmoid leaves no trace in a checkpoint; this one is assumed to end in: {output}. "
        "If its Generator ends otherwise, give --output sigmoid, clamp or none."
    )
