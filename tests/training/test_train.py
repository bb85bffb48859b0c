"""Runs: exact repetition and resuming, several processes, validation, stopping."""

import dataclasses
import json
import math
import multiprocessing
import os
import signal
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import posecast.training.loop
from posecast.config.schema import Budget, Config
from posecast.data.clips import Clip, ClipCutter, ClipPlan
from posecast.data.recordings import Footage
from posecast.errors import InputError, InterruptedTraining, TrainingFailed
from posecast.evaluation.evaluate import mean_rollout, psnr_db
from posecast.files import read_json_lines
from posecast.model.checkpoint import load_run, load_weights, read_config
from posecast.reporting.run_report import write_report
from posecast.training.batches import Batch, build_cutter, share_of
from posecast.training.budget import Plan
from posecast.training.check_run import inspect_run
from posecast.training.checkpoints import is_finite, load_state, states
from posecast.training.loop import learning_rate_at
from posecast.training.state import TrainEvent, TrainState, account
from posecast.training.step import TrainStep
from posecast.training.train import train

from ..conftest import moving_square


def footage() -> Footage:
    return Footage(
        [moving_square(25, seed=1), moving_square(19, seed=2)],
        [moving_square(12, seed=3)],
        facts={"path": "squares", "fingerprint": "1"},
    )


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def log_without_times(run: Path) -> list[dict]:
    entries = read_json_lines(run / "log.jsonl")
    return [{k: v for k, v in e.items() if k not in ("seconds", "frames_per_second")} for e in entries]


