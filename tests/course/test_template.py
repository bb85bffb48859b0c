"""The template's options mean what they say: as a whole configuration, and as schedules."""

import contextlib
import dataclasses
import io
import json
import shlex
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
from posecast.training.budget import Plan
from posecast.training.loop import learning_rate_at
from posecast.training.schedules import kl_weight


def options(**changes: Any) -> LabTrain:
    return LabTrain(DR=Path("D"), save_root=Path("R"), **changes)


def printed(words: list[str]) -> str:
    """What a command writes to stdout."""
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        assert main(words) == 0
    return written.getvalue()


def typed(line: str) -> list[str]:
    """A printed command as words to be typed."""
    program, *words = shlex.split(line)
    assert program == "posecast"
    return words


def test_the_defaults_are_the_whole_template() -> None:
    """The command that is printed is parsed again, by the command itself."""
    line = printed(["lab4", "train", "--DR", "D", "--save_root", "R", "--dry_run"])
    reply = from_dict(json.loads(printed([*typed(line), "--dry-run"])))
    start = RECIPES["lab4"]
    training = dataclasses.replace(
        start.training,
        learning_rate_schedule="milestones",
        milestones=reply.training.milestones,
        checkpoint_every=3,
        validate_every=1,
        validation_frames=630,
        teacher_forcing=1.0,
        teacher_forcing_step=0.1,
        teacher_forcing_decay_from=10,
        teacher_forcing_coin="epoch",
    )
    bound = dataclasses.replace(start.bound, kl_schedule="cyclical", kl_period=7.0)
    assert reply == dataclasses.replace(start, training=training, bound=bound)
    assert reply.training.milestones == pytest.approx((2 / 70, 5 / 70), abs=1e-8)
    assert (reply.bound.likelihood_variance, reply.training.max_grad_norm) == (3072.0, 1.0)
    assert (reply.networks.latent_channels, reply.budget.epochs) == (12, 70)


# Words typed, where the configuration must have changed, and to what.
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
    ("--frame_W 32", "bound.likelihood_variance", 3 * 32 * 32 / 2),
    ("--F_dim 64", "networks.frame_channels", 64),
    ("--L_dim 16", "networks.pose_channels", 16),
    ("--N_dim 8", "networks.latent_channels", 8),
    ("--D_out_dim 96", "networks.fusion_channels", 96),
    ("--tfr 0.5", "training.teacher_forcing", 0.5),
    ("--tfr_sde 3", "training.teacher_forcing_decay_from", 3),
    ("--tfr_d_step 0.2", "training.teacher_forcing_step", 0.2),
    ("--fast_train", "training.fast_epochs", 5),
    ("--fast_train --fast_train_epoch 2", "training.fast_epochs", 2),
    ("--fast_train --partial 0.8 --fast_partial 0.2", "training.fast_share", 0.25),
    ("--kl_anneal_type Without", "bound.kl_schedule", "constant"),
    ("--kl_anneal_type Monotonic", "bound.kl_period", 70.0),
    ("--kl_anneal_cycle 20", "bound.kl_period", 3.5),
    ("--kl_anneal_ratio 0.5", "bound.kl_ramp", 0.5),
    ("--kl_reading report", "bound.kl_period", 10.0),
    ("--store_visualization", "training.sample_every", 1),
    ("--grad_norm 0.75", "training.max_grad_norm", 0.75),
    ("--lr_schedule cosine", "training.learning_rate_schedule", "cosine"),
    ("--output clamp", "networks.output", "clamp"),
    ("--posterior_sees previous", "networks.posterior_sees", "previous"),
    ("--seed 7", "seed", 7),
]


def value_at(config: Config, place: str) -> Any:
    found: Any = config
    for name in place.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize(("typed_words", "place", "expected"), CHANGES)
def test_an_option_changes_its_knob(typed_words: str, place: str, expected: Any) -> None:
    line = printed(["lab4", "train", "--DR", "D", "--save_root", "R", "--dry_run", *typed_words.split()])
    reply = from_dict(json.loads(printed([*typed(line), "--dry-run"])))
    assert value_at(reply, place) == expected != value_at(train_config(options()), place)


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
def test_what_is_no_knob_becomes_a_word(changes: dict[str, Any], words: list[str]) -> None:
    said = " ".join(train_words(options(**changes)))
    assert " ".join(words) in said
    assert " ".join(words) not in " ".join(train_words(options()))


def weights(num_epochs: int, **changes: Any) -> list[float]:
    """The KL weight of each epoch, by the schedule that training uses."""
    bound = train_config(options(num_epoch=num_epochs, **changes)).bound
    return [
        kl_weight(
            epoch,
            schedule=bound.kl_schedule,
            peak=bound.kl_peak,
            floor=bound.kl_floor,
            period=bound.kl_period,
            ramp=bound.kl_ramp,
        )
        for epoch in range(num_epochs)
    ]


def test_the_reading_of_fu_et_al() -> None:
    assert weights(16, kl_anneal_cycle=4, kl_anneal_ratio=0.5) == pytest.approx([0, 0.5, 1, 1] * 4)
    thirds = [0, 0.6, 1, 0, 0.6, 1, 0, 0.6, 1, 1]
    assert weights(10, kl_anneal_cycle=3, kl_anneal_ratio=0.5) == pytest.approx(thirds)
    assert weights(12, kl_anneal_cycle=1) == pytest.approx([k / 12 for k in range(12)])
    assert weights(12, kl_anneal_type="Monotonic", kl_anneal_cycle=3) == pytest.approx([k / 12 for k in range(12)])
    assert weights(3, kl_anneal_type="Without") == [1, 1, 1]


