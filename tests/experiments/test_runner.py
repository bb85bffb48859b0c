"""Experiments: planned once, interrupted without loss, shared among processes, failures written down."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from posecast.cli.main import main
from posecast.config.overrides import build_config
from posecast.config.schema import Budget, Config
from posecast.data.clips import ClipCutter
from posecast.errors import InputError, InterruptedTraining, TrainingFailed
from posecast.experiments.grids import Grid, Setting
from posecast.experiments.plan import Plan, read_plan
from posecast.experiments.runner import carry_out, minutes_in_steps, open_experiment, unfolded
from posecast.files import read_json_lines
from posecast.model.checkpoint import read_config
from posecast.reporting.experiment_report import write_comparison
from posecast.training.budget import Pacer, steps_of_epochs
from posecast.training.state import Callback, TrainEvent

from ..conftest import TINY_LAB4, moving_square

GRID = Grid(
    "two",
    "Which?",
    (Setting("rising", {"kl_schedule": "monotonic", "kl_period": 3.0}), Setting("flat", {"kl_schedule": "constant"})),
    common={"validate_every": 1},
    schedule_epochs=3,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "data"
    assert main(["synth", str(folder), "--sequences", "1", "--frames", "12", "--size", "16x16"]) == 0
    return folder


def configs(**flags: object) -> dict[str, Config]:
    from posecast.experiments.grids import configurations

    return configurations(GRID, flags={**TINY_LAB4, "steps": 6, **flags})


def opened(data: Path, out: Path, num_seeds: int = 2, **flags: object) -> Plan:
    return open_experiment(GRID, configs(**flags), data, out, num_seeds=num_seeds, futures=1, device="cpu", say=quiet)


@contextmanager
def uncounted(label: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


def quiet(text: str) -> None:
    pass


def silent(event: TrainEvent) -> None:
    pass


def worked(plan: Plan, callback: Callback = silent) -> None:
    carry_out(plan, device="cpu", say=quiet, callback=lambda: callback, counting=uncounted, after_each=lambda: None)
    write_comparison(plan)


def test_every_setting_is_trained_and_scored_under_every_seed(data: Path, tmp_path: Path) -> None:
    plan = opened(data, tmp_path / "out")
    worked(plan)
    assert sorted(run.name for run in plan.runs) == ["flat-seed0", "flat-seed1", "rising-seed0", "rising-seed1"]
    for run in plan.runs:
        assert read_config(run.folder)[0] == run.config
        log = read_json_lines(run.folder / "log.jsonl")
        assert len(log) == 3  # the whole schedule, within six updates
        expected = [0.0, 1 / 3, 2 / 3] if run.setting == "rising" else [1.0, 1.0, 1.0]
        assert [entry["kl_weight"] for entry in log] == pytest.approx(expected)
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["finished"]
    assert content["settings"]["flat"]["seeds"] == [0, 1]


class Killed(Exception):
    """Stands for the power going."""


@pytest.mark.long
def test_interrupted_and_gone_on_with_gives_the_same_tables(data: Path, tmp_path: Path) -> None:
    worked(opened(data, tmp_path / "whole", num_seeds=1))

    updates = 0

    def stops(event: TrainEvent) -> None:
        nonlocal updates
        updates += event.update is not None
        if updates == 9:  # in the middle of the second run
            raise Killed

    with pytest.raises(Killed):
        worked(opened(data, tmp_path / "cut", num_seeds=1), stops)
    assert sum(run.finished for run in opened(data, tmp_path / "cut", num_seeds=1).runs) == 1
    worked(opened(data, tmp_path / "cut", num_seeds=1))
    for name in ("comparison.json", "curves/bound.csv", "curves/frames.csv", "curves/log.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for run in opened(data, tmp_path / "cut", num_seeds=1).runs:
        whole = tmp_path / "whole" / "runs" / run.name
        assert (run.folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.long
def test_a_run_whose_pictures_are_missing_is_not_finished(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(folder: Path, *arguments: object) -> None:
        (folder / ".writing-half.png").touch()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("posecast.evaluation.evaluate_run.write_latent_samples", dies)
        with pytest.raises(Killed):
            worked(opened(data, tmp_path / "out", num_seeds=1))
    plan = opened(data, tmp_path / "out", num_seeds=1)
    worked(plan)
    first, second = (sorted(path.name for path in (run.folder / "samples").iterdir()) for run in plan.runs)
    assert first == second


@pytest.mark.long
def test_a_signal_saves_and_stops_and_finished_runs_are_skipped(data: Path, tmp_path: Path) -> None:
    def interrupts(event: TrainEvent) -> None:
        if event.update is not None and event.train_state.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedTraining):
        worked(opened(data, tmp_path / "out", num_seeds=1), interrupts)
    steps: list[int] = []

    def counts(event: TrainEvent) -> None:
        if event.update is not None:
            steps.append(event.train_state.step)

    worked(opened(data, tmp_path / "out", num_seeds=1), counts)
    assert steps == [3, 4, 5, 6, 1, 2, 3, 4, 5, 6]
    worked(opened(data, tmp_path / "out", num_seeds=1), counts)
    assert len(steps) == 10  # nothing was left to do


def joined(data: Path, out: Path) -> None:
    worked(opened(data, out, num_seeds=1))


@pytest.mark.long
def test_processes_share_the_runs_out(data: Path, tmp_path: Path) -> None:
    """Two processes on one folder: every run once, and both leave the same comparison."""
    out = tmp_path / "out"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=joined, args=(data, out)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=900)
        assert worker.exitcode == 0
    worked(opened(data, tmp_path / "alone", num_seeds=1))
    assert (out / "comparison.json").read_bytes() == (tmp_path / "alone" / "comparison.json").read_bytes()
    assert not list((out / "claims").iterdir())


def held(path: str, ready: str) -> None:
    from filelock import SoftFileLease

    from posecast.experiments.runner import LEASE_SECONDS

    lease = SoftFileLease(path, lease_duration=LEASE_SECONDS)
    lease.acquire()
    Path(ready).touch()
    time.sleep(900)


@pytest.mark.long
def test_the_claim_of_a_process_that_died_is_taken_over(data: Path, tmp_path: Path) -> None:
    plan = opened(data, tmp_path / "out", num_seeds=1)
    (plan.out / "claims").mkdir()
    claim = plan.out / "claims" / f"{plan.runs[0].name}.claim"
    holder = multiprocessing.get_context("spawn").Process(target=held, args=(str(claim), str(tmp_path / "ready")))
    holder.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    holder.kill()
    holder.join()
    assert claim.exists()
    worked(plan)
    assert all(run.finished for run in plan.runs)


@pytest.mark.long
def test_a_claim_lost_on_the_way_is_given_up_and_the_run_still_gets_done(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim vanishes in the middle of a run, as when a machine slept and another one took the run over."""
    monkeypatch.setattr("posecast.experiments.runner.LEASE_SECONDS", 0.6)
    plan = opened(data, tmp_path / "out", num_seeds=1)
    begun: list[int] = []

    def loses_its_claim(event: TrainEvent) -> None:
        if event.update is None:
            return
        begun.append(event.train_state.step)
        if len(begun) == 2:
            [claim] = (plan.out / "claims").iterdir()
            claim.unlink()
            time.sleep(2.0)  # the holder looks after its claim every 0.2 seconds

    worked(plan, loses_its_claim)
    assert begun[:3] == [1, 2, 1]  # given up after its second update, and nothing of it had been saved
    assert all(run.finished and not run.failure.exists() for run in plan.runs)


