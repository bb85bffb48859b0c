"""The translation of the template's options into commands and configurations."""

import contextlib
import dataclasses
import functools
import io
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from posecast.cli.main import main
from posecast.config.overrides import from_dict
from posecast.config.recipes import RECIPES
from posecast.config.schema import Config
from posecast.course.template import evaluate_words, notes, submit_words, train_config, train_words
from posecast.course.template_options import LabTest, LabTrain
from posecast.errors import InputError
from posecast.training.plan import Plan
from posecast.training.schedules import kl_weight, learning_rate, teacher_forcing_rate


def options(**changes: Any) -> LabTrain:
    return LabTrain(DR=Path("D"), save_root=Path("R"), **changes)


def printed(words: list[str]) -> str:
    """Run a command and return what it prints on stdout."""
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        assert main(words) == 0
    return stdout.getvalue()


def words_of(line: str) -> list[str]:
    """Return the words of a printed command, without the program's name."""
    program, *words = shlex.split(line)
    assert program == "posecast"
    return words


def test_the_defaults_are_those_of_the_template() -> None:
    """Parse the printed command again."""
    line = printed(["lab4", "train", "--DR", "D", "--save_root", "R", "--dry_run"])
    config = from_dict(json.loads(printed([*words_of(line), "--dry-run"])))
    recipe = RECIPES["lab4"]
    training = dataclasses.replace(
        recipe.training,
        learning_rate_schedule="milestones",
        milestones=config.training.milestones,
        checkpoint_every=3,
        validate_every=1,
        validation_frames=630,
        teacher_forcing=1.0,
        teacher_forcing_step=0.1,
        teacher_forcing_decay_from=10,
        teacher_forcing_coin="epoch",
        max_grad_norm=1 / 15,
    )
    bound = dataclasses.replace(recipe.bound, kl_schedule="cyclical", kl_period=7.0)
    assert config == dataclasses.replace(recipe, training=training, bound=bound)
    assert config.training.milestones == pytest.approx((2 / 70, 5 / 70), abs=1e-8)
    assert (config.bound.likelihood_variance, config.training.max_grad_norm) == ("course", 1 / 15)
    assert (config.networks.latent_channels, config.budget.epochs) == (12, 70)


# Options, the key of the configuration that they change, and its value.
CHANGES = [
    ("--batch_size 4", "training.batch_size", 4),
    ("--lr 1e-4", "training.learning_rate", 1e-4),
    ("--optim AdamW", "training.optimizer", "adamw"),
    ("--num_epoch 12", "budget.epochs", 12),
    ("--per_save 0", "training.checkpoint_every", 0),
    ("--partial 0.5", "training.training_share", 0.5),
    ("--train_vi_len 8", "training.clip_length", 8),
    ("--val_vi_len 100", "training.validation_frames", 100),
    ("--frame_H 16", "size", "16x64"),
    ("--frame_W 32", "size", "32x32"),
    ("--F_dim 64", "networks.frame_channels", 64),
    ("--L_dim 16", "networks.pose_channels", 16),
    ("--N_dim 8", "networks.latent_channels", 8),
    ("--D_out_dim 96", "networks.fusion_channels", 96),
    ("--tfr 0.5", "training.teacher_forcing", 0.5),
    ("--tfr_sde 3", "training.teacher_forcing_decay_from", 3),
    ("--tfr_sde 0", "training.teacher_forcing_decay_from", 1),
    ("--tfr_d_step 0.2", "training.teacher_forcing_step", 0.2),
    ("--fast_train", "training.fast_epochs", 7),
    ("--fast_train --fast_train_epoch 2", "training.fast_epochs", 4),
    ("--fast_train --partial 0.8 --fast_partial 0.2", "training.fast_share", 0.25),
    ("--kl_anneal_type Without", "bound.kl_schedule", "constant"),
    ("--kl_anneal_type Monotonic", "bound.kl_period", 70.0),
    ("--kl_anneal_cycle 20", "bound.kl_period", 3.5),
    ("--kl_anneal_ratio 0.5", "bound.kl_ramp", 0.5),
    ("--kl_reading report", "bound.kl_period", 10.0),
    ("--store_visualization", "training.sample_every", 1),
    ("--grad_norm 0.75", "training.max_grad_norm", 0.05),
    ("--lr_schedule cosine", "training.learning_rate_schedule", "cosine"),
    ("--output clamp", "networks.output", "clamp"),
    ("--posterior_sees previous", "networks.posterior_sees", "previous"),
    ("--seed 7", "seed", 7),
]


def value_at(config: Config, key: str) -> Any:
    """Return the value of a key such as training.batch_size."""
    return functools.reduce(getattr, key.split("."), config)


