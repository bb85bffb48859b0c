"""Commands that train: a single run, and the demonstration on the synthetic dancer."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from posecast.cli.config_flags import NO_SETTINGS, FlatSettings, given_settings
from posecast.cli.options import Data, Force, OnDevice, Out, Seed, check_at_least_one, print_note, print_result
from posecast.config.schema import Config, parse_size
from posecast.errors import InputError


def demo(
    *,
    out: Out = Path("posecast-demo"),
    minutes: Annotated[float, Parameter(help="Minutes for everything: drawing, training, scoring.")] = 6.0,
    sequences: Annotated[int, Parameter(help="Number of training recordings.")] = 8,
    frames: Annotated[int, Parameter(help="Frames in each recording.")] = 630,
    size: Annotated[str, Parameter(help="Height x width of the images.")] = "32x64",
    seed: Seed = 0,
    look: Annotated[int, Parameter(help="Index of the dancer's look.")] = 0,
    hidden: Annotated[float, Parameter(help="Strength of what poses do not determine; 0: nothing.")] = 1.0,
) -> None:
    """Demonstrate everything on the synthetic dancer: data set, training, scores, a report and a puppet to drive.

    An earlier demonstration in the same folder is replaced.
    """
    from posecast.cli.demo import PUPPET
    from posecast.cli.demo import demo as run_demo
    from posecast.cli.progress_bars import counting
    from posecast.cli.tables import print_scores
    from posecast.cli.training_callbacks import TrainingDisplay
    from posecast.config.overrides import build_config
    from posecast.data.dancer.dataset import Choreography

    config = build_config(flags={"minutes": minutes, "size": size, "seed": seed})
    print_machine("cpu")
    choreography = Choreography(sequences, frames, parse_size(size), seed, look, hidden)
    with closing(TrainingDisplay()) as display:
        scores = run_demo(
            out, config, choreography, minutes=minutes, notify=print_note, callback=display, counting=counting
        )
    print_scores(scores)
    puppet = out / PUPPET
    driven = f"Drive the dancer in a browser: {puppet}." if puppet.is_file() else NO_PUPPET
    print_result(f"See {out}/report.html and {out}/run/samples/. {driven}")


NO_PUPPET = "A page to drive the dancer needs posecast[export], and `make page` in a checkout."


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `posecast train` that are keyword arguments of `training.train.train`, under the same names."""

    device: OnDevice = "auto"
    devices: Annotated[int, Parameter(help="Number of processes, or of GPUs.")] = 1
    precision: Annotated[
        Literal["auto", "32-true", "bf16-mixed"],
        Parameter(help="Arithmetic; auto takes bfloat16 where the hardware multiplies it natively."),
    ] = "auto"
    start_from: Annotated[Path | None, Parameter(name="--from", help="Run whose weights to start from.")] = None
    repeat: Annotated[
        Path | None,
        Parameter(help="Run to train again, byte for byte: with its configuration, its updates and its threads."),
    ] = None
    resume: Annotated[bool, Parameter(help="Continue where OUT stopped; start if nothing is saved there yet.")] = False
    deterministic: Annotated[bool, Parameter(help="On a GPU: use only operators that repeat exactly.")] = False
    force: Force = False


DEFAULT_OPTIONS = TrainOptions()