def test_settings_of_different_size_are_measured_each_at_its_own(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from posecast.experiments import runner as experiments
    from posecast.experiments.grids import configurations

    seen: list[tuple[str, tuple[int, int]]] = []

    def measured(config: Config, cutter: ClipCutter, footage: object, device: str) -> Pacer:
        seen.append((config.size, cutter.recordings[0].size))
        return Pacer(config, cutter, 0.0, [0.01], 0.01)

    monkeypatch.setattr(experiments, "measured", measured)
    grid = replace(GRID, settings=(Setting("small", {"size": "16x16"}), Setting("large", {"size": "16x32"})))
    flags = {name: value for name, value in TINY_LAB4.items() if name != "size"}
    made = configurations(grid, flags={**flags, "minutes": 0.1})
    open_experiment(grid, made, data, tmp_path / "out", num_seeds=1, futures=1, device="cpu", say=quiet)
    assert seen == [("16x16", (16, 16)), ("16x32", (16, 32))]


def test_a_failed_training_is_written_down_and_the_others_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from posecast.experiments import runner as experiments

    real = experiments.train

    def fails(config: Config, *given: object, **named: object) -> None:
        if config.bound.kl_schedule == "constant":
            raise TrainingFailed("The loss was not finite.")
        real(config, *given, **named)  # pyright: ignore

    monkeypatch.setattr(experiments, "train", fails)
    plan = opened(data, tmp_path / "out", num_seeds=1)
    worked(plan)
    content = write_comparison(plan)
    assert content["finished"]
    assert content["settings"]["flat"]["failures"] == {"0": "The loss was not finite."}
    assert "The loss was not finite." in (plan.out / "comparison.html").read_text()


def test_another_request_is_refused(data: Path, tmp_path: Path) -> None:
    opened(data, tmp_path / "out")
    with pytest.raises(InputError, match=r"begun with num_seeds = 2, now it is 1"):
        opened(data, tmp_path / "out", num_seeds=1)
    with pytest.raises(InputError, match=r"settings.flat.training.batch_size = 2, now it is 4"):
        opened(data, tmp_path / "out", batch_size=4)
    assert len(opened(data, tmp_path / "out").runs) == 4


def test_a_folder_of_something_else_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="already holds something"):
        opened(data, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "mine" / "experiment.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="not the plan of an experiment"):
        read_plan(tmp_path / "mine")


def cutter(num_frames: int = 80) -> ClipCutter:
    return ClipCutter([moving_square(num_frames)], 4, 0)


def test_a_schedule_unfolds_within_the_budget() -> None:
    config = build_config("lab4", flags={**TINY_LAB4, "steps": 100})
    planned = unfolded(config, cutter(), 100, 20)
    assert planned.budget == Budget(epochs=20)
    assert steps_of_epochs(planned, cutter(), 20) == 100
    fast = replace(config, training=replace(config.training, fast_epochs=15, fast_share=0.4))
    assert 90 <= steps_of_epochs(unfolded(fast, cutter(), 100, 20), cutter(), 20) <= 100


def test_epochs_are_shortened_only_where_there_are_too_few() -> None:
    many = build_config("lab4", flags={**TINY_LAB4, "epochs": 30})
    assert unfolded(many, cutter(), None, 20) == many
    few = build_config("lab4", flags={**TINY_LAB4, "epochs": 4})  # of 80 // 4 // 2 = 10 updates each
    assert steps_of_epochs(unfolded(few, cutter(), None, 20), cutter(), 20) == 40
    with pytest.raises(InputError, match="buys 5 updates a run, but the schedules count 20 epochs"):
        unfolded(few, cutter(), 5, 20)
    plain = build_config("lab4", flags={**TINY_LAB4, "minutes": 3.0})
    assert unfolded(plain, cutter(), 7, 0).budget == Budget(steps=7)


def test_minutes_pay_for_validations_too() -> None:
    config = build_config("lab4", flags={**TINY_LAB4, "minutes": 2.0, "validate_every": 1})
    pacer = Pacer(config, cutter(), 0.0, [0.5], 10.0)
    assert minutes_in_steps(GRID, config, pacer) == (120 - 3 * 10) / 0.5


def test_minutes_become_the_same_number_of_updates_for_all(data: Path, tmp_path: Path) -> None:
    plan = open_experiment(
        GRID, configs_in_minutes(), data, tmp_path / "out", num_seeds=1, futures=1, device="cpu", say=quiet
    )
    budgets = {(config.budget.epochs, config.training.clips_per_epoch) for config in plan.configs.values()}
    assert len(budgets) == 1
    assert {config.budget.minutes for config in plan.configs.values()} == {None}
    joined_later = open_experiment(
        GRID, configs_in_minutes(), data, tmp_path / "out", num_seeds=1, futures=1, device="cpu", say=quiet
    )
    assert joined_later.configs == plan.configs  # measured once, not again


def configs_in_minutes() -> dict[str, Config]:
    from posecast.experiments.grids import configurations

    return configurations(GRID, flags={**TINY_LAB4, "minutes": 0.1})
