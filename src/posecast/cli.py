"""The commands, one call each.

Heavy imports stand inside the commands, so that `--help` starts at once. Exit status: 0 done; 2 the user's input is
wrong; 130 and 143 after Ctrl-C and SIGTERM; 1 anything else.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from posecast import __version__
from posecast.config import Config, parse_size
from posecast.errors import InputError, InterruptedTraining, TrainingFailed
from posecast.flags import NO_KNOBS, FlatKnobs, given

app = App(
    name="posecast",
    version=__version__,
    help="One photo and a sequence of poses go in; a video of that person moving comes out.",
    help_epilogue="A puppet of a real person needs that person's consent.",
    default_parameter=Parameter(negative=()),
)

Device = Literal["auto", "cpu", "cuda", "mps"]
Out = Annotated[Path, Parameter(help="Where to write; never over something else without --force.")]
Data = Annotated[Path, Parameter(help="A data set in the course's layout (train, val and test folders).")]
Run = Annotated[Path, Parameter(help="A run folder, as 'posecast train' makes it.")]
Seed = Annotated[int, Parameter(help="Seed of the noise; the same seed gives the same bytes.")]
Force = Annotated[bool, Parameter(help="Replace what posecast wrote there before.")]
OnDevice = Annotated[Device, Parameter(help="Where to compute; auto takes a GPU if there is one.")]


@app.command
def demo(
    *,
    out: Out = Path("posecast-demo"),
    minutes: Annotated[float, Parameter(help="Minutes of training.")] = 4.5,
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
    from posecast.data.synthetic import Choreography
    from posecast.demo import demo as tell_story
    from posecast.progress import TrainingDisplay
    from posecast.settings import build_config
    from posecast.tables import print_scores

    config = build_config(flags={"minutes": minutes, "size": size, "seed": seed})
    choreography = Choreography(sequences, frames, parse_size(size), seed, look, hidden)
    display = TrainingDisplay()
    try:
        scores = tell_story(out, config, choreography, say=note, watcher=display)
    finally:
        display.close()
    print_scores(scores)
    print(f"Look at {out}/report.html, and at {out}/run/samples/.")


@app.command
def synth(
    out: Out,
    /,
    *,
    sequences: Annotated[int, Parameter(help="Training recordings.")] = 3,
    frames: Annotated[int, Parameter(help="Frames in each recording.")] = 630,
    size: Annotated[str, Parameter(help="Height x width of the pictures.")] = "32x64",
    seed: Annotated[int, Parameter(help="Seed of the choreography.")] = 0,
    look: Annotated[int, Parameter(help="Which dancer, in which room.")] = 0,
    hidden: Annotated[float, Parameter(help="How strong what poses do not tell is; 0: nothing.")] = 1.0,
    force: Force = False,
) -> None:
    """Write the synthetic dancer in the course's layout: training recordings, one for val, one test sequence."""
    from posecast.data.synthetic import Choreography, write_synthetic
    from posecast.progress import counting

    if sequences < 1 or sequences > 100_000:
        raise InputError(f"--sequences is {sequences}; expected a number from 1 to 100000.")
    choreography = Choreography(sequences, frames, parse_size(size), seed, look, hidden)
    with counting("writing") as progress:
        ceiling = write_synthetic(out, choreography, force=force, progress=progress)
    print(f"{out}: {sequences} training recordings, val and test, {frames} frames each, {size}.")
    print(f"A prediction of the mean over what poses do not tell could at most reach {ceiling:.1f} dB on val.")


@app.command
def check(data: Data, /) -> None:
    """Read a data set whole. Errors (it cannot be trained on) exit with 2; remarks are listed."""
    from posecast.data.checking import check as check_data
    from posecast.progress import counting
    from posecast.tables import print_check

    with counting("reading") as progress:
        result = check_data(data, progress=progress)
    if not print_check(result):
        raise InputError(f"{data} cannot be trained on; mend the errors listed above.")


