"""The student's own commands: the template's options in, the same as other commands of ours out.

Each prints the posecast commands that it stands for, and returns their words; `main.py` runs them as if they had been
typed. Next: `template.py`, which is the translation.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from posecast.cli.options import note, speaking
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
from posecast.errors import InputError

lab4_app = App(
    name="lab4",
    help="The course's Lab 4 under the names of its template: train, and test.",
    default_parameter=Parameter(name_transform=lambda name: name, negative=(), consume_multiple=True),
)


@lab4_app.command
@speaking
def train(*, options: Annotated[LabTrain, Parameter(name="*")]) -> list[Words]:
    """Train as the template's Trainer does, with the template's options.

    Prints the equivalent posecast command first. Options that the template parsed and forgot work here.
    """
    if options.test:
        commands = evaluate_words(options)
        return announced(commands, imported_notes(commands), options, "val")
    commands = [train_words(options)]
    if options.resume and not options.dry_run:
        require_same_options(options)
    return announced(commands, notes(options), options, None)


@lab4_app.command
@speaking
def test(*, options: Annotated[LabTest, Parameter(name="*")]) -> list[Words]:
    """Predict the test sequences as the template's Tester does: submission.csv and the GIFs.

    Prints the equivalent posecast commands first. z is the prior's mean, which scores best.
    """
    commands = submit_words(options)
    if not options.dry_run:
        check_widths(options)
    return announced(commands, imported_notes(commands), options, "test")


def announced(
    commands: list[Words], said: list[str], options: LabTrain | LabTest, whole_split: str | None
) -> list[Words]:
    """The commands, once they are printed and the sequences of a split are as long as the options say."""
    for sentence in said:
        note(sentence)
    for words in commands:
        print(shlex.join(["posecast", *words]), flush=True)
    if options.dry_run:
        return []
    if whole_split:
        check_lengths(options.DR, whole_split, options.val_vi_len)
    return commands


def imported_notes(commands: list[Words]) -> list[str]:
    """A sentence for a checkpoint that is imported first."""
    return [output_note(words[words.index("--output") + 1]) for words in commands if words[0] == "import-lab4"]


def check_lengths(root: Path, split: str, expected: int) -> None:
    """Our commands take sequences whole, so --val_vi_len must be their length. Raises InputError."""
    from posecast.data.folder_dataset import list_split

    sequences, errors = list_split(root, split)
    if errors:
        raise InputError(errors[0].message)
    for sequence in sequences:
        found = len(sequence.frames)
        if found != expected:
            raise InputError(
                f"Sequence {sequence.name} of {root / split} has {found} poses but --val_vi_len is {expected}; give "
                f"--val_vi_len {found}, or run the commands above by themselves: they take any length."
            )


def check_widths(options: LabTest) -> None:
    """Widths are read off the checkpoint, and a run knows its size: those given must be its own. Raises InputError."""
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
        found = vars(config.networks) | dict(zip(("frame_H", "frame_W"), parse_size(config.size), strict=True))
    else:
        found = widths_of(read_checkpoint(checkpoint), checkpoint)
    for name, width in given.items():
        own = found.get(SAME_VALUE.get(name, name), "none")
        if width != own:
            raise InputError(
                f"--{name} is {width}, but {checkpoint} has {own}; leave it out, or name another checkpoint."
            )


def require_same_options(options: LabTrain) -> None:
    """A run goes on only with the options it was begun with: those left out are the template's defaults."""
    from posecast.course.template import train_config
    from posecast.model.checkpoint import read_config
    from posecast.training.resume import check_same

    if (options.save_root / "config.json").exists():
        check_same(train_config(options), read_config(options.save_root)[0])
