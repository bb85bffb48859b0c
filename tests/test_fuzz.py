"""Property-based tests of readers with well-formed files of wrong content.

`damage.py` changes bytes, which rarely gives a file that can be parsed. Here Hypothesis replaces values anywhere in a
valid document and reduces failures to small examples. Longer: `make fuzz`.
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
from safetensors.torch import load_file
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
"""Any JSON value, including NaN and infinity, which Python reads and writes."""

EXAMPLES = int(os.environ.get("POSECAST_FUZZ_EXAMPLES", "0"))
"""Number of random examples per test; 0 for a few that are the same in every run."""
bounded = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    deadline=None,  # pytest has its own time limit
    database=None,
    suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
)
slow = settings(bounded, max_examples=EXAMPLES // 10 or 4)
"""For tests whose examples take half a second."""


def paths(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a JSON-like document; the document itself has the path ()."""
    yield path
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from paths(content[key], (*path, key))


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """Draw the document with one to three values replaced, removed or added."""
    result = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(paths(result))))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return draw(ANYTHING)
            continue
        holder = result
        for key in path[:-1]:
            holder = holder[key]
        action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if action == "replace":
            holder[path[-1]] = draw(ANYTHING)
        elif action == "remove":
            del holder[path[-1]]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = draw(ANYTHING)
        else:
            holder.insert(path[-1], draw(ANYTHING))
    return result


@pytest.fixture(scope="module")
def valid_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives a reader's valid file, written once."""
    written: dict[str, Path] = {}

    def write_once(name: str) -> Path:
        if name not in written:
            written[name] = READERS[name].make(tmp_path_factory.mktemp("valid"))
        return written[name]

    return write_once


def check_reader(name: str, path: Path, content: bytes) -> None:
    """Check that a reader returns or raises an InputError with a short sentence; restore the file."""
    original = path.read_bytes()
    path.write_bytes(content)
    try:
        READERS[name].read(path)
    except InputError as error:
        sentence = str(error)
    else:
        sentence = "no error"
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(original)
    assert 0 < len(sentence) < 2000


@pytest.mark.parametrize("name", ["config.json", "body", "scores", "pack index", "openpose", "coco", "mmpose"])
def test_json_with_changed_values(name: str, valid_file: Callable[[str], Path]) -> None:
    path = valid_file(name)
    document = json.loads(path.read_text())

    @(slow if name == "scores" else bounded)
    @given(changed(document))
    def holds(content: Any) -> None:
        check_reader(name, path, json.dumps(content).encode())

    holds()


def test_logs_with_changed_values(valid_file: Callable[[str], Path]) -> None:
    path = valid_file("log")
    entries = [json.loads(line) for line in path.read_text().splitlines()]

    @slow
    @given(changed(entries))
    def holds(content: Any) -> None:
        lines = content if isinstance(content, list) else [content]
        check_reader("log", path, "\n".join(map(json.dumps, lines)).encode())

    holds()


@pytest.mark.parametrize("name", ["toml", "grid", "yaml"])
def test_settings_with_any_values(name: str, valid_file: Callable[[str], Path]) -> None:
    """Write values as JSON, which YAML accepts, and TOML for most values."""
    path = valid_file(name)

    @bounded
    @given(st.dictionaries(st.sampled_from(["learning_rate", "size", "widths", "steps", "seed", "kl_peak"]), ANYTHING))
    def holds(content: dict[str, Any]) -> None:
        lines = (
            f"{key}: {json.dumps(v)}" if name == "yaml" else f"{key} = {json.dumps(v)}" for key, v in content.items()
        )
        head = "question = 'x'\n[settings.low]\n" if name == "grid" else ""
        check_reader(name, path, (head + "\n".join(lines)).encode())

    holds()


def test_archives_with_other_arrays(valid_file: Callable[[str], Path]) -> None:
    path = valid_file("poses.npz")
    with np.load(path) as archive:
        original = dict(archive)
    kinds = st.one_of(
        st_numpy.floating_dtypes(),
        st_numpy.integer_dtypes(),
        st_numpy.unicode_string_dtypes(),
        st_numpy.boolean_dtypes(),
    )
    arrays = st_numpy.arrays(kinds, st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))

    @bounded
    @given(st.dictionaries(st.sampled_from(sorted(original)), arrays | st.none(), min_size=1, max_size=3))
    def holds(changes: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **{name: value for name, value in (original | changes).items() if value is not None})
        check_reader("poses.npz", path, buffer.getvalue())

    holds()


def test_weights_with_other_names_and_shapes(valid_file: Callable[[str], Path]) -> None:
    path = valid_file("weights")
    original = load_file(path)
    shapes = st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
    kinds = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16, torch.complex64])
    tensors = st.builds(lambda shape, kind: torch.ones(shape, dtype=kind), shapes, kinds)
    text = st.text(max_size=20)

    @bounded
    @given(
        st.dictionaries(st.sampled_from(sorted(original)) | text, tensors | st.none(), max_size=3),
        st.dictionaries(st.just(DIGEST) | text, text, max_size=2),
    )
    def holds(changes: dict[str, Any], metadata: dict[str, str]) -> None:
        tensors = {name: value for name, value in (original | changes).items() if value is not None}
        check_reader("weights", path, safetensors_bytes(tensors, metadata))

    holds()


def test_states_with_changed_values(tmp_path: Path) -> None:
    """A state without a digest in its name, as older versions wrote it, can hold any tree of values."""
    path = tmp_path / "step-000000001.pt"

    @bounded
    @given(changed({"standing": {"step": 1, "plan": []}, "weights": {"a": 1.0}, "step": 1}))
    def holds(content: Any) -> None:
        torch.save(content, path)
        state = read_state(path)
        assert state is None or "standing" in state

    holds()


def test_tables_with_changed_cells(valid_file: Callable[[str], Path]) -> None:
    path = valid_file("submission")
    rows = [line.split(",") for line in path.read_text().splitlines()]

    @bounded
    @given(changed(rows))
    def holds(content: Any) -> None:
        lines = content if isinstance(content, list) else [content]
        text = "\n".join(",".join(map(str, row)) if isinstance(row, list) else str(row) for row in lines)
        check_reader("submission", path, text.encode("utf-8", errors="surrogatepass"))

    holds()
