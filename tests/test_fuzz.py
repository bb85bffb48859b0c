"""Files that are well formed and wrong: every place of every structured file may hold anything (property-based).

`damage.py` breaks bytes, which rarely gives a file that can be parsed. Here Hypothesis changes what a whole file says,
and makes a failure as small as it can. Longer: `make fuzz`.
"""

from __future__ import annotations

import copy
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from safetensors.torch import save as safetensors_bytes

from posecast.errors import InputError
from posecast.model.checkpoint import DIGEST
from posecast.training.checkpoints import read_state

from .damage import READERS

NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([0, 1, -1, 2, 1e308, 10**9]))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20))
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
"""JSON, NaN and infinity included, since Python reads and writes them."""

EXAMPLES = int(os.environ.get("POSECAST_FUZZ_EXAMPLES", "0"))
"""Of each test, drawn anew each time; without it a few, the same each time."""
bounded = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    deadline=None,  # pytest has one
    database=None,
    suppress_health_check=list(HealthCheck),
)
slow = settings(bounded, max_examples=EXAMPLES // 10 or 4)
"""Where one example takes half a second."""


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON-like document; the whole of it is at ()."""
    yield path
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from places(content[key], (*path, key))


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """The document with one to three places replaced, removed, doubled or added to."""
    found = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(found))))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return draw(ANYTHING)
            continue
        holder = found
        for key in path[:-1]:
            holder = holder[key]
        act = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if act == "replace":
            holder[path[-1]] = draw(ANYTHING)
        elif act == "remove":
            del holder[path[-1]]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = draw(ANYTHING)
        else:
            holder.insert(path[-1], draw(ANYTHING))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A whole file of a reader, made once."""
    made: dict[str, Path] = {}

    def whole(name: str) -> Path:
        if name not in made:
            made[name] = READERS[name].make(tmp_path_factory.mktemp("whole"))
        return made[name]

    return whole


def answers_or_refuses(name: str, path: Path, content: bytes) -> None:
    """The reader gives an answer or an InputError, whose sentence is not too long; the file is then whole again."""
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        READERS[name].read(path)
    except InputError as error:
        sentence = str(error)
    else:
        sentence = "an answer"
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole)
    assert 0 < len(sentence) < 2000


@pytest.mark.parametrize("name", ["config.json", "body", "scores", "pack index", "openpose", "coco"])
def test_json_that_says_something_else(name: str, folder: Callable[[str], Path]) -> None:
    path = folder(name)
    document = json.loads(path.read_text())

    @(slow if name == "scores" else bounded)
    @given(changed(document))
    def holds(content: Any) -> None:
        answers_or_refuses(name, path, json.dumps(content).encode())

    holds()


def test_logs_that_say_something_else(folder: Callable[[str], Path]) -> None:
    path = folder("log")
    entries = [json.loads(line) for line in path.read_text().splitlines()]

    @slow
    @given(changed(entries))
    def holds(content: Any) -> None:
        lines = content if isinstance(content, list) else [content]
        answers_or_refuses("log", path, "\n".join(map(json.dumps, lines)).encode())

    holds()


@pytest.mark.parametrize("name", ["toml", "grid", "yaml"])
def test_settings_that_say_something_else(name: str, folder: Callable[[str], Path]) -> None:
    """In JSON's notation, which YAML reads, and TOML for values."""
    path = folder(name)

    @bounded
    @given(st.dictionaries(st.sampled_from(["learning_rate", "size", "widths", "steps", "seed", "kl_peak"]), ANYTHING))
    def holds(content: dict[str, Any]) -> None:
        lines = (
            f"{key}: {json.dumps(v)}" if name == "yaml" else f"{key} = {json.dumps(v)}" for key, v in content.items()
        )
        head = "question = 'x'\n[settings.low]\n" if name == "grid" else ""
        answers_or_refuses(name, path, (head + "\n".join(lines)).encode())

    holds()


def test_archives_of_other_arrays(folder: Callable[[str], Path]) -> None:
    path = folder("poses.npz")
    with np.load(path) as archive:
        whole = dict(archive)
    kinds = st.one_of(
        st_numpy.floating_dtypes(),
        st_numpy.integer_dtypes(),
        st_numpy.unicode_string_dtypes(),
        st_numpy.boolean_dtypes(),
    )
    arrays = st_numpy.arrays(kinds, st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))

    @bounded
    @given(st.dictionaries(st.sampled_from(sorted(whole)), arrays | st.none(), min_size=1, max_size=3))
    def holds(changes: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **{name: value for name, value in (whole | changes).items() if value is not None})
        answers_or_refuses("poses.npz", path, buffer.getvalue())

    holds()


def test_weights_of_other_shapes(folder: Callable[[str], Path]) -> None:
    path = folder("weights")
    from safetensors.torch import load_file

    whole = load_file(path)
    shapes = st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
    kinds = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16, torch.complex64])
    tensors = st.builds(lambda shape, kind: torch.ones(shape, dtype=kind), shapes, kinds)
    text = st.text(max_size=20)

    @bounded
    @given(
        st.dictionaries(st.sampled_from(sorted(whole)) | text, tensors | st.none(), max_size=3),
        st.dictionaries(st.just(DIGEST) | text, text, max_size=2),
    )
    def holds(changes: dict[str, Any], metadata: dict[str, str]) -> None:
        tensors = {name: value for name, value in (whole | changes).items() if value is not None}
        answers_or_refuses("weights", path, safetensors_bytes(tensors, metadata))

    holds()


def test_states_that_hold_something_else(tmp_path: Path) -> None:
    """A state without a digest in its name, as older versions wrote it, may hold any tree of values."""
    path = tmp_path / "step-000000001.pt"

    @bounded
    @given(changed({"standing": {"step": 1}, "weights": {"a": 1.0}, "step": 1}))
    def holds(content: Any) -> None:
        torch.save(content, path)
        state = read_state(path)
        assert state is None or "standing" in state

    holds()


def test_tables_of_other_cells(folder: Callable[[str], Path]) -> None:
    path = folder("submission")
    rows = [line.split(",") for line in path.read_text().splitlines()]

    @bounded
    @given(changed(rows))
    def holds(content: Any) -> None:
        lines = content if isinstance(content, list) else [content]
        text = "\n".join(",".join(map(str, one)) if isinstance(one, list) else str(one) for one in lines)
        answers_or_refuses("submission", path, text.encode("utf-8", errors="surrogatepass"))

    holds()
