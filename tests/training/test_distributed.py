"""Several processes: results equal to one process, agreement on threads and plans, and common ends."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from posecast.cli.main import main
from posecast.config.schema import Config
from posecast.errors import InputError, TrainingFailed
from posecast.files import read_json_lines
from posecast.model.checkpoint import read_config
from posecast.training.batches import build_cutter
from posecast.training.checkpoints import load_state, states
from posecast.training.distributed import single_process
from posecast.training.plan import Plan
from posecast.training.schedules import kl_weight, learning_rate
from posecast.training.shares import share_of
from posecast.training.state import TrainEvent
from posecast.training.step import TrainStep
from posecast.training.train import train

from ..syscalls import addresses_of, can_trace
from .runs import footage, weights


@pytest.mark.long
def test_two_processes_equal_two_halves_in_one_process(tiny: Config, tmp_path: Path) -> None:
    """The reference sums the gradients of the two halves of each batch without `distributed`."""
    # Adam, because Muon and AdamW amplify differences in the last digits of a gradient.
    training = dataclasses.replace(
        tiny.training, clip_length_curriculum=(1.0,), clip_length=4, prior_mean_share=0.5, optimizer="adam"
    )
    config = dataclasses.replace(tiny, training=training, budget=dataclasses.replace(tiny.budget, steps=3))
    train(config, footage, tmp_path / "two", devices=2, precision="32-true")
    expected = weights_of_halves(config, 3)
    saved = load_state(tmp_path / "two")
    assert saved is not None
    for name, value in expected.items():
        torch.testing.assert_close(saved["weights"][name], value, atol=2e-6, rtol=1e-4)
    assert read_config(tmp_path / "two")[1]["machine"]["processes"] == 2


def weights_of_halves(config: Config, num_steps: int) -> dict[str, torch.Tensor]:
    """Return the weights after updates on the loss of both halves of a batch, each predicted separately."""
    train_step = TrainStep(single_process("cpu", "32-true"), config)
    cutter = build_cutter(config, footage())
    step = 0
    for epoch in range(num_steps):
        for plan in cutter.epoch(8, 4, config.seed, epoch):
            if step >= num_steps:
                break
            train_step.set_learning_rate(learning_rate(step, Plan(((0, num_steps),)), config.training))
            train_step.predictor.zero_grad()
            clip, draws = cutter.cut(plan), train_step.batches.draw(4, cutter.clip_length, step, epoch)
            halves = [(share_of(clip, half, 2), share_of(draws, half, 2)) for half in (0, 1)]
            observations = [train_step.predictor(*clip, draws) for clip, draws in halves]
            mse = torch.cat([observation.mse for observation in observations])
            rate_nats = torch.cat([observation.rate_nats for observation in observations])
            observed = torch.cat([draws.observed() for _, draws in halves])
            train_step.bound(mse, rate_nats, observed, kl_weight(epoch, config.bound)).loss.backward()
            torch.nn.utils.clip_grad_norm_(train_step.predictor.parameters(), config.training.max_grad_norm)
            for optimizer in train_step.optimizers:
                optimizer.step()
            step += 1
    return train_step.predictor.state_dict()


@pytest.mark.long
def test_two_processes_resume_exactly(tiny: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, save_every_seconds=0.0))
    train(config, footage, tmp_path / "uninterrupted", devices=2, precision="32-true")
    run = tmp_path / "interrupted"
    train(config, footage, run, devices=2, precision="32-true")
    states(run)[-1].unlink()  # as if the run had been killed in its last update
    train(config, footage, run, devices=2, precision="32-true", resume=True)
    assert weights(run) == weights(tmp_path / "uninterrupted")
    with pytest.raises(InputError, match="--devices 2"):
        train(config, footage, run, precision="32-true", resume=True)


@pytest.mark.long
def test_two_processes_take_the_threads_that_were_chosen_for_them(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that each measured a busy machine could choose differently."""
    monkeypatch.setattr("posecast.training.train.chosen_threads", lambda *_: (1, 3))
    train(tiny, footage, tmp_path / "run", devices=2, precision="32-true")
    machine = read_config(tmp_path / "run")[1]["machine"]
    assert (machine["threads"], machine["shares"]) == (1, 3)


@pytest.mark.long
def test_two_processes_share_a_budget_of_minutes(tiny: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, budget=dataclasses.replace(tiny.budget, steps=None, minutes=0.02))
    train(config, footage, tmp_path / "run", devices=2, precision="32-true")
    assert read_json_lines(tmp_path / "run" / "log.jsonl")[-1]["step"] == read_config(tmp_path / "run")[1]["num_steps"]


