"""Experiments: a grid of settings trained, scored and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from posecast.cli.config_flags import NO_SETTINGS, FlatSettings, given
from posecast.cli.options import Data, Force, OnDevice, Out, at_least_one, note


def experiment(
    name: Annotated[
        str,
        Parameter(help="teacher-forcing, kl-annealing, report or anchoring; or a TOML file with a grid of your own."),
    ],
    /,
    *,
    data: Data,
    out: Out,
    seeds: Annotated[int, Parameter(help="Runs of each setting, from --seed on.")] = 3,
    futures: Annotated[int, Parameter(help="Sampled rollouts in each scoring.")] = 10,
    recipe: Annotated[str | None, Parameter(help="The recipe to start from; lab4 where the grid names none.")] = None,
    config: Annotated[Path | None, Parameter(help="A TOML or YAML file, laid on the recipe.")] = None,
    device: OnDevice = "auto",
    force: Force = False,
    flags: FlatSettings = NO_SETTINGS,  # pyright: ignore[reportInvalidTypeForm]
) -> None:
    """Train and score every setting under several seeds, and compare them on one page with findings.

    The budget (--minutes, 5 if none is named, --epochs or --steps) is that of each run. Finished runs are skipped and
    interrupted ones go on. Started again in other terminals, or on other machines that see the folder, the same
    command shares the runs out.
    """
    from posecast.experiments.grids import configurations, find_grid

    at_least_one("--seeds", seeds)
    at_least_one("--futures", futures)
    grid = find_grid(name)
    configs = configurations(grid, recipe, config, given(flags))
    from posecast.cli.progress_bars import TrainingDisplay, counting
    from posecast.cli.tables import print_comparison
    from posecast.config.schema import parse_size
    from posecast.data.cache import load_footage
    from posecast.experiments.runner import carry_out, open_experiment
    from posecast.reporting.experiment_report import write_comparison

    with counting("packing") as progress:
        load_footage(data, parse_size(next(iter(configs.values())).size), progress=progress)
    plan = open_experiment(
        grid, configs, data, out, num_seeds=seeds, futures=futures, device=device, force=force, say=note
    )
    carry_out(
        plan,
        device=device,
        say=note,
        callback=TrainingDisplay,
        counting=counting,
        after_each=lambda: write_comparison(plan),
    )
    print_comparison(write_comparison(plan))
    print(f"Written: {out}/comparison.html, with its figures in {out}/figures and its curves in {out}/curves.")