def of_the_report(epoch: int, cycle: int, ratio: float) -> float:
    return min(1.0, round((epoch % cycle) / cycle * ratio, 5))


def test_the_reading_of_the_report() -> None:
    report = {"kl_reading": "report", "kl_anneal_cycle": 4}
    assert weights(12, **report) == pytest.approx([0, 0.25, 0.5, 0.75] * 3)
    assert weights(7, **report, kl_anneal_type="Monotonic") == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1])
    assert weights(5, **report, kl_anneal_ratio=0) == [0] * 5
    assert weights(3, **report, kl_anneal_type="Without") == [1, 1, 1]


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0, 7.5])
def test_the_reports_formula(ratio: float) -> None:
    report = {"kl_reading": "report", "kl_anneal_cycle": 7, "kl_anneal_ratio": ratio}
    assert weights(30, **report) == pytest.approx([of_the_report(e, 7, ratio) for e in range(30)], abs=1e-5)
    once = [min(1.0, e / 7 * ratio) for e in range(30)]
    assert weights(30, **report, kl_anneal_type="Monotonic") == pytest.approx(once)


def rates(config: Config, num_steps: int) -> list[float]:
    """The learning rate of each update."""
    plan = Plan(((0, num_steps),))
    return [learning_rate_at(config.training, plan, step) for step in range(num_steps)]


@pytest.mark.parametrize("num_epochs", [6, 7, 25, 70, 300, 400])
@pytest.mark.parametrize("per_epoch", [1, 3, 7, 20])
def test_milestones_land_on_the_first_update_of_their_epochs(num_epochs: int, per_epoch: int) -> None:
    found = rates(train_config(options(num_epoch=num_epochs)), num_epochs * per_epoch)
    expected = [1e-3] * (2 * per_epoch) + [1e-4] * (3 * per_epoch) + [1e-5] * ((num_epochs - 5) * per_epoch)
    assert found == pytest.approx(expected)


def test_milestones_count_fast_epochs_for_what_they_are() -> None:
    """23,410 frames in clips of 16, two a batch: 731 updates an epoch, 292 in a fast one."""
    config = train_config(options(fast_train=True, fast_train_epoch=3))
    found = rates(config, 3 * 292 + 67 * 731)
    falls = [step for step in range(1, len(found)) if found[step] < found[step - 1]]
    assert falls == pytest.approx([2 * 292, 3 * 292 + 2 * 731], abs=3)


def test_a_run_that_ends_before_its_milestones_has_none() -> None:
    assert set(rates(train_config(options(num_epoch=2)), 20)) == {1e-3}
    late = train_config(options(num_epoch=4, milestones=(2, 9)))
    assert sorted(set(rates(late, 20))) == pytest.approx([1e-4, 1e-3])


@pytest.mark.parametrize(
    ("changes", "said"),
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
def test_a_wrong_value_is_named_as_it_was_typed(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        train_config(options(**changes))


def test_notes_name_the_reading_and_the_traps() -> None:
    said = " ".join(notes(options()))
    assert "--kl_reading fu" in said
    assert "1e-05 from epoch 5" in said
    assert "--tfr 0" in said
    assert "--kl_reading report" in notes(options(kl_reading="report"))[0]
    calm = notes(options(lr_schedule="cosine", tfr=0.0, kl_anneal_type="Without"))
    assert calm == ["The KL weight is 1 throughout."]
    assert "stays 0" in notes(options(num_epoch=10))[0]
    assert any("Sigmoid" in one for one in notes(options(ckpt_path=Path("epoch=3.ckpt"))))


def test_a_checkpoint_of_the_course_is_imported_first(tmp_path: Path) -> None:
    importing, scoring = evaluate_words(options(test=True, ckpt_path=Path("epoch=3.ckpt"), frame_H=16))
    assert importing[:6] == ["import-lab4", "epoch=3.ckpt", "--out", str(Path("R/imported")), "--size", "16x64"]
    assert scoring[:2] == ["evaluate", str(Path("R/imported"))]
    assert importing[importing.index("--output") + 1] == "clamp"
    lab_test = LabTest(DR=Path("D"), save_root=Path("S"), ckpt_path=Path("epoch=3.ckpt"), output="sigmoid")
    importing, submitting = submit_words(lab_test)
    assert importing[importing.index("--output") + 1] == "sigmoid"
    assert submitting == ["submit", "S-run", "--data", "D", "--out", "S", "--threads", "4"]
    (alone,) = submit_words(dataclasses.replace(lab_test, ckpt_path=tmp_path, output=None))
    assert alone[1] == str(tmp_path)
    with pytest.raises(InputError, match="knows its own"):
        submit_words(dataclasses.replace(lab_test, ckpt_path=tmp_path))


@pytest.mark.parametrize(
    ("typed_words", "words"),
    [
        ("--num_workers 2", ["--threads", "2"]),
        ("--num_workers 0", ["--threads", "1"]),
        ("--store_visualization", ["--threads", "4", "--strips"]),
        ("--force", ["--threads", "4", "--force"]),
        ("--test", ["--threads", "4"]),
        ("--F_dim 64 --L_dim 16 --N_dim 8 --D_out_dim 96", ["--threads", "4"]),  # checked, not passed on
    ],
)
def test_the_testers_options_become_words(typed_words: str, words: list[str]) -> None:
    command = ["lab4", "test", "--DR", "D", "--save_root", "S", "--ckpt_path", "C.ckpt", "--dry_run"]
    _, submitting = printed([*command, *typed_words.split()]).splitlines()
    assert typed(submitting) == ["submit", "S-run", "--data", "D", "--out", "S", *words]