@pytest.mark.parametrize(("given", "key", "expected"), CHANGES)
def test_an_option_changes_its_setting(given: str, key: str, expected: Any) -> None:
    line = printed(["lab4", "train", "--DR", "D", "--save_root", "R", "--dry_run", *given.split()])
    config = from_dict(json.loads(printed([*words_of(line), "--dry-run"])))
    assert value_at(config, key) == expected != value_at(train_config(options()), key)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ckpt_path": Path("epoch=3.ckpt")}, ["--from", "epoch=3.ckpt"]),
        ({"device": "cpu"}, ["--device", "cpu"]),
        ({"num_workers": 2}, ["--threads", "2"]),
        ({"num_workers": 0}, ["--threads", "1"]),
        ({"gpu": 2}, ["--devices", "2"]),
        ({"resume": True}, ["--resume"]),
        ({"force": True}, ["--force"]),
    ],
)
def test_an_option_that_is_not_a_setting_becomes_an_option(changes: dict[str, Any], words: list[str]) -> None:
    command = " ".join(train_words(options(**changes)))
    assert " ".join(words) in command
    assert " ".join(words) not in " ".join(train_words(options()))


def weights(num_epochs: int, **changes: Any) -> list[float]:
    """Return the KL weight of each epoch."""
    bound = train_config(options(num_epoch=num_epochs, **changes)).bound
    return [kl_weight(epoch, bound) for epoch in range(num_epochs)]


def test_the_reading_fu_has_cycles_over_the_run() -> None:
    assert weights(16, kl_anneal_cycle=4, kl_anneal_ratio=0.5) == pytest.approx([0, 0.5, 1, 1] * 4)
    thirds = [0, 0.6, 1, 0, 0.6, 1, 0, 0.6, 1, 1]
    assert weights(10, kl_anneal_cycle=3, kl_anneal_ratio=0.5) == pytest.approx(thirds)
    assert weights(12, kl_anneal_cycle=1) == pytest.approx([k / 12 for k in range(12)])
    assert weights(12, kl_anneal_type="Monotonic", kl_anneal_cycle=3) == pytest.approx([k / 12 for k in range(12)])
    assert weights(3, kl_anneal_type="Without") == [1, 1, 1]


def report_weight(epoch: int, cycle: int, ratio: float) -> float:
    return min(1.0, round((epoch % cycle) / cycle * ratio, 5))


def test_the_reading_report_has_cycles_of_epochs() -> None:
    report = {"kl_reading": "report", "kl_anneal_cycle": 4}
    assert weights(12, **report) == pytest.approx([0, 0.25, 0.5, 0.75] * 3)
    assert weights(7, **report, kl_anneal_type="Monotonic") == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1])
    assert weights(5, **report, kl_anneal_ratio=0) == [0] * 5
    assert weights(3, **report, kl_anneal_type="Without") == [1, 1, 1]


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0, 7.5])
def test_the_reading_report_follows_the_reports_formula(ratio: float) -> None:
    report = {"kl_reading": "report", "kl_anneal_cycle": 7, "kl_anneal_ratio": ratio}
    assert weights(30, **report) == pytest.approx([report_weight(e, 7, ratio) for e in range(30)], abs=1e-5)
    once = [min(1.0, e / 7 * ratio) for e in range(30)]
    assert weights(30, **report, kl_anneal_type="Monotonic") == pytest.approx(once)


def rates(config: Config, num_steps: int) -> list[float]:
    """Return the learning rate of each update."""
    plan = Plan(((0, num_steps),))
    return [learning_rate(step, plan, config.training) for step in range(num_steps)]


@pytest.mark.parametrize("num_epochs", [6, 7, 25, 70, 300, 400])
@pytest.mark.parametrize("per_epoch", [1, 3, 7, 20])
def test_a_milestone_is_the_first_update_of_its_epoch(num_epochs: int, per_epoch: int) -> None:
    learning_rates = rates(train_config(options(num_epoch=num_epochs)), num_epochs * per_epoch)
    expected = [1e-3] * (2 * per_epoch) + [1e-4] * (3 * per_epoch) + [1e-5] * ((num_epochs - 5) * per_epoch)
    assert learning_rates == pytest.approx(expected)


def template_epochs(given: LabTrain) -> Iterator[tuple[bool, float]]:
    """Return for each epoch whether it is fast, and its teacher-forcing rate, by the statements of the template."""
    fast_train, rate = given.fast_train, given.tfr
    for epoch in range(given.num_epoch):
        is_fast = fast_train  # the data set is made before the next line
        if epoch > given.fast_train_epoch:
            fast_train = False
        yield is_fast, rate
        if epoch + 1 >= given.tfr_sde:  # the template counts the epoch first
            rate = max(0.0, rate - given.tfr_d_step)


