"""The plan of an experiment: reading, order of the runs, and comparison of requests."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from posecast.config.overrides import build_config
from posecast.config.schema import Config, to_dict
from posecast.errors import InputError
from posecast.experiments.plan import PLAN, Choices, Plan, check_same_request, read_plan, write_plan
from posecast.files import write_json

CONFIGS = {name: build_config("lab4", flags={"steps": 9, "batch_size": n}) for n, name in enumerate("abc", start=2)}


def planned(out: Path, configs: Mapping[str, Config] = CONFIGS, **changes: Any) -> Plan:
    """Write a plan by hand and read it."""
    content = {
        "experiment": "kinds",
        "question": "Which kind?",
        "data": str(out / "data"),
        "seeds": [5, 6],
        "futures": 4,
        "settings": {name: to_dict(config) for name, config in configs.items()},
        "request": {"num_seeds": 2},
        **changes,
    }
    write_json(out / PLAN, content)
    return read_plan(out)[0]


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert (plan.name, plan.question, plan.data) == ("kinds", "Which kind?", tmp_path / "data")
    assert (plan.futures, plan.seeds, plan.out, dict(plan.configs)) == (4, (5, 6), tmp_path, CONFIGS)
    assert read_plan(tmp_path)[1] == {"num_seeds": 2}


def test_a_plan_has_the_choices_of_the_machine_that_made_it(tmp_path: Path) -> None:
    choices = Choices(operator_threads=2, shares=1, bfloat16=True)
    plan = dataclasses.replace(planned(tmp_path), choices=choices)
    write_plan(plan, {"num_seeds": 2})
    assert read_plan(tmp_path) == (plan, {"num_seeds": 2})
    assert planned(tmp_path).choices is None  # of an earlier version


@pytest.mark.parametrize(
    "changes",
    [{"shares": 0}, {"shares": 10**6}, {"shares": "2"}, {"operator_threads": True}, {"bfloat16": 1}, {"x": 1}],
)
def test_wrong_choices_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    choices = {"operator_threads": 1, "shares": 2, "bfloat16": False, **changes}
    with pytest.raises(InputError, match="is not the plan of an experiment"):
        planned(tmp_path, choices=choices)


def test_runs_are_ordered_by_seed(tmp_path: Path) -> None:
    runs = planned(tmp_path).runs
    assert [run.name for run in runs] == [f"{name}-seed{seed}" for seed in (5, 6) for name in "abc"]
    assert [(run.setting, run.config.seed) for run in runs] == [(name, seed) for seed in (5, 6) for name in "abc"]
    assert runs[4].config == dataclasses.replace(CONFIGS["b"], seed=6)
    assert runs[4].folder == tmp_path / "runs" / "b-seed6"


def test_a_run_is_finished_if_it_has_scores_or_a_failure(tmp_path: Path) -> None:
    begun, scored, failed, untouched, *_ = planned(tmp_path).runs
    for run in (begun, scored):
        run.folder.mkdir(parents=True)
        (run.folder / "model.safetensors").touch()
    (scored.folder / "scores.json").touch()
    write_json(failed.failure, {"failed": "why"})
    assert [run.finished for run in (begun, scored, failed, untouched)] == [False, True, True, False]
    assert failed.failure.parent == failed.folder.parent  # beside the folder, which --force empties


@pytest.mark.parametrize("missing", ["experiment", "question", "data", "seeds", "futures", "settings", "request"])
def test_an_incomplete_plan_is_refused(tmp_path: Path, missing: str) -> None:
    planned(tmp_path)
    content = json.loads((tmp_path / PLAN).read_text())
    del content[missing]
    write_json(tmp_path / PLAN, content)
    with pytest.raises(InputError, match="is not the plan of an experiment"):
        read_plan(tmp_path)


def test_a_missing_or_damaged_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the plan of an experiment"):
        read_plan(tmp_path)
    with pytest.raises(InputError, match="not the plan"):
        planned(tmp_path, settings=["a"])
    changed = to_dict(CONFIGS["a"]) | {"size": "7x7"}
    with pytest.raises(InputError, match="7x7"):
        planned(tmp_path, settings={"a": changed})


def test_another_request_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    before = {"num_seeds": 2, "settings": {"a": {"training": {"batch_size": 2}}}}
    check_same_request(tmp_path, before, json.loads(json.dumps(before)))
    with pytest.raises(InputError, match=r"started with num_seeds = 2, but now it is 3; use the same"):
        check_same_request(tmp_path, before, before | {"num_seeds": 3})
    added = {"a": {"training": {"batch_size": 2}}, "b": {"training": {"batch_size": 4}}}
    with pytest.raises(InputError, match=r"settings.b.training.batch_size = None, but now it is 4"):
        check_same_request(tmp_path, before, before | {"settings": added})
