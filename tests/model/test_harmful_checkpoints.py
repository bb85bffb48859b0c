"""Checkpoints that run code where they are loaded without care: `read_checkpoint` runs none of it."""

from __future__ import annotations

import contextlib
import functools
import io
import operator
import os
import pathlib
import pickle
import runpy
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.serialization import add_safe_globals, get_safe_globals, safe_globals

from posecast.errors import InputError
from posecast.model.lab4_checkpoint import read_checkpoint

from .test_lab4_checkpoint import course, same

WEIGHTS: dict[str, Any] = course().state_dict()
CALLS: list[str] = []
"""Methods of the classes below that were called."""


class Harmful:
    """Object whose loading calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def pickled(value: object) -> bytes:
    return pickle.dumps(value, protocol=2)


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def script(proof: Path) -> str:
    """Write a module that makes the proof when it is run."""
    path = proof.parent / "hubconf.py"
    path.write_text(f"import os\ndef f():\n    os.mkdir({str(proof)!r})\nif __name__ == '__main__':\n    f()\n")
    return str(path)


REDUCED: dict[str, Callable[[Path], Any]] = {
    "os.mkdir": lambda proof: Harmful(os.mkdir, str(proof)),
    "os.system": lambda proof: Harmful(os.system, f"mkdir {proof}"),
    "subprocess": lambda proof: Harmful(subprocess.check_call, ["mkdir", str(proof)]),
    "eval": lambda proof: Harmful(eval, f"__import__('os').mkdir({str(proof)!r})"),
    "exec": lambda proof: Harmful(exec, f"__import__('os').mkdir({str(proof)!r})"),
    "eval in eval": lambda proof: Harmful(eval, Harmful(str, f"__import__('os').mkdir({str(proof)!r})")),
    "pathlib": lambda proof: Harmful(pathlib.Path.touch, proof),
    "functools.partial": lambda proof: Harmful(functools.partial(os.mkdir, str(proof))),
    "a partial of eval": lambda proof: Harmful(functools.partial(eval, f"__import__('os').mkdir({str(proof)!r})")),
    "operator.methodcaller": lambda proof: Harmful(operator.methodcaller("touch"), proof),
    "a copy by shutil": lambda proof: Harmful(shutil.copy, script(proof), str(proof)),
    "runpy": lambda proof: Harmful(runpy.run_path, script(proof), {}, "__main__"),
    "numpy.savetxt": lambda proof: Harmful(np.savetxt, str(proof), [1.0]),
    "torch.save": lambda proof: Harmful(torch.save, 3, str(proof)),
    "torch.hub.load": lambda proof: Harmful(torch.hub._load_local, os.path.dirname(script(proof)), "f"),
    "torch.hub.download": lambda proof: Harmful(
        torch.hub.download_url_to_file, Path(script(proof)).as_uri(), str(proof), None, False
    ),
    "a pickle in a pickle": lambda proof: Harmful(pickle.loads, pickled(Harmful(os.mkdir, str(proof)))),
    "storage from bytes": lambda proof: Harmful(torch.storage._load_from_bytes, saved(Harmful(os.mkdir, str(proof)))),
    "torch's function that calls another": lambda proof: Harmful(
        torch._tensor._rebuild_from_type_v2, os.mkdir, dict, (str(proof),), {}
    ),
    "allowing a function, then using it": lambda proof: [
        Harmful(add_safe_globals, [subprocess.check_call]),
        Harmful(subprocess.check_call, ["mkdir", str(proof)]),
    ],
    "allowing a function for a while, then using it": lambda proof: [
        Harmful(contextlib.ExitStack.enter_context, contextlib.ExitStack(), Harmful(safe_globals, [os.mkdir])),
        Harmful(os.mkdir, str(proof)),
    ],
}
"""Content that makes a file or folder, the proof, when it is loaded as a pickle."""


def load(path: Path) -> None:
    """Read a checkpoint, which gives either its weights or the sentence; functions that are allowed stay the same."""
    allowed = set(get_safe_globals())
    with contextlib.suppress(InputError):
        assert same(read_checkpoint(path), WEIGHTS)
    assert set(get_safe_globals()) == allowed


@pytest.mark.parametrize("place", ["args", "state_dict", "in a list"])
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("name", REDUCED)
def test_no_function_is_called(tmp_path: Path, name: str, is_zip: bool, place: str) -> None:
    content = REDUCED[name](tmp_path / "proof")
    held = [content] if place == "in a list" else content
    torch.save({"state_dict": WEIGHTS, place: held}, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    load(tmp_path / "a.pth")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", [name for name in REDUCED if not name.startswith("allowing")])
def test_the_functions_do_harm_where_they_are_called(tmp_path: Path, name: str) -> None:
    with contextlib.suppress(Exception):  # what they return is of no use
        pickle.loads(pickled(REDUCED[name](tmp_path / "proof")))
    assert (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", REDUCED)
def test_functions_that_the_program_allows_elsewhere_are_not_called(tmp_path: Path, name: str) -> None:
    torch.save({"state_dict": WEIGHTS, "args": REDUCED[name](tmp_path / "proof")}, tmp_path / "a.pth")
    functions = [subprocess.check_call, pathlib.Path.touch, np.savetxt, torch.save, pickle.loads, functools.partial]
    with safe_globals([*functions, eval, exec, shutil.copy, runpy.run_path, torch.storage._load_from_bytes]):
        load(tmp_path / "a.pth")
    assert not (tmp_path / "proof").exists()


# Methods that are called on loading


def noted(name: str) -> Callable[..., Any]:
    def method(*_: Any) -> Any:
        CALLS.append(name)

    return method


class New:
    __new__ = noted("__new__")


class SetState:
    def __init__(self) -> None:
        self.x = 1

    __setstate__ = noted("__setstate__")


class SetAttribute:
    def __init__(self) -> None:
        self.__dict__["x"] = 1

    __setattr__ = noted("__setattr__")


class SetItem(dict[str, int]):
    __setitem__ = noted("__setitem__")


class Append(list[int]):
    append = noted("append")
    extend = noted("extend")


def instances() -> dict[str, Any]:
    return {
        "__setstate__": SetState(),
        "__setattr__": SetAttribute(),
        "__setitem__": SetItem(a=1),
        "append": Append([1, 2]),
        "__new__": object.__new__(New),
    }


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("name", instances())
def test_no_method_is_called(tmp_path: Path, name: str, is_zip: bool) -> None:
    torch.save(
        {"state_dict": WEIGHTS, "args": instances()[name]}, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip
    )
    CALLS.clear()
    load(tmp_path / "a.pth")
    assert CALLS == []


# Pickles that pickle does not write

PICKLES: dict[str, Callable[[bytes], bytes]] = {
    "GLOBAL": lambda word: b"cos\nsystem\n(V" + word + b"\ntR.",
    "GLOBAL of posix": lambda word: b"cposix\nsystem\n(V" + word + b"\ntR.",
    "INST": lambda word: b"(V" + word + b"\nios\nsystem\n.",
    "OBJ": lambda word: b"(cos\nsystem\nV" + word + b"\no.",
    "STACK_GLOBAL": lambda word: b"\x80\x04\x8c\x02os\x8c\x06system\x93(V" + word + b"\ntR.",
    "STACK_GLOBAL with dots": lambda word: b"\x80\x04\x8c\x06shutil\x8c\x09os.system\x93(V" + word + b"\ntR.",
    "GLOBAL with dots": lambda word: b"\x80\x04cshutil\nos.system\n(V" + word + b"\ntR.",
    "NEWOBJ": lambda word: b"\x80\x02csubprocess\nPopen\n(V/bin/sh\nV-c\nV" + word + b"\nl\x85\x81.",
    "BUILD": lambda word: b"\x80\x02cos\nsystem\n}(V__setstate__\ncos\nsystem\nubV" + word + b"\nb.",
    "getattr": lambda word: (
        b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(Vos\ntRVsystem\ntR(V" + word + b"\ntR."
    ),
    "PERSID": lambda word: b"\x80\x02Pcos\nsystem\n(V" + word + b"\ntR.",
    "EXT1": lambda word: b"\x80\x02\x82\x01(V" + word + b"\ntR.",
    "MEMOIZE": lambda word: b"\x80\x02cos\nsystem\nq\x000h\x00(V" + word + b"\ntR.",
}


def zipped(content: bytes, *, twice: bool = False) -> bytes:
    """Return a file of torch.save with another pickle in it, or with that pickle after its own one."""
    source, out = zipfile.ZipFile(io.BytesIO(saved({"state_dict": WEIGHTS}))), io.BytesIO()
    with (
        zipfile.ZipFile(out, "w") as target,
        pytest.warns(UserWarning, match="Duplicate") if twice else contextlib.nullcontext(),
    ):
        for name in source.namelist():
            is_pickle = name.endswith("data.pkl")
            if twice or not is_pickle:
                target.writestr(name, source.read(name))
            if is_pickle:
                target.writestr(name, content)
    return out.getvalue()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "zip": zipped,
    "zip with two pickles": lambda content: zipped(content, twice=True),
    "pickle": lambda content: content,
    "before torch 1.6": lambda content: pickled(0x1950A86A20F9469CFC6C) + pickled(1001) + pickled({}) + content,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PICKLES)
def test_no_opcode_runs_a_program(tmp_path: Path, name: str, form: str) -> None:
    word = f"mkdir {tmp_path / 'proof'}".encode()
    (tmp_path / "a.pth").write_bytes(FORMS[form](PICKLES[name](word)))
    load(tmp_path / "a.pth")
    assert not (tmp_path / "proof").exists()