class StopAfter:
    """A callback that asks for a stop, as a person pressing Ctrl-C does."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number = step, number

    def __call__(self, event: TrainEvent) -> None:
        if event.update is not None and event.train_state.step == self.step:
            os.kill(os.getpid(), self.number)


def test_a_run_folder_is_complete(tiny: Config, tmp_path: Path) -> None:
    train(tiny, footage(), tmp_path / "run", precision="32-true")
    config, facts = read_config(tmp_path / "run")
    assert config == tiny
    assert facts["num_steps"] == 8
    assert facts["source"] == {"path": "squares", "fingerprint": "1"}
    log = read_json_lines(tmp_path / "run" / "log.jsonl")
    assert [entry["step"] for entry in log] == [2, 4, 6, 8]  # 44 frames: 11 clips, 2 whole batches an epoch
    for entry in log:
        assert entry["distortion"] is not None
        assert entry["frames_per_second"] > 0
        assert math.isfinite(entry["validation_psnr_db"])
    load_run(tmp_path / "run")


def test_the_kept_weights_are_the_best_by_validation(tiny: Config, tmp_path: Path) -> None:
    train(tiny, footage(), tmp_path / "run", precision="32-true")
    kept = load_run(tmp_path / "run")
    recording = footage().validation[0]
    found = psnr_db(mean_rollout(kept, recording), recording.frames[1:]).mean()
    logged = [entry["validation_psnr_db"] for entry in read_json_lines(tmp_path / "run" / "log.jsonl")]
    assert found == pytest.approx(max(logged), abs=1e-6)


def test_the_same_command_gives_the_same_bytes(either: Config, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(either, footage(), tmp_path / name, precision="32-true")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert log_without_times(tmp_path / "a") == log_without_times(tmp_path / "b")


@pytest.mark.parametrize("stop_at", [1, 2, 5, 7])
def test_resumed_equals_uninterrupted(either: Config, tmp_path: Path, stop_at: int) -> None:
    config = dataclasses.replace(either, budget=dataclasses.replace(either.budget, epochs=None, steps=7, minutes=None))
    train(config, footage(), tmp_path / "whole", precision="32-true")
    with pytest.raises(InterruptedTraining):
        train(config, footage(), tmp_path / "cut", precision="32-true", callback=StopAfter(stop_at))
    train(config, footage(), tmp_path / "cut", precision="32-true", resume=True)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert log_without_times(tmp_path / "cut") == log_without_times(tmp_path / "whole")
    final = [load_state(tmp_path / name) for name in ("cut", "whole")]
    for a, b in zip(*(state["weights"].values() for state in final if state), strict=True):
        assert torch.equal(a, b)


def test_sigterm_saves_and_says_so(tiny: Config, tmp_path: Path) -> None:
    with pytest.raises(InterruptedTraining) as stopped:
        train(tiny, footage(), tmp_path / "run", callback=StopAfter(3, signal.SIGTERM))
    assert stopped.value.signal_number == signal.SIGTERM
    assert [path.name[:15] for path in states(tmp_path / "run")] == ["step-000000003-"]


def test_resuming_a_finished_run_does_nothing(tiny: Config, tmp_path: Path) -> None:
    train(tiny, footage(), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.safetensors")}
    train(tiny, footage(), tmp_path / "run", resume=True)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_resuming_with_another_configuration_or_data_is_refused(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedTraining):
        train(tiny, footage(), run, callback=StopAfter(2))
    with pytest.raises(InputError, match="seed was 0, now 3"):
        train(dataclasses.replace(tiny, seed=3), footage(), run, resume=True)
    other = dataclasses.replace(footage(), facts={"path": "squares", "fingerprint": "2"})
    with pytest.raises(InputError, match="data set has changed"):
        train(tiny, other, run, resume=True)


def test_a_damaged_newest_state_gives_way_to_the_one_before(tiny: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, save_every_seconds=0.0))
    train(config, footage(), tmp_path / "run")
    newest = states(tmp_path / "run")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    state = load_state(tmp_path / "run")
    assert state is not None
    assert state["step"] < 8
    train(config, footage(), tmp_path / "run", resume=True)
    train(config, footage(), tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_nothing_of_others_is_written_over(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(InputError):
            train(tiny, footage(), run, force=force)
    assert [path.name for path in run.iterdir()] == ["thesis.txt"]


def test_force_replaces_a_run_and_leaves_what_others_put_there(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny, footage(), run)
    (run / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="--force"):
        train(tiny, footage(), run)
    train(tiny, footage(), run, force=True)
    assert (run / "notes.txt").read_text() == "mine"


def test_starting_from_another_runs_weights(tiny: Config, tmp_path: Path) -> None:
    train(tiny, footage(), tmp_path / "first")
    slow = dataclasses.replace(tiny.training, learning_rate=1e-9, ema_decay=0.0)
    config = dataclasses.replace(tiny, training=slow)
    train(config, footage(), tmp_path / "second", start_from=tmp_path / "first", precision="32-true")
    first, second = (load_weights(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


@pytest.mark.long
def test_two_processes_equal_hand_averaged_halves(tiny: Config, tmp_path: Path) -> None:
    """Gradients of the two halves of each batch, averaged by hand, against two real processes."""
    # Adam, since Muon and AdamW magnify the last digits of a gradient.
    training = dataclasses.replace(
        tiny.training, clip_length_curriculum=(1.0,), clip_length=4, prior_mean_share=0.5, optimizer="adam"
    )
    config = dataclasses.replace(tiny, training=training, budget=dataclasses.replace(tiny.budget, steps=3))
    train(config, footage, tmp_path / "two", devices=2, precision="32-true")
    by_hand = averaged_by_hand(config, 3)
    saved = load_state(tmp_path / "two")
    assert saved is not None
    for name, value in by_hand.items():
        torch.testing.assert_close(saved["weights"][name], value, atol=2e-6, rtol=1e-4)
    assert read_config(tmp_path / "two")[1]["machine"]["processes"] == 2


def averaged_by_hand(config: Config, num_steps: int) -> dict[str, torch.Tensor]:
    """Weights after updates whose loss is of both halves of a batch, each predicted on its own."""
    from lightning_fabric import Fabric

    learner = TrainStep(Fabric(accelerator="cpu", devices=1, precision="32-true"), config)
    cutter = build_cutter(config, footage())
    step = 0
    for epoch in range(num_steps):
        for plan in cutter.epoch(8, 4, config.seed, epoch):
            if step >= num_steps:
                break
            learner.set_learning_rate(learning_rate_at(config.training, Plan(((0, num_steps),)), step))
            learner.predictor.zero_grad()
            clip, draws = cutter.cut(plan), learner.batches.draw(4, cutter.clip_length, step, epoch)
            halves = [(share_of(clip, half, 2), share_of(draws, half, 2)) for half in (0, 1)]
            observations = [learner.predictor(*clip, draws) for clip, draws in halves]
            mse, rate = (torch.cat([one[part] for one in observations]) for part in (1, 2))
            observed = torch.cat([draws.observed() for _, draws in halves])
            learner.bound(mse, rate, observed, learner.kl_weight(epoch)).loss.backward()
            torch.nn.utils.clip_grad_norm_(learner.predictor.parameters(), config.training.max_grad_norm)
            for optimizer in learner.optimizers:
                optimizer.step()
            step += 1
    return learner.predictor.state_dict()


@pytest.mark.long
def test_two_processes_resume_exactly(tiny: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, save_every_seconds=0.0))
    train(config, footage, tmp_path / "whole", devices=2, precision="32-true")
    run = tmp_path / "cut"
    train(config, footage, run, devices=2, precision="32-true")
    states(run)[-1].unlink()  # as if it had been killed in its last update
    train(config, footage, run, devices=2, precision="32-true", resume=True)
    assert weights(run) == weights(tmp_path / "whole")
    with pytest.raises(InputError, match="2 process"):
        train(config, footage, run, precision="32-true", resume=True)


@pytest.mark.long
def test_two_processes_take_the_threads_that_were_chosen_for_them(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that measured a busy machine by itself could choose otherwise than the others."""
    monkeypatch.setattr("posecast.training.train.chosen_threads", lambda *_: (1, 3))
    train(tiny, footage, tmp_path / "run", devices=2, precision="32-true")
    machine = read_config(tmp_path / "run")[1]["machine"]
    assert (machine["threads"], machine["shares"]) == (1, 3)