@app.command
def train(
    *,
    data: Data,
    out: Out,
    recipe: Annotated[
        str | None, Parameter(help="Where the knobs start: anchored (the default) or lab4 (the course's networks).")
    ] = None,
    config: Annotated[Path | None, Parameter(help="A TOML or YAML file of knobs, laid on the recipe.")] = None,
    device: OnDevice = "auto",
    devices: Annotated[int, Parameter(help="Processes, or GPUs.")] = 1,
    precision: Annotated[
        Literal["auto", "32-true", "bf16-mixed"],
        Parameter(help="Arithmetic; auto takes bfloat16 where the hardware multiplies it natively."),
    ] = "auto",
    start_from: Annotated[Path | None, Parameter(name="--from", help="A run whose weights to start from.")] = None,
    resume: Annotated[bool, Parameter(help="Go on where OUT stopped; start if nothing was saved there yet.")] = False,
    dry_run: Annotated[bool, Parameter(help="Print the complete configuration and stop.")] = False,
    deterministic: Annotated[bool, Parameter(help="On a GPU: only operators that repeat exactly.")] = False,
    tensorboard: Annotated[bool, Parameter(help="Write OUT/tensorboard too; needs posecast[tensorboard].")] = False,
    force: Force = False,
    flags: FlatKnobs = NO_KNOBS,  # pyright: ignore[reportInvalidTypeForm]
) -> None:
    """Train a run. A recipe's knobs are changed by --config, then by flags."""
    from posecast.settings import build_config

    if tensorboard:
        require_tensorboard()
    whole = resumed_config(out, recipe, config, given(flags)) if resume else None
    whole = whole or build_config(recipe, config, given(flags))
    if dry_run:
        from posecast.config import to_dict

        print(json.dumps(to_dict(whole), indent=1))
        return
    from functools import partial

    from posecast.data.packed import load_footage
    from posecast.progress import TensorBoardWriter, TrainingDisplay, Watchers, counting
    from posecast.training import train as train_run

    if devices < 1:
        raise InputError(f"--devices is {devices}; expected a number from 1.")
    with counting("packing") as progress:
        load_footage(data, parse_size(whole.size), progress=progress)
    display = TrainingDisplay()
    watchers: tuple[Any, ...] = (display,)
    if tensorboard:
        watchers += (TensorBoardWriter(str(out / "tensorboard")),)
    try:
        train_run(
            whole,
            partial(load_footage, data.resolve(), parse_size(whole.size)),
            out,
            device=device,
            devices=devices,
            precision=precision,
            start_from=start_from,
            resume=resume,
            force=force,
            deterministic=deterministic,
            watcher=Watchers(watchers),
        )
    finally:
        display.close()
    print(f"{out} is trained. Next: posecast evaluate {out} --data {data}")


def resumed_config(out: Path, recipe: str | None, file: Path | None, flags: dict[str, Any]) -> Config | None:
    """The configuration a run was begun with, with anything named anew laid on it; None where nothing is."""
    from posecast.checkpoint import read_config
    from posecast.settings import change, read_settings

    if not (out / "config.json").exists():
        return None
    saved = read_config(out)[0]
    asked = (dict(read_settings(file)) if file else {}) | flags
    named = recipe or asked.pop("recipe", None) or saved.recipe
    asked.pop("recipe", None)
    if named != saved.recipe:
        raise InputError(f"{out} was begun with recipe {saved.recipe!r}, not {named!r}; leave --recipe out.")
    return change(saved, asked, "the command line")


def require_tensorboard() -> None:
    import importlib.util

    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard needs a package that is not installed; pip install 'posecast[tensorboard]'.")


@app.command
def evaluate(
    run: Run,
    /,
    *,
    data: Data,
    split: Annotated[str, Parameter(help="The split to score on; it needs true frames.")] = "val",
    futures: Annotated[int, Parameter(help="Sampled rollouts of each sequence.")] = 10,
    seed: Seed = 0,
    device: OnDevice = "auto",
) -> None:
    """Score rollouts against the truth: writes RUN/scores.json and RUN/samples, prints the table."""
    from posecast.progress import counting
    from posecast.tables import print_scores

    at_least_one("--futures", futures)
    from posecast.machine import resolve_device
    from posecast.scoring import score_run

    with counting("rolling out") as progress:
        scores = score_run(
            run, data, split=split, futures=futures, seed=seed, device=resolve_device(device), progress=progress
        )
    print_scores(scores)
    print(f"Written: {run}/scores.json. Next: posecast report {run} --out report.html")


