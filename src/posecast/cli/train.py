"""Learning: one run, or the whole story on the embedded dancer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from posecast.cli.config_flags import NO_SETTINGS, FlatSettings, given
from posecast.cli.options import Data, Force, OnDevice, Out, Seed, at_least_one, note
from posecast.config.schema import Config, parse_size
from posecast.errors import InputError


def demo(
    *,
    out: Out = Path("posecast-demo"),
    minutes: Annotated[float, Parameter(help="Minutes for all of it: drawing, training, scoring.")] = 6.0,
    sequences: Annotated[int, Parameter(help="Training recordings.")] = 8,
    frames: Annotated[int, Parameter(help="Frames in each recording.")] = 630,
    size: Annotated[str, Parameter(help="Height x width of the pictures.")] = "32x64",
    seed: Seed = 0,
    look: Annotated[int, Parameter(help="Which dancer.")] = 0,
    hidden: Annotated[float, Parameter(help="How strong what poses do not tell is; 0: nothing.")] = 1.0,
) -> None:
    """Tell the whole story on the embedded dancer: footage, training, scores, a report.

    Replaces its own earlier folder of the same name.
    """
    from posecast.cli.demo import demo as tell_story
    from posecast.cli.progress_bars import TrainingDisplay, counting
    from posecast.cli.tables import print_scores
    from posecast.config.overrides import build_config
    from posecast.data.dancer.dataset import Choreography

    config = build_config(flags={"minutes": minutes, "size": size, "seed": seed})
    tell_machine("cpu")
    choreography = Choreography(sequences, frames, parse_size(size), seed, look, hidden)
    display = TrainingDisplay()
    try:
        scores = tell_story(out, config, choreography, minutes=minutes, say=note, callback=display, counting=counting)
    finally:
        display.close()
    print_scores(scores)
    print(f"Look at {out}/report.html, and at {out}/run/samples/.")


def train(
    *,
    data: Data,
    out: Out,
    recipe: Annotated[
        str | None,
        Parameter(help="Where to start: anchored (default), people, stationary (z means something) or lab4."),
    ] = None,
    config: Annotated[Path | None, Parameter(help="A TOML or YAML file of settings, laid on the recipe.")] = None,
    device: OnDevice = "auto",
    devices: Annotated[int, Parameter(help="Processes, or GPUs.")] = 1,
    threads: Annotated[
        int | None, Parameter(help="Threads that decode pictures while packing; default: one a core.")
    ] = None,
    precision: Annotated[
        Literal["auto", "32-true", "bf16-mixed"],
        Parameter(help="Arithmetic; auto takes bfloat16 where the hardware multiplies it natively."),
    ] = "auto",
    start_from: Annotated[Path | None, Parameter(name="--from", help="A run whose weights to start from.")] = None,
    repeat: Annotated[
        Path | None,
        Parameter(help="A run to train again, byte for byte: its configuration, its updates as planned, its threads."),
    ] = None,
    resume: Annotated[bool, Parameter(help="Go on where OUT stopped; start if nothing was saved there yet.")] = False,
    dry_run: Annotated[bool, Parameter(help="Print the complete configuration and stop.")] = False,
    deterministic: Annotated[bool, Parameter(help="On a GPU: only operators that repeat exactly.")] = False,
    tensorboard: Annotated[bool, Parameter(help="Write OUT/tensorboard too; needs posecast[tensorboard].")] = False,
    force: Force = False,
    flags: FlatSettings = NO_SETTINGS,  # pyright: ignore[reportInvalidTypeForm]
) -> None:
    """Train a run. A recipe's settings are changed by --config, then by flags."""
    from posecast.config.overrides import build_config

    if tensorboard:
        require_tensorboard()
    whole = resumed_config(out, recipe, config, given(flags)) if resume else None
    if repeat is not None:
        whole = repeated_config(repeat, recipe, config, given(flags))
    whole = whole or build_config(recipe, config, given(flags))
    if dry_run:
        from posecast.config.schema import to_dict

        print(json.dumps(to_dict(whole), indent=1))
        return
    from functools import partial

    from posecast.cli.progress_bars import Callbacks, TensorBoardWriter, TrainingDisplay, counting
    from posecast.data.cache import load_footage
    from posecast.training.train import train as train_run

    at_least_one("--devices", devices)
    at_least_one("--threads", 1 if threads is None else threads)
    load = partial(load_footage, data.resolve(), parse_size(whole.size), threads=threads)
    with counting("packing") as progress:
        footage = load(progress=progress)
    tell_machine(device)
    display = TrainingDisplay()
    callbacks: tuple[Any, ...] = (display,)
    if tensorboard:
        callbacks += (TensorBoardWriter(str(out / "tensorboard")),)
    try:
        train_run(
            whole,
            footage if devices == 1 else load,  # each process opens the pack by itself
            out,
            device=device,
            devices=devices,
            precision=precision,
            start_from=start_from,
            repeat=repeat,
            resume=resume,
            force=force,
            deterministic=deterministic,
            callback=Callbacks(callbacks),
        )
    finally:
        display.close()
    print(f"{out} is trained. Next: posecast evaluate {out} --data {data}")


def resumed_config(out: Path, recipe: str | None, file: Path | None, flags: dict[str, Any]) -> Config | None:
    """The configuration a run was begun with, with anything named anew laid on it; None where nothing is."""
    from posecast.config.overrides import change, read_settings
    from posecast.model.checkpoint import read_config

    if not (out / "config.json").exists():
        return None
    saved = read_config(out)[0]
    asked = (dict(read_settings(file)) if file else {}) | flags
    named = recipe or asked.pop("recipe", None) or saved.recipe
    asked.pop("recipe", None)
    if named != saved.recipe:
        raise InputError(f"{out} was begun with recipe {saved.recipe!r}, not {named!r}; leave --recipe out.")
    return change(saved, asked, "the command line")


def repeated_config(run: Path, recipe: str | None, file: Path | None, flags: dict[str, Any]) -> Config:
    """The configuration of a run to repeat. Raises InputError where anything else is asked for beside it."""
    from posecast.model.checkpoint import read_config

    if recipe or file or flags:
        named = "--recipe" if recipe else "--config" if file else "--" + next(iter(flags)).replace("_", "-")
        raise InputError(f"--repeat takes all of the configuration from {run}; leave {named} out.")
    return read_config(run)[0]


def tell_machine(device: str) -> None:
    """Say how this machine is used; measured first where that was not done before."""
    from posecast.model.device import machine_profile, resolve_device

    if resolve_device(device) == "cpu":
        note(machine_profile(note).sentence())


def require_tensorboard() -> None:
    import importlib.util

    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard needs a package that is not installed; pip install 'posecast[tensorboard]'.")
