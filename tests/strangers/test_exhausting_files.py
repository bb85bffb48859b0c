"""Numbers, nesting and sizes that exhaust a machine, in files of strangers: refused before they are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from posecast.files import write_json

from .place import EXPERIMENT, Place, core_first, linux_only, some_long

pytestmark = linux_only

BOMBS = {
    "deep list": "[" * 100_000,
    "deep and closed": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "90 deep": '{"posecast": "1", "a": ' + "[" * 90 + "]" * 90 + "}",
    "900 deep": '{"posecast": "1", "a": ' + '{"a":' * 900 + "1" + "}" * 901,
    "million digits": '{"posecast": "1", "loss": ' + "9" * 1_000_000 + "}",
    "400 digits": '{"posecast": "1", "loss": ' + "9" * 400 + "}",
    "infinite": '{"posecast": "1", "loss": 1e999, "rate": -Infinity, "step": NaN}',
    "not JSON": "posecast\0" * 1000,
    "UTF-16": "\ufeff{}",
    "empty": "",
    "a list": "[1, 2]",
}


JSON = ["run/config.json", "run/scores.json", "run/log.jsonl", "exp/experiment.json"]


@pytest.mark.parametrize(
    ("name", "bomb"),
    core_first(
        [(name, bomb) for name in JSON for bomb in BOMBS],
        lambda name, bomb: name == "exp/experiment.json" or bomb in ("deep list", "million digits"),
    ),
)
def test_json_that_exhausts_a_machine_is_refused(place: Place, name: str, bomb: str) -> None:
    (place.folder / name).write_text(BOMBS[bomb])
    if name.startswith("exp"):
        assert "experiment.json" in place.run(*EXPERIMENT)
        return
    place.run("check", "run", status=(0, 2))
    place.run("report", "run", "--out", "page.html", status=(0, 2))


HUGE = ["config.json", "scores.json", "log.jsonl", "model.safetensors", "samples/val-strip.png"]


@pytest.mark.parametrize("name", HUGE)
def test_huge_file_is_refused_before_it_is_read(place: Place, name: str) -> None:
    with (place.folder / "run" / name).open("wb") as file:
        file.truncate(2**40)
    command = ["report", "run", "--out", "page.html"] if "samples" in name or "scores" in name else ["check", "run"]
    assert "bytes" in place.run(*command)


EXTREME = [0, -1, 10**300, -(10**300), 1e308, -1e308, 5e-324, 1e999, "x", None, True, [], {}, [1], {"a": 1}]


@pytest.mark.parametrize("value", some_long(EXTREME, 3), ids=str)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy and matplotlib; a line of text for users
def test_extreme_numbers_in_scores_and_log_are_shown_or_refused(place: Place, value: Any) -> None:
    run = place.folder / "run"
    entry = dict.fromkeys(("epoch", "step", "loss", "rate", "seconds", "validation_psnr_db", "learning_rate"), value)
    (run / "log.jsonl").write_text(json.dumps(entry) + "\n")
    scores = {"summary": {"psnr_db": {"mean": value, "best": 1.0}, "futures": value}, "drift": value, "factors": value}
    write_json(run / "scores.json", {**scores, "sequences": value, "baselines": value, "latent": {"units": value}})
    place.run("check", "run", status=(0, 2))
    place.run("report", "run", "--out", "page.html", status=(0, 2))


def bomb_of_merges(levels: int = 12) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}" for k in range(1, levels)]
    return "\n".join(lines)


def bomb_of_lists(levels: int = 12) -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, levels)]
    return "\n".join([*lines, f"learning_rate: *a{levels - 1}"])


SETTINGS = {
    "lists.yaml": bomb_of_lists(),
    "merges.yaml": bomb_of_merges(),
    "few aliases.yaml": "a: &a [1, 1]\nb: &b [*a, *a]\nlearning_rate: [*b, *b, *b]",
    "circle.yaml": "learning_rate: &a [*a]",
    "deep.yaml": "learning_rate: " + "[" * 3000,
    "digits.yaml": "seed: " + "9" * 100_000,
    "code.yaml": "seed: !!python/object/apply:os.system ['touch outside/x']",
    "keys.yaml": "? [1, 2]\n: 3",
    "recipe.yaml": "recipe: [lab4]",
    "recipe of a table.yaml": "recipe: {a: 1}",
    "size.yaml": "size: " + "9" * 5000 + "x16",
    "name.yaml": '"\\e[31m": 1',
    "hex.toml": "seed = 0x" + "f" * 100_000,
    "digits.toml": "seed = " + "9" * 100_000,
    "deep.toml": "seed = " + "[" * 3000,
    "tables.toml": "[" + ".".join("a" * 2000) + "]\nx = 1",
    "name.toml": '"[red]\\u001b[31m" = 1',
    "bytes.toml": "seed = 1 # \udcff",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_exhaust_a_machine_are_refused(place: Place, name: str) -> None:
    path = place.folder / "input" / name
    path.parent.mkdir()
    path.write_text(SETTINGS[name], errors="surrogateescape")
    place.run("train", "--data", "data", "--out", "made", "--config", str(path), "--dry-run")
    if name.endswith(".toml"):
        path.write_text(f"[settings.a]\n{SETTINGS[name]}", errors="surrogateescape")
        words = [*EXPERIMENT]
        words[1] = str(path)
        place.run(*words)