def train(
    *,
    data: Data,
    out: Out,
    recipe: Annotated[
        str | None,
        Parameter(help="Recipe to start from: anchored (default), people, stationary (z means something) or lab4."),
    ] = None,
    config: Annotated[Path | None, Parameter(help="TOML or YAML file of settings that change the recipe.")] = None,
    options: Annotated[TrainOptions, Parameter(name="*")] = DEFAULT_OPTIONS,
    threads: Annotated[
        int | None, Parameter(help="Threads that decode images while packing; if not given, one per core.")
    ] = None,
    dry_run: Annotated[bool, Parameter(help="Print the complete configuration and stop.")] = False,
    tensorboard: Annotated[bool, Parameter(help="Also write OUT/tensorboard; needs posecast[tensorboard].")] = False,
    flags: FlatSettings = NO_SETTINGS,  # pyright: ignore[reportInvalidTypeForm]
) -> None:
    """Train a run with the settings of a recipe, changed first by --config, then by flags."""
    from posecast.data.unused_footage import unused_footage

    if tensorboard:
        check_tensorboard(out)
    requested = requested_config(out, options, recipe, config, given_settings(flags))
    for sentence in unused_footage(data, requested.training):
        print_note(sentence)
    if dry_run:
        from posecast.config.schema import to_dict

        print(json.dumps(to_dict(requested), indent=1))
        return
    check_at_least_one("--devices", options.devices)
    check_at_least_one("--threads", threads)
    from posecast.cli.progress_bars import counting
    from posecast.cli.training_callbacks import Callbacks, TensorBoardWriter, TrainingDisplay
    from posecast.data.cache import load_footage
    from posecast.training.initial_weights import lacks_its_weights
    from posecast.training.train import train as train_run

    load = partial(load_footage, data.resolve(), parse_size(requested.size), threads=threads)
    with counting("packing") as progress:
        footage = load(progress=progress)
    print_machine(options.device)
    if options.start_from is None and lacks_its_weights(requested):
        print_note("The weights of dancers are for networks of other shapes, so training starts from random weights.")
    writers = (TensorBoardWriter(str(out / "tensorboard")),) if tensorboard else ()
    with closing(TrainingDisplay()) as display:
        # Each of several processes opens the packed data set by itself.
        source = footage if options.devices == 1 else load
        train_run(requested, source, out, callback=Callbacks((display, *writers)), **vars(options))
    print_result(f"{out} is trained. Next: posecast evaluate {out} --data {data}")


def requested_config(
    out: Path, options: TrainOptions, recipe: str | None, file: Path | None, settings: dict[str, Any]
) -> Config:
    """Return the configuration to train: that of a run to repeat or to resume, or a recipe's, with the changes made."""
    from posecast.config.overrides import build_config

    if options.repeat is not None:
        return repeated_config(options.repeat, recipe, file, settings)
    if options.resume and (out / "config.json").exists():
        return resumed_config(out, recipe, file, settings)
    return build_config(recipe, file, settings)


def repeated_config(run: Path, recipe: str | None, file: Path | None, settings: dict[str, Any]) -> Config:
    """Return the configuration of a run to repeat; raise InputError if any change is requested."""
    from posecast.model.checkpoint import read_config

    if recipe or file or settings:
        option = "--recipe" if recipe else "--config" if file else "--" + next(iter(settings)).replace("_", "-")
        raise InputError(f"--repeat takes the whole configuration from {run}; leave {option} out.")
    return read_config(run)[0]


def resumed_config(out: Path, recipe: str | None, file: Path | None, settings: dict[str, Any]) -> Config:
    """Return the configuration of a run to resume, with the changes made; raise InputError for another recipe."""
    from posecast.config.overrides import change, read_settings
    from posecast.model.checkpoint import read_config

    saved = read_config(out)[0]
    changes = (dict(read_settings(file)) if file else {}) | settings
    file_recipe = changes.pop("recipe", None)
    name = recipe or file_recipe or saved.recipe
    if name != saved.recipe:
        raise InputError(f"{out} was started with recipe {saved.recipe!r}, not {name!r}; leave --recipe out.")
    return change(saved, changes, "the command line")


def print_machine(device: str) -> None:
    """Print how a CPU is used, after measuring it if no earlier measurement is stored."""
    from posecast.model.device import machine_profile, resolve_device

    if resolve_device(device) == "cpu":
        print_note(machine_profile(print_note).sentence())


def check_tensorboard(out: Path) -> None:
    """Raise InputError if the extra for --tensorboard is missing, or if it cannot write into a folder."""
    import importlib.util

    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard needs a package that is not installed; pip install 'posecast[tensorboard]'.")
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"--tensorboard cannot write into {out}; expected a name that is valid UTF-8.") from error