@pytest.mark.long
def test_a_killed_process_ends_the_others_with_a_sentence(tiny: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, budget=dataclasses.replace(tiny.budget, steps=10**6))
    with pytest.raises(TrainingFailed, match="go on with --resume"):
        train(config, footage, tmp_path / "run", devices=2, callback=KillOtherProcess())
    assert not multiprocessing.active_children()


class KillOtherProcess:
    """A callback that sends SIGKILL to the other one of two processes after two updates."""

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


TINY = "--size 16x16 --widths 8 16 --blocks 1 --clip-length 4 --batch-size 4 --latent-channels 2".split()
PATIENCE_S = 900.0


def children_of(process: int) -> list[int]:
    """List the processes that train; multiprocessing starts another one, which tracks semaphores."""
    trainers = []
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                trainers.append(int(child))
    return trainers


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("num_started", [1, 2])
def test_processes_of_a_parent_killed_at_the_start_do_not_train(num_started: int, tmp_path: Path) -> None:
    """The parent is killed when it has started one or both; none has imported anything, one may wait for the other."""
    data, run = tmp_path / "data", tmp_path / "run"
    assert main(["synth", str(data), "--sequences", "1", "--frames", "24", "--size", "16x16"]) == 0
    arguments = ["train", "--data", str(data), "--out", str(run), "--devices", "2", "--steps", "1000000", *TINY]
    parent = subprocess.Popen(
        [sys.executable, "-m", "posecast", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    children: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    try:
        while len(children) < num_started and parent.poll() is None and time.monotonic() < deadline:
            children = children_of(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    assert len(children) >= num_started
    try:
        while any(map(is_alive, children)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(is_alive, children))
        assert not (run / "log.jsonl").exists()
    finally:
        for child in filter(is_alive, children):
            os.kill(child, signal.SIGKILL)


SCHEDULERS = {
    "a job of four tasks, of which this is the script": {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0"},
    "one task by srun": {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
    "another node": {"NODE_RANK": "1", "GROUP_RANK": "1", "LOCAL_RANK": "1", "RANK": "3", "WORLD_SIZE": "4"},
    "an address of long ago": {
        "MASTER_ADDR": "203.0.113.1",
        "MASTER_PORT": "1",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    },
    "LSF": {"LSB_JOBID": "7", "LSB_DJOB_RANKFILE": "none", "JSM_NAMESPACE_SIZE": "4", "JSM_NAMESPACE_RANK": "2"},
    "an interface that is not there": {"GLOO_SOCKET_IFNAME": "ib7"},
}
"""Variables that a scheduler or an earlier launch may have left."""


def surrounded(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("variables", SCHEDULERS.values(), ids=SCHEDULERS)
def test_one_process_ignores_a_schedulers_variables(
    variables: dict[str, str], tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrounded(monkeypatch, variables)
    train(tiny, footage, tmp_path / "run")
    assert read_config(tmp_path / "run")[1]["machine"]["processes"] == 1


@pytest.mark.long
@pytest.mark.parametrize("variables", SCHEDULERS.values(), ids=SCHEDULERS)
def test_two_processes_ignore_a_schedulers_variables(
    variables: dict[str, str], tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrounded(monkeypatch, variables)
    train(tiny, footage, tmp_path / "run", devices=2)
    assert read_config(tmp_path / "run")[1]["machine"]["processes"] == 2
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("launcher", "variables"),
    {
        "srun": {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_PROCID": "2"},
        "torchrun": {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "2", "TORCHELASTIC_RUN_ID": "none"},
        "mpirun": {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"},
    }.items(),
)
def test_one_of_several_tasks_does_not_train(
    launcher: str, variables: dict[str, str], tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrounded(monkeypatch, variables)
    with pytest.raises(InputError, match=rf"{launcher} has started 4 tasks .* --devices 4"):
        train(tiny, footage, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.skipif(not can_trace(), reason="strace is not installed or may not trace")
def test_two_processes_talk_on_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They ask no name server either."""
    surrounded(monkeypatch, {"GLOO_SOCKET_IFNAME": "eth0", "MASTER_ADDR": "203.0.113.1"})
    assert main(["synth", str(tmp_path / "data"), "--sequences", "1", "--frames", "24", "--size", "16x16"]) == 0
    words = ["train", "--data", "data", "--out", "run", "--devices", "2", "--device", "cpu", "--steps", "2", *TINY]
    status, addresses = addresses_of([sys.executable, "-m", "posecast", *words], tmp_path)
    assert status == 0, (tmp_path / "output").read_text()
    assert addresses == {"127.0.0.1"}
