"""Command that trains, scores and compares a grid of settings."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from posecast.cli.config_flags import NO_SETTINGS, FlatSettings, given_settings
from posecast.cli.options import Data, Force, OnDevice, Out, check_at_least_one, print_note, print_result


def experiment(
    name: Annotated[
        str,
        Parameter(help="teacher-forcing, kl-annealing, report or anchoring; or a TOML file with your own grid."),
    ],
    /,
    *,
    data: Data,
    out: Out,
    seeds: Annotated[int, Parameter(help="Runs of each setting, with seeds from --seed on.")] = 3,
    futures: Annotated[int, Parameter(help="Sampled rollouts of each sequence when a run is scored.")] = 10,
    recipe: Annotated[str | None, Parameter(help="Recipe to start from; if not given, the grid's or lab4.")] = None,
    config: Annotated[Path | None, Parameter(help="TOML or YAML file of settings that change the recipe.")] = None,
    device: OnDevice = "auto",
    force: Force = False,
    flags: FlatSettings = NO_SETTINGS,  # pyright: ignore[reportInvalidTypeForm]
) -> None:
    """Train and score every setting of a grid under several seeds, and compare them on one page.

    The budget (--minutes, --epochs or --steps; 5 minutes if none is given) is that of each run. Finished runs are
    skipped and interrupted ones are resumed. The same command in another terminal, or on another machine that sees
    the folder, shares the work.
    """
    from posecast.experiments.grids import configurations, find_grid

    check_at_least_one("--seeds", seeds)
    check_at_least_one("--futures", futures)
    grid = find_grid(name)
    configs = configurations(grid, recipe, config, given_settings(flags))
    from posecast.cli.progress_bars import counting
    from posecast.cli.tables import print_comparison
    from posecast.cli.training_callbacks import TrainingDisplay
    from posecast.config.schema import parse_size
    from posecast.data.cache import load_footage
    from posecast.experiments.runner import carry_out, open_experiment
    from posecast.reporting.experiment_report import write_comparison
    from posecast.training.initial_weights import note_on_weights

    if sentence := note_on_weights(configs):
        print_note(sentence)
    with counting("packing") as progress:
        load_footage(data, parse_size(next(iter(configs.values())).size), progress=progress)
    plan = open_experiment(
        grid, configs, data, out, num_seeds=seeds, futures=futures, device=device, force=force, notify=print_note
    )
    compare = partial(write_comparison, plan)
    carry_out(plan, device=device, notify=print_note, callback=TrainingDisplay, counting=counting, after_each=compare)
    print_comparison(compare())
    print_result(f"Written: {out}/comparison.html, with its figures in {out}/figures and its curves in {out}/curves.")