@app.command
def generate(
    run: Run,
    /,
    *,
    first_frame: Annotated[Path, Parameter(help="A picture of the person, resized to the model's size.")],
    poses: Annotated[Path, Parameter(help="A folder of pose maps; the first of them the first frame's own.")],
    out: Annotated[Path, Parameter(help="A .gif, .mp4 or .webp file, or a folder for one PNG a frame.")],
    seed: Seed = 0,
    futures: Annotated[int, Parameter(help="How many different videos.")] = 1,
    latent: Annotated[Literal["sample", "mean"], Parameter(help="z sampled from the prior, or its mean.")] = "sample",
    fps: Annotated[float, Parameter(help="Frames per second of the video.")] = 25.0,
    scale: Annotated[int, Parameter(help="Enlarge every pixel of a video to a square of this side.")] = 1,
    device: OnDevice = "auto",
    force: Force = False,
) -> None:
    """Drive the person of one photo through a sequence of poses."""
    from posecast.generation import generate as generate_videos
    from posecast.machine import resolve_device
    from posecast.progress import counting

    at_least_one("--futures", futures)
    at_least_one("--scale", scale)
    with counting("painting") as progress:
        written = generate_videos(
            run,
            first_frame=first_frame,
            poses=poses,
            out=out,
            seed=seed,
            futures=futures,
            latent=latent,
            fps=fps,
            scale=scale,
            force=force,
            device=resolve_device(device),
            progress=progress,
        )
    print("Written: " + ", ".join(map(str, written)))


@app.command
def submit(
    run: Run,
    /,
    *,
    data: Data,
    out: Out,
    latent: Annotated[Literal["mean", "sample"], Parameter(help="The prior's mean, or z sampled from it.")] = "mean",
    seed: Seed = 0,
    device: OnDevice = "auto",
    force: Force = False,
) -> None:
    """Predict the test sequences: pred_seq0.gif, ... and submission.csv."""
    from posecast.machine import resolve_device
    from posecast.progress import counting
    from posecast.submission import submit as write_submission

    with counting("predicting") as progress:
        rows = write_submission(
            run, data, out, latent=latent, seed=seed, force=force, device=resolve_device(device), progress=progress
        )
    print(f"Written: {out}/submission.csv, {rows} rows.")


@app.command
def report(
    *runs: Run,
    out: Annotated[Path, Parameter(help="The page to write.")],
    force: Force = False,
) -> None:
    """Show one run, or several beside each other, as one self-contained page."""
    from posecast.report import write_report

    if not runs:
        raise InputError("No run was given; expected one or more run folders.")
    write_report(list(runs), out, force=force)
    print(f"Written: {out}")


@app.command
def import_lab4(
    checkpoint: Annotated[Path, Parameter(help="A checkpoint of the course's code (torch.save).")],
    /,
    *,
    out: Out,
    output: Annotated[
        Literal["clamp", "sigmoid", "none"],
        Parameter(help="How its pictures are bounded; a final Sigmoid leaves no trace in the weights."),
    ] = "clamp",
    posterior_sees: Annotated[
        Literal["current", "previous"], Parameter(help="What its posterior was fed.")
    ] = "current",
    size: Annotated[str, Parameter(help="Height x width it was trained at.")] = "32x64",
    force: Force = False,
) -> None:
    """Make a run of a checkpoint written by the course's code; nothing in it is executed."""
    from posecast.lab4_import import import_lab4 as make_run

    make_run(checkpoint, out, output=output, posterior_sees=posterior_sees, size=size, force=force)
    print(f"{out} is ready: posecast evaluate {out} --data DATA")


def at_least_one(flag: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{flag} is {value}; expected a number from 1.")


def note(text: str) -> None:
    """A line on stderr: what is being done."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors become one sentence on stderr."""
    # Libraries speak to developers through warnings; a user can do nothing with them.
    warnings.filterwarnings("ignore", module="lightning_fabric|torch|torchmetrics")
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (CycloptsError, InputError) as error:
        note(f"posecast: {' '.join(str(error).split())}")
        return 2
    except (TrainingFailed, OSError) as error:
        note(f"posecast: {error}")
        return 1
    except InterruptedTraining as error:
        note(f"posecast: {error}")
        return 128 + error.signal_number
    except KeyboardInterrupt:
        note("posecast: stopped.")
        return 130
    return 0


def run_and_exit() -> None:
    sys.exit(main())


if __name__ == "__main__":
    run_and_exit()
