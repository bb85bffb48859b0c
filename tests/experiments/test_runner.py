"""Planning and execution of experiments, interruptions, several processes, and failures."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import SoftFileLease

from posecast.config.schema import Config
from posecast.errors import InputError, InterruptedTraining, TrainingFailed
from posecast.experiments import runner
from posecast.experiments.grids import configurations
from posecast.experiments.plan import PLAN, Plan, read_plan
from posecast.experiments.runner import carry_out, open_experiment
from posecast.files import read_json_lines, write_json
from posecast.model import device
from posecast.model.checkpoint import read_config
from posecast.model.device import MachineProfile, machine_profile, resolve_precision
from posecast.reporting.experiment_report import write_comparison
from posecast.training.state import Callback, TrainEvent
from posecast.training.train import chosen_threads

from ..conftest import TINY_LAB4
from .conftest import GRID


def configs(**flags: object) -> dict[str, Config]:
    return configurations(GRID, flags={**TINY_LAB4, "steps": 6, **flags})


def open_small(data: Path, out: Path, num_seeds: int = 2, **flags: object) -> Plan:
    return open_experiment(
        GRID, configs(**flags), data, out, num_seeds=num_seeds, futures=1, device="cpu", notify=ignore
    )


@contextmanager
def uncounted(label: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


def ignore(text: str) -> None:
    pass


def silent(event: TrainEvent) -> None:
    pass


def carry_out_all(plan: Plan, callback: Callback = silent) -> None:
    carry_out(plan, device="cpu", notify=ignore, callback=lambda: callback, counting=uncounted, after_each=lambda: None)
    write_comparison(plan)


def test_every_setting_is_trained_and_scored_under_every_seed(data: Path, tmp_path: Path) -> None:
    plan = open_small(data, tmp_path / "out")
    carry_out_all(plan)
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
    """Stand-in for the end of the process."""


@pytest.mark.long
def test_an_interrupted_experiment_gives_the_same_tables(data: Path, tmp_path: Path) -> None:
    carry_out_all(open_small(data, tmp_path / "whole", num_seeds=1))

    updates = 0

    def stops(event: TrainEvent) -> None:
        nonlocal updates
        updates += event.update is not None
        if updates == 9:  # in the middle of the second run
            raise Killed

    with pytest.raises(Killed):
        carry_out_all(open_small(data, tmp_path / "cut", num_seeds=1), stops)
    assert sum(run.finished for run in open_small(data, tmp_path / "cut", num_seeds=1).runs) == 1
    carry_out_all(open_small(data, tmp_path / "cut", num_seeds=1))
    for name in ("comparison.json", "curves/bound.csv", "curves/frames.csv", "curves/log.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for run in open_small(data, tmp_path / "cut", num_seeds=1).runs:
        whole = tmp_path / "whole" / "runs" / run.name
        assert (run.folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.long
def test_a_run_without_samples_is_not_finished(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(folder: Path, *arguments: object) -> None:
        (folder / ".writing-half.png").touch()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("posecast.evaluation.evaluate_run.write_latent_samples", dies)
        with pytest.raises(Killed):
            carry_out_all(open_small(data, tmp_path / "out", num_seeds=1))
    plan = open_small(data, tmp_path / "out", num_seeds=1)
    carry_out_all(plan)
    first, second = (sorted(path.name for path in (run.folder / "samples").iterdir()) for run in plan.runs)
    assert first == second


@pytest.mark.long
def test_after_a_signal_the_experiment_continues_where_it_stopped(data: Path, tmp_path: Path) -> None:
    def interrupts(event: TrainEvent) -> None:
        if event.update is not None and event.train_state.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedTraining):
        carry_out_all(open_small(data, tmp_path / "out", num_seeds=1), interrupts)
    steps: list[int] = []

    def counts(event: TrainEvent) -> None:
        if event.update is not None:
            steps.append(event.train_state.step)

    carry_out_all(open_small(data, tmp_path / "out", num_seeds=1), counts)
    assert steps == [3, 4, 5, 6, 1, 2, 3, 4, 5, 6]
    carry_out_all(open_small(data, tmp_path / "out", num_seeds=1), counts)
    assert len(steps) == 10  # every run is finished


PROFILE = MachineProfile(
    processor="Quick 9",
    cores=2,
    float32_gflops=50.0,
    bfloat16_gflops=100.0,
    float32_product_gflops=60.0,
    bfloat16_product_gflops=120.0,
    bfloat16=False,
    operator_threads=1,
    shares=2,
    quiet=True,
)
OTHER = dataclasses.replace(PROFILE, bfloat16=True, operator_threads=2, shares=1)


@pytest.mark.parametrize("of_an_earlier_version", [False, True])
def test_every_process_computes_with_the_choices_of_the_plan(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_an_earlier_version: bool
) -> None:
    """Train in a process that measured this machine otherwise than the process that planned."""
    used: list[tuple[object, ...]] = []

    def record_choices(*_: object, **__: object) -> None:
        used.append((*chosen_threads("cpu"), resolve_precision("auto", "cpu"), machine_profile().shares))

    def train(config: Config, footage: object, folder: Path, **_: object) -> None:
        record_choices()
        write_json(folder / "model.safetensors", {})

    def score_run(folder: Path, *_: object, **__: object) -> None:
        record_choices()
        write_json(folder / "scores.json", {})

    monkeypatch.setattr(runner, "train", train)
    monkeypatch.setattr(runner, "score_run", score_run)
    monkeypatch.setattr(device, "_measured", {device.profile_key(): PROFILE})
    open_small(data, tmp_path / "out", num_seeds=1)
    if of_an_earlier_version:
        content = json.loads((tmp_path / "out" / PLAN).read_text())
        content.pop("choices", None)
        write_json(tmp_path / "out" / PLAN, content)
    monkeypatch.setattr(device, "_measured", {device.profile_key(): OTHER})
    plan = open_small(data, tmp_path / "out", num_seeds=1)
    carry_out(plan, device="cpu", notify=ignore, callback=lambda: silent, counting=uncounted, after_each=lambda: None)
    expected = (2, 1, "bf16-mixed", 1) if of_an_earlier_version else (1, 2, "32-true", 2)
    assert used == 4 * [expected]
    assert machine_profile() == OTHER


def join(data: Path, out: Path) -> None:
    carry_out_all(open_small(data, out, num_seeds=1))


@pytest.mark.long
def test_two_processes_share_the_runs(data: Path, tmp_path: Path) -> None:
    """Compare the result of two processes with that of one that has the same plan."""
    out = tmp_path / "out"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=join, args=(data, out)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=900)
        assert worker.exitcode == 0
    (tmp_path / "alone").mkdir()
    shutil.copy(out / PLAN, tmp_path / "alone" / PLAN)
    carry_out_all(open_small(data, tmp_path / "alone", num_seeds=1))
    assert (out / "comparison.json").read_bytes() == (tmp_path / "alone" / "comparison.json").read_bytes()
    assert not list((out / "claims").iterdir())


def hold_claim(path: str, ready: str) -> None:
    lease = SoftFileLease(path, lease_duration=runner.LEASE_SECONDS)
    lease.acquire()
    Path(ready).touch()
    time.sleep(900)


@pytest.mark.long
def test_the_claim_of_a_killed_process_is_taken_over(data: Path, tmp_path: Path) -> None:
    plan = open_small(data, tmp_path / "out", num_seeds=1)
    (plan.out / "claims").mkdir()
    claim = plan.out / "claims" / f"{plan.runs[0].name}.claim"
    holder = multiprocessing.get_context("spawn").Process(target=hold_claim, args=(str(claim), str(tmp_path / "ready")))
    holder.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    holder.kill()
    holder.join()
    assert claim.exists()
    carry_out_all(plan)
    assert all(run.finished for run in plan.runs)


@pytest.mark.long
def test_a_run_whose_claim_is_lost_is_stopped_and_done_later(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remove the claim during a run, as another process does after this machine was suspended."""
    monkeypatch.setattr("posecast.experiments.runner.LEASE_SECONDS", 0.6)
    plan = open_small(data, tmp_path / "out", num_seeds=1)
    steps: list[int] = []

    def loses_its_claim(event: TrainEvent) -> None:
        if event.update is None:
            return
        steps.append(event.train_state.step)
        if len(steps) == 2:
            [claim] = (plan.out / "claims").iterdir()
            claim.unlink()
            time.sleep(2.0)  # longer than the interval at which the holder refreshes its claim

    carry_out_all(plan, loses_its_claim)
    assert steps[:3] == [1, 2, 1]  # stopped after its second update, of which nothing was saved
    assert all(run.finished and not run.failure.exists() for run in plan.runs)