@pytest.mark.long
def test_two_processes_share_a_budget_of_minutes(tiny: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, budget=dataclasses.replace(tiny.budget, steps=None, minutes=0.02))
    train(config, footage, tmp_path / "run", devices=2, precision="32-true")
    assert read_json_lines(tmp_path / "run" / "log.jsonl")[-1]["step"] == read_config(tmp_path / "run")[1]["num_steps"]


def test_a_run_that_saved_nothing_yet_starts_with_the_updates_it_planned(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny, footage(), run, precision="32-true")
    for path in states(run):
        path.unlink()
    before = weights(run)
    (run / "model.safetensors").unlink()
    train(tiny, footage(), run, precision="32-true", resume=True)
    assert weights(run) == before


def planning_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second update ends with another plan, as on a machine whose speed swings."""
    monkeypatch.setattr("posecast.training.budget.Pacer.is_due", lambda self, *, epoch_ended: not epoch_ended)
    monkeypatch.setattr(
        "posecast.training.budget.Pacer.num_steps", lambda self, plan, step: max(9, 14 - step) + step % 2
    )


def test_a_run_of_minutes_is_repeated_by_its_record(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(tiny, budget=dataclasses.replace(tiny.budget, steps=None, minutes=0.02))
    with monkeypatch.context() as patch:
        planning_often(patch)
        train(config, footage(), tmp_path / "run", precision="32-true")
    facts = read_config(tmp_path / "run")[1]
    assert len(facts["plan"]) > 3
    assert facts["num_steps"] == facts["plan"][-1][1] == read_json_lines(tmp_path / "run" / "log.jsonl")[-1]["step"]
    train(config, footage(), tmp_path / "again", repeat=tmp_path / "run")
    assert weights(tmp_path / "run") == weights(tmp_path / "again")
    assert log_without_times(tmp_path / "run") == log_without_times(tmp_path / "again")
    assert read_config(tmp_path / "again")[1]["plan"] == facts["plan"]


@pytest.mark.parametrize("shares", [1, 2])
def test_a_run_of_minutes_that_was_stopped_is_repeated_by_its_record(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: int
) -> None:
    """Planned again before and after it was stopped; the repetition is stopped and goes on elsewhere, too."""
    monkeypatch.setattr("posecast.training.train.chosen_threads", lambda *_: (1, shares))
    config = dataclasses.replace(tiny, budget=dataclasses.replace(tiny.budget, steps=None, minutes=0.02))
    with monkeypatch.context() as patch:
        planning_often(patch)
        with pytest.raises(InterruptedTraining):
            train(config, footage(), tmp_path / "run", precision="32-true", callback=StopAfter(5))
        train(config, footage(), tmp_path / "run", precision="32-true", resume=True)
    assert read_config(tmp_path / "run")[1]["machine"]["shares"] == shares
    with pytest.raises(InterruptedTraining):
        train(config, footage(), tmp_path / "again", repeat=tmp_path / "run", callback=StopAfter(7))
    train(config, footage(), tmp_path / "again", repeat=tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(tmp_path / "again")


def test_a_repetition_needs_the_footage_and_the_weights_that_were_begun_with(tiny: Config, tmp_path: Path) -> None:
    train(tiny, footage(), tmp_path / "origin", precision="32-true")
    other = dataclasses.replace(tiny, seed=tiny.seed + 1)
    train(other, footage(), tmp_path / "run", precision="32-true", start_from=tmp_path / "origin")
    changed = dataclasses.replace(footage(), facts={"path": "squares", "fingerprint": "2"})
    with pytest.raises(InputError, match="data set has changed"):
        train(other, changed, tmp_path / "again", repeat=tmp_path / "run", start_from=tmp_path / "origin")
    with pytest.raises(InputError, match="--from"):
        train(other, footage(), tmp_path / "again", repeat=tmp_path / "run")
    with pytest.raises(InputError, match="without --from"):
        train(tiny, footage(), tmp_path / "again", repeat=tmp_path / "origin", start_from=tmp_path / "run")
    assert not (tmp_path / "again").exists()
    train(other, footage(), tmp_path / "again", repeat=tmp_path / "run", start_from=tmp_path / "origin")
    assert weights(tmp_path / "run") == weights(tmp_path / "again")


def test_a_run_that_saved_nothing_yet_needs_the_weights_it_began_with(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny, footage(), tmp_path / "origin", precision="32-true")
    train(tiny, footage(), run, precision="32-true", start_from=tmp_path / "origin")
    train(tiny, footage(), run, resume=True)  # it goes on from its own state
    before = weights(run)
    for path in states(run):
        path.unlink()
    with pytest.raises(InputError, match="--from"):
        train(tiny, footage(), run, resume=True)
    train(tiny, footage(), run, resume=True, start_from=tmp_path / "origin")
    assert weights(run) == before


def test_skipping_without_end_stops_with_a_sentence(tiny: Config) -> None:
    from posecast.training.step import StepMetrics

    skipped = StepMetrics(math.nan, math.nan, math.nan, math.nan, 1e-3, 12, 12, skipped=True)
    train_state = TrainState(Plan(((0, 100),)))
    for _ in range(19):
        account(train_state, skipped, 0.1)
    with pytest.raises(TrainingFailed, match="20 updates in a row"):
        account(train_state, skipped, 0.1)
    assert train_state.skipped == 20


def test_a_rollout_that_is_not_finite_is_logged_and_never_kept(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> np.ndarray:
        raise InputError("Frame 2 of the rollout is not finite")

    monkeypatch.setattr("posecast.training.validation.mean_rollout", broken)
    monkeypatch.setattr("posecast.training.budget.mean_rollout", lambda *_: None)
    train(tiny, footage(), tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines():
        assert json.loads(line)["validation_psnr_db"] is None


def test_footage_may_be_a_function(tiny: Config, tmp_path: Path) -> None:
    train(tiny, partial(dataclasses.replace, footage(), selected_on="tail"), tmp_path / "run")
    assert read_config(tmp_path / "run")[1]["selected_on"] == "tail"


def test_a_flipped_bit_in_the_newest_state_is_noticed(
    tiny: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """torch's own archive does not check its checksums: the tensor would be another one."""
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, save_every_seconds=0.0))
    with pytest.raises(InterruptedTraining):
        train(config, footage(), tmp_path / "run", callback=StopAfter(6))
    newest = states(tmp_path / "run")[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    train(config, footage(), tmp_path / "run", resume=True)
    assert "is damaged; going on from the one before it" in capfd.readouterr().err
    train(config, footage(), tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_force_goes_on_with_another_configuration(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedTraining):
        train(tiny, footage(), run, callback=StopAfter(2))
    other = dataclasses.replace(tiny, seed=3)
    with pytest.raises(InputError, match="seed was 0, now 3"):
        train(other, footage(), run, resume=True)
    train(other, footage(), run, resume=True, force=True)
    state = load_state(run)
    assert state is not None
    assert state["step"] == 8


def test_two_trainings_into_one_folder(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = []

    class Second:
        """Tries to train into the same folder while the first is at it."""

        def __call__(self, event: TrainEvent) -> None:
            for options in ({}, {"force": True}, {"resume": True}):
                with pytest.raises(InputError) as refused:
                    train(tiny, footage(), run, **options)
                said.append(str(refused.value))

    train(tiny, footage(), run, callback=Second())
    assert said
    assert all("Another posecast is training" in sentence for sentence in said)
    train(tiny, footage(), tmp_path / "alone")
    assert weights(run) == weights(tmp_path / "alone")


@pytest.mark.long
def test_reports_and_checks_while_training_writes(tiny: Config, tmp_path: Path) -> None:
    """Whoever reads meanwhile sees a whole run as it was at some instant, and disturbs nothing."""
    run = tmp_path / "run"
    often = dataclasses.replace(
        tiny,
        budget=Budget(epochs=12),
        training=dataclasses.replace(tiny.training, save_every_seconds=0.0, validate_every=1),
    )
    began, ended = threading.Event(), threading.Event()
    seen: list[tuple[set[str], int]] = []
    failures: list[Exception] = []

    def read() -> None:
        began.wait()
        while not ended.is_set():
            try:
                found = inspect_run(run)
                write_report([run], tmp_path / "page.html")
                said = {finding.kind for finding in (*found.errors, *found.remarks)}
                seen.append((said, len(read_json_lines(run / "log.jsonl"))))
            except Exception as error:
                failures.append(error)
                return

    def begin(event: TrainEvent) -> None:
        if event.entry is not None:
            began.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        train(often, footage(), run, callback=begin)
    finally:
        began.set()
        ended.set()
        reader.join()
    assert not failures
    assert len({epochs for _, epochs in seen}) > 1  # it did read while something was written
    assert set().union(*(said for said, _ in seen)) <= {"unfinished", "leftovers"}  # nothing looked damaged
    train(often, footage(), tmp_path / "alone")
    assert weights(run) == weights(tmp_path / "alone")


def test_leftovers_of_a_killed_process_are_removed(tiny: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedTraining):
        train(tiny, footage(), run, callback=StopAfter(2))
    (run / "state" / ".writing-abc.pt").write_bytes(b"half")
    (run / ".writing-folder").mkdir()
    train(tiny, footage(), run, resume=True)
    assert not list(run.rglob(".writing-*"))


@pytest.mark.parametrize("left", [".lock", ".writer.lock", ".writing-config.json"])
def test_a_run_killed_before_it_had_a_configuration_starts(tiny: Config, tmp_path: Path, left: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / left).touch()
    train(tiny, footage(), run, resume=True)
    assert not list(run.rglob(".writing-*"))


def test_a_stop_during_validation_breaks_it_off(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rollouts of long recordings take longer than a cluster waits."""
    validated = posecast.training.loop.validated
    calls = []

    def slow(*args: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the validation went on")
        return validated(*args)  # pyright: ignore

    monkeypatch.setattr(posecast.training.loop, "validated", slow)
    with pytest.raises(InterruptedTraining) as stopped:
        train(tiny, footage(), tmp_path / "run")
    assert stopped.value.signal_number == signal.SIGTERM
    assert len(read_json_lines(tmp_path / "run" / "log.jsonl")) == 1
    train(tiny, footage(), tmp_path / "run", resume=True)
    train(tiny, footage(), tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert log_without_times(tmp_path / "run") == log_without_times(tmp_path / "whole")


@pytest.mark.long
def test_a_process_that_dies_ends_the_others_with_a_sentence(tiny: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, budget=dataclasses.replace(tiny.budget, steps=10**6))
    with pytest.raises(TrainingFailed, match="go on with --resume"):
        train(config, footage, tmp_path / "run", devices=2, callback=KillBrother())
    assert not multiprocessing.active_children()


class KillBrother:
    """After two updates: SIGKILL to the other process of two."""

    def __init__(self) -> None:
        self.updates = 0

    def __call__(self, event: TrainEvent) -> None:
        self.updates += 1
        if self.updates == 2:
            children = Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text().split()
            trainers = [
                int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
            ]
            os.kill(next(child for child in trainers if child != os.getpid()), signal.SIGKILL)


def damage(learner: TrainStep, where: str) -> None:
    """A number that is none, as bad memory or an overflow gives it."""
    if where == "weights":
        tensor = next(parameter for parameter in learner.predictor.parameters() if parameter.ndim == 4)
    elif where == "averages":
        tensor = next(iter(learner.smoothed.parameters()))
    else:
        state = next(state for optimizer in learner.optimizers for state in optimizer.state.values())
        tensor = next(value for value in state.values() if isinstance(value, torch.Tensor) and value.ndim > 1)
    with torch.no_grad():
        tensor[(0,) * tensor.ndim] = math.inf if where == "weights" else math.nan


@pytest.mark.parametrize("where", ["weights", "averages", "optimiser"])
def test_numbers_that_are_none_are_never_saved(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    update = TrainStep.update

    def damaging(self: TrainStep, batch: Batch, *, rate: float) -> object:
        done = update(self, batch, rate=rate)
        if batch.step == 4:
            damage(self, where)
        return done

    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, save_every_seconds=0.0))
    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "update", damaging)
        with pytest.raises(TrainingFailed, match="not finite"):
            train(config, footage(), tmp_path / "run")
    state = load_state(tmp_path / "run")
    assert state is not None
    assert state["step"] == 4
    assert is_finite(state)
    if (tmp_path / "run" / "model.safetensors").exists():
        assert is_finite(load_weights(tmp_path / "run" / "model.safetensors"))
    train(config, footage(), tmp_path / "run", resume=True)
    train(config, footage(), tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_a_loss_that_is_not_finite_is_skipped_and_counted(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = ClipCutter.cut

    def dark(self: ClipCutter, plan: ClipPlan) -> Clip:
        clip = cut(self, plan)
        return clip._replace(frames=clip.frames * math.nan) if plan.key[0] % 2 else clip

    with monkeypatch.context() as patch:
        patch.setattr(ClipCutter, "cut", dark)
        train(tiny, footage(), tmp_path / "run")
    entries = read_json_lines(tmp_path / "run" / "log.jsonl")
    skipped = sum(entry["skipped_updates"] for entry in entries)
    assert 0 < skipped < 8
    assert "NaN" not in (tmp_path / "run" / "log.jsonl").read_text()
    assert load_run(tmp_path / "run")
