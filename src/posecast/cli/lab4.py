"""Commands of the course's template: its options, carried out by posecast's own commands.

Each command prints the posecast commands that do the same and returns them as words; `main.py` runs them.
Next: `course/template.py`, which translates the options.
"""

from __future__ import annotations

import shlex
from typing import Annotated

from cyclopts import App, Parameter

from posecast.cli.options import print_note, with_verbosity
from posecast.course.template import (
    SAME_VALUE,
    Words,
    evaluate_words,
    notes,
    output_note,
    submit_words,
    train_words,
)
from posecast.course.template_options import LabTest, LabTrain
from posecast.errors import InputError, printable

lab4_app = App(
    name="lab4",
    help="The course's Lab 4 with the option names of its template: train and test.",
    default_parameter=Parameter(name_transform=lambda name: name, negative=(), consume_multiple=True),
)


@lab4_app.command
@with_verbosity
def train(*, options: Annotated[LabTrain, Parameter(name="*")]) -> list[Words]:
    """Train as the template's Trainer does, with the template's options.

    The equivalent posecast command is printed first. Options that the template parses but ignores take effect here.
    """
    if options.test:
        commands = evaluate_words(options)
        print_commands(commands, import_notes(commands))
        if not options.dry_run:
            check_lengths(options, "val")
    else:
        commands = [train_words(options)]
        if options.resume and not options.dry_run:
            check_same_options(options)
        print_commands(commands, notes(options))
    return [] if options.dry_run else commands


@lab4_app.command
@with_verbosity
def test(*, options: Annotated[LabTest, Parameter(name="*")]) -> list[Words]:
    """Predict the test sequences as the template's Tester does, into submission.csv and GIFs.

    The equivalent posecast commands are printed first. z is the prior mean, which scores best.
    """
    commands = submit_words(options)
    if not options.dry_run:
        check_widths(options)
    print_commands(commands, import_notes(commands))
    if options.dry_run:
        return []
    check_lengths(options, "test")
    return commands


def import_notes(commands: list[Words]) -> list[str]:
    """Return a note on each checkpoint that the commands import."""
    return [output_note(words[words.index("--output") + 1]) for words in commands if words[0] == "import-lab4"]


def print_commands(commands: list[Words], remarks: list[str]) -> None:
    """Print remarks on stderr and the commands on stdout."""
    for remark in remarks:
        print_note(remark)
    for words in commands:
        print(printable(shlex.join(["posecast", *words])), flush=True)


def check_lengths(options: LabTrain | LabTest, split: str) -> None:
    """Raise InputError unless every sequence of the split has --val_vi_len poses; the commands take whole sequences."""
    from posecast.data.folder_dataset import list_split

    sequences, errors = list_split(options.DR, split)
    if errors:
        raise InputError(errors[0].message)
    for sequence in sequences:
        length = len(sequence.frames)
        if length != options.val_vi_len:
            raise InputError(
                f"Sequence {sequence.name} of {options.DR / split} has {length} poses but --val_vi_len is "
                f"{options.val_vi_len}; give --val_vi_len {length}, or run the commands above: they take any length."
            )


def check_widths(options: LabTest) -> None:
    """Raise InputError if a width or size that was given differs from that of the checkpoint or run."""
    from posecast.config.schema import parse_size
    from posecast.model.checkpoint import read_config
    from posecast.model.lab4_checkpoint import read_checkpoint, widths_of

    checkpoint = options.ckpt_path
    names = ["F_dim", "L_dim", "N_dim", "D_out_dim", *(("frame_H", "frame_W") if checkpoint.is_dir() else ())]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if not given:
        return
    if checkpoint.is_dir():
        config, _ = read_config(checkpoint)
        actual = vars(config.networks) | dict(zip(("frame_H", "frame_W"), parse_size(config.size), strict=True))
    else:
        actual = widths_of(read_checkpoint(checkpoint), checkpoint)
    for name, width in given.items():
        actual_width = actual.get(SAME_VALUE.get(name, name), "none")
        if width != actual_width:
            raise InputError(
                f"--{name} is {width}, but {checkpoint} has {actual_width}; leave it out, or name another checkpoint."
            )


def check_same_options(options: LabTrain) -> None:
    """Raise InputError if a run to resume was started with other options; those left out are the template's."""
    from posecast.course.template import train_config
    from posecast.model.checkpoint import read_config
    from posecast.training.resume import check_same

    if (options.save_root / "config.json").exists():
        check_same(train_config(options), read_config(options.save_root)[0])
