"""Built-in grids, grids from a file, and the user's changes."""

from pathlib import Path

import pytest

from posecast.config.schema import Anchored, Budget, Lab4
from posecast.errors import InputError
from posecast.experiments.grids import GRIDS, configurations, find_grid
from posecast.training.schedules import kl_weight, teacher_forcing_rate


def rates(name: str) -> list[float]:
    training = configurations(GRIDS["teacher-forcing"])[name].training
    return [
        round(teacher_forcing_rate(epoch, training), 3) for epoch in range(GRIDS["teacher-forcing"].schedule_epochs)
    ]


def test_teacher_forcing_has_the_reports_three_settings() -> None:
    assert rates("decaying-0.5") == [0.5] * 5 + [0.4, 0.3, 0.2, 0.1] + [0.0] * 11
    assert rates("constant-0.1") == [0.1] * 20
    assert rates("none") == [0.0] * 20
    coins = {config.training.teacher_forcing_coin for config in configurations(GRIDS["teacher-forcing"]).values()}
    assert coins == {"epoch"}  # as in the course


def test_kl_annealing_is_monotonic_cyclical_and_none() -> None:
    weights = {}
    for name, config in configurations(GRIDS["kl-annealing"]).items():
        weights[name] = [kl_weight(epoch, config.bound) for epoch in range(20)]
    assert weights["monotonic"] == pytest.approx([k / 10 for k in range(10)] + [1.0] * 10)
    assert weights["cyclical"] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8] * 4)
    assert weights["none"] == [1.0] * 20


def test_report_compares_the_reports_protocol_with_ours() -> None:
    made = configurations(GRIDS["report"])
    report, ours = made["report"], made["ours"]
    assert isinstance(report.networks, Lab4)
    assert report.networks.posterior_sees == "previous"
    assert (report.training.max_grad_norm, report.training.fast_epochs) == (0.75, 20)
    assert report.bound.likelihood_variance == 3072
    assert isinstance(ours.networks, Lab4)
    assert ours.networks.posterior_sees == "current"
    assert report.networks.frame_channels == ours.networks.frame_channels


def test_the_users_changes_apply_to_every_setting(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("batch_size = 3\nframe_channels = 16\n")
    made = configurations(GRIDS["anchoring"], file=file, flags={"steps": 7, "widths": [8, 16]})
    assert {config.training.batch_size for config in made.values()} == {3}
    assert {config.budget for config in made.values()} == {Budget(steps=7)}
    lab4, anchored = made["lab4"].networks, made["anchored"].networks
    assert isinstance(lab4, Lab4)
    assert lab4.frame_channels == 16
    assert isinstance(anchored, Anchored)
    assert anchored.widths == (8, 16)


def test_the_default_budget_is_five_minutes() -> None:
    assert {c.budget for c in configurations(GRIDS["kl-annealing"]).values()} == {Budget(minutes=5.0)}
    assert {c.budget for c in configurations(GRIDS["kl-annealing"], "anchored").values()} == {Budget(minutes=5.0)}


def test_what_a_setting_changes_cannot_be_overridden() -> None:
    with pytest.raises(InputError, match="sets kl_schedule itself"):
        configurations(GRIDS["kl-annealing"], flags={"kl_schedule": "constant"})
    with pytest.raises(InputError, match="compares recipes itself"):
        configurations(GRIDS["anchoring"], "lab4")
    with pytest.raises(InputError, match="belongs to recipe 'anchored'"):
        configurations(GRIDS["kl-annealing"], flags={"widths": [8]})
    with pytest.raises(InputError, match="no experiment 'annealing'"):
        find_grid("annealing")


def test_a_grid_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "widths.toml"
    file.write_text(
        'recipe = "lab4"\nschedule_epochs = 4\nquestion = "How wide?"\n[base]\nclip_length = 5\n'
        '[settings.narrow]\nfusion_channels = 48\n[settings.other]\nrecipe = "anchored"\n'
    )
    grid = find_grid(str(file))
    made = configurations(grid, flags={"epochs": 2})
    assert (grid.name, grid.question, grid.schedule_epochs) == ("widths", "How wide?", 4)
    narrow = made["narrow"].networks
    assert isinstance(narrow, Lab4)
    assert narrow.fusion_channels == 48
    assert [config.recipe for config in made.values()] == ["lab4", "anchored"]
    assert {config.training.clip_length for config in made.values()} == {5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no settings"),
        ("[settings.'../up']\n", "names a setting"),
        ("[settings.a]\nlearning_rat = 1.0\n", "did you mean 'learning_rate'"),
        ("surprise = 1\n[settings.a]\n", "surprise"),
        ("schedule_epochs = -1\n[settings.a]\n", "schedule_epochs"),
        ('recipe = "lab5"\n[settings.a]\n', "no recipe 'lab5'"),
        ("[settings\n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        configurations(find_grid(str(file)))