def test_a_failed_training_is_recorded_and_the_others_continue(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = runner.train

    def fail_if_constant(config: Config, *arguments: Any, **options: Any) -> None:
        if config.bound.kl_schedule == "constant":
            raise TrainingFailed("The loss was not finite.")
        train(config, *arguments, **options)

    monkeypatch.setattr(runner, "train", fail_if_constant)
    plan = open_small(data, tmp_path / "out", num_seeds=1)
    carry_out_all(plan)
    content = write_comparison(plan)
    assert content["finished"]
    assert content["settings"]["flat"]["failures"] == {"0": "The loss was not finite."}
    assert "The loss was not finite." in (plan.out / "comparison.html").read_text()


def test_another_request_is_refused(data: Path, tmp_path: Path) -> None:
    open_small(data, tmp_path / "out")
    with pytest.raises(InputError, match=r"started with num_seeds = 2, but now it is 1"):
        open_small(data, tmp_path / "out", num_seeds=1)
    with pytest.raises(InputError, match=r"settings.flat.training.batch_size = 2, but now it is 4"):
        open_small(data, tmp_path / "out", batch_size=4)
    assert len(open_small(data, tmp_path / "out").runs) == 4


def test_a_folder_with_other_files_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="already holds something"):
        open_small(data, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "mine" / "experiment.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="not the plan of an experiment"):
        read_plan(tmp_path / "mine")


def test_settings_with_the_same_networks_get_the_same_number_of_updates(data: Path, tmp_path: Path) -> None:
    plan = open_in_minutes(data, tmp_path / "out")
    budgets = {(config.budget.epochs, config.training.clips_per_epoch) for config in plan.configs.values()}
    assert len(budgets) == 1
    assert {config.budget.minutes for config in plan.configs.values()} == {None}
    joined = open_in_minutes(data, tmp_path / "out")
    assert joined.configs == plan.configs  # measured only once


def open_in_minutes(data: Path, out: Path) -> Plan:
    configs = configurations(GRID, flags={**TINY_LAB4, "minutes": 0.1})
    return open_experiment(GRID, configs, data, out, num_seeds=1, futures=1, device="cpu", notify=ignore)