@pytest.mark.parametrize("fast_train_epoch", [0, 1, 5])
@pytest.mark.parametrize("tfr_sde", [0, 1, 3])
def test_epochs_are_those_of_the_template(fast_train_epoch: int, tfr_sde: int) -> None:
    given = options(
        fast_train=True, fast_train_epoch=fast_train_epoch, num_epoch=12, tfr=1.0, tfr_sde=tfr_sde, tfr_d_step=0.1
    )
    training = train_config(given).training
    for epoch, (is_fast, rate) in enumerate(template_epochs(given)):
        assert (epoch < training.fast_epochs) is is_fast
        assert teacher_forcing_rate(epoch, training) == pytest.approx(rate)


def test_milestones_take_fast_epochs_into_account() -> None:
    """Use the course's 23,410 frames in clips of 16, two per batch: 731 updates per epoch, 292 in a fast one."""
    config = train_config(options(fast_train=True, fast_train_epoch=1))
    learning_rates = rates(config, 3 * 292 + 67 * 731)
    falls = [step for step in range(1, len(learning_rates)) if learning_rates[step] < learning_rates[step - 1]]
    assert falls == pytest.approx([2 * 292, 3 * 292 + 2 * 731], abs=3)


def test_milestones_after_the_end_are_ignored() -> None:
    assert set(rates(train_config(options(num_epoch=2)), 20)) == {1e-3}
    late = train_config(options(num_epoch=4, milestones=(2, 9)))
    assert sorted(set(rates(late, 20))) == pytest.approx([1e-4, 1e-3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tfr": 2.0}, "--tfr: "),
        ({"lr": 0.0}, "--lr: "),
        ({"num_epoch": 0}, "--num_epoch: "),
        ({"N_dim": 1}, "--N_dim: "),
        ({"frame_H": 3}, "3x64"),
        ({"kl_anneal_ratio": 2.0}, "share of a cycle"),
        ({"kl_anneal_ratio": 0.0}, "share of a cycle"),
        ({"kl_anneal_cycle": 0}, "--kl_anneal_cycle is 0"),
        ({"fast_train": True, "partial": 0.2}, "--fast_partial is 0.4"),
        ({"val_vi_len": 1}, "validation_frames is 1"),
    ],
)
def test_the_message_names_the_option_with_a_wrong_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_config(options(**changes))


def test_notes_name_the_reading_and_harmful_defaults() -> None:
    text = " ".join(notes(options()))
    assert "--kl_reading fu" in text
    assert "1e-05 from epoch 5" in text
    assert "--tfr 0" in text
    assert "--kl_reading report" in notes(options(kl_reading="report"))[0]
    harmless = notes(options(lr_schedule="cosine", tfr=0.0, kl_anneal_type="Without"))
    assert harmless == ["The KL weight is 1 throughout."]
    assert "stays 0" in notes(options(num_epoch=10))[0]
    assert any("Sigmoid" in note for note in notes(options(ckpt_path=Path("epoch=3.ckpt"))))


def test_a_checkpoint_of_the_course_is_imported_first(tmp_path: Path) -> None:
    importing, scoring = evaluate_words(options(test=True, ckpt_path=Path("epoch=3.ckpt"), frame_H=16))
    assert importing[:6] == ["import-lab4", "epoch=3.ckpt", "--out", str(Path("R/imported")), "--size", "16x64"]
    assert scoring[:2] == ["evaluate", str(Path("R/imported"))]
    assert importing[importing.index("--output") + 1] == "clamp"
    lab_test = LabTest(DR=Path("D"), save_root=Path("S"), ckpt_path=Path("epoch=3.ckpt"), output="sigmoid")
    importing, submitting = submit_words(lab_test)
    assert importing[importing.index("--output") + 1] == "sigmoid"
    assert submitting == ["submit", "S-run", "--data", "D", "--out", "S", "--threads", "4"]
    (only,) = submit_words(dataclasses.replace(lab_test, ckpt_path=tmp_path, output=None))
    assert only[1] == str(tmp_path)
    with pytest.raises(InputError, match="whose configuration has both"):
        submit_words(dataclasses.replace(lab_test, ckpt_path=tmp_path))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--num_workers 2", ["--threads", "2"]),
        ("--num_workers 0", ["--threads", "1"]),
        ("--store_visualization", ["--threads", "4", "--strips"]),
        ("--force", ["--threads", "4", "--force"]),
        ("--test", ["--threads", "4"]),
        ("--F_dim 64 --L_dim 16 --N_dim 8 --D_out_dim 96", ["--threads", "4"]),  # checked, but not passed on
    ],
)
def test_the_options_of_the_tester_become_words(given: str, words: list[str]) -> None:
    command = ["lab4", "test", "--DR", "D", "--save_root", "S", "--ckpt_path", "C.ckpt", "--dry_run"]
    _, submitting = printed([*command, *given.split()]).splitlines()
    assert words_of(submitting) == ["submit", "S-run", "--data", "D", "--out", "S", *words]
