"""Checkpoints of the course's networks as people have them: the weights are found, or the reason is stated."""

from __future__ import annotations

import argparse
import collections
import copy
import io
import os
import pathlib
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from posecast.cli.main import main
from posecast.errors import InputError
from posecast.model.checkpoint import load_run
from posecast.model.lab4_checkpoint import PREFIXES, read_checkpoint

from .test_lab4_checkpoint import WIDTHS, Course, course, same

Weights = dict[str, Any]

NETWORKS = course()
WEIGHTS: Weights = {name: value.clone() for name, value in NETWORKS.state_dict().items()}
OTHERS: Weights = {name: value.clone() for name, value in course(seed=2).state_dict().items()}


class Config:
    """Class of a training script, whose instances are pickled with its checkpoints."""

    def __init__(self) -> None:
        self.lr, self.folders = 1e-3, [pathlib.PurePosixPath("data")]


class Settings(dict[str, Any]):
    """Dict with attributes, as EasyDict, Munch and Lightning have."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def check(path: Path, expected: Weights = WEIGHTS) -> None:
    assert same(read_checkpoint(path), expected)


# Names with prefixes


def before(prefix: str) -> Callable[[Weights], Weights]:
    """Return a function that puts a prefix before each name."""
    return lambda weights: {prefix + name: value for name, value in weights.items()}


def within(wrapper: str, networks: tuple[str, ...] = PREFIXES) -> Callable[[Weights], Weights]:
    """Return a function that puts a wrapper between networks and their layers."""
    pairs = {f"{network}.": f"{network}.{wrapper}" for network in networks}

    def renamed(name: str) -> str:
        network = name.split(".")[0]
        return name.replace(f"{network}.", pairs.get(f"{network}.", f"{network}."), 1)

    return lambda weights: {renamed(name): value for name, value in weights.items()}


def around_layers(weights: Weights) -> Weights:
    """Put a wrapper around every layer, as compiling each of them does."""
    return {"._orig_mod.".join(name.rsplit(".", 1)): value for name, value in weights.items()}


RENAMED: dict[str, Callable[[Weights], Weights]] = {
    prefix: before(prefix)
    for prefix in (
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "_orig_mod._orig_mod.",
        "model.",
        "model._orig_mod.",
        "model.module._orig_mod.",
        "_orig_mod.model.",
        "net.",
        "networks.",
        "vae.",
        "self.model.",
        "_forward_module.",
        "_fsdp_wrapped_module.",
        "ema_model.",
        "ema_model.module.",
    )
} | {
    "each network compiled": within("_orig_mod."),
    "each network parallel": within("module."),
    "each network parallel and compiled": within("module._orig_mod."),
    "each network compiled and parallel": within("_orig_mod.module."),
    "one network compiled": within("_orig_mod.", ("Generator",)),
    "two networks compiled, all parallel": lambda weights: before("module.")(
        within("_orig_mod.", PREFIXES[:2])(weights)
    ),
    "each layer compiled": around_layers,
    "each layer compiled, all parallel": lambda weights: before("module.")(around_layers(weights)),
}


@pytest.mark.parametrize("holder", [None, "state_dict"])
@pytest.mark.parametrize("form", RENAMED)
def test_prefixes_of_names_are_removed(tmp_path: Path, form: str, holder: str | None) -> None:
    renamed = RENAMED[form](WEIGHTS)
    torch.save({holder: renamed} if holder else renamed, tmp_path / "a.pth")
    check(tmp_path / "a.pth")


def test_weights_of_wrapped_networks_are_read(tmp_path: Path) -> None:
    """The wrappers' own names are tried, not only those of the table above."""
    compiled = torch.compile(NETWORKS, backend="eager")
    parallel = nn.DataParallel(copy.deepcopy(NETWORKS))
    averaged = torch.optim.swa_utils.AveragedModel(NETWORKS)
    both = torch.compile(parallel, backend="eager")
    inner = copy.deepcopy(NETWORKS)
    inner.Generator = torch.compile(inner.Generator, backend="eager")  # type: ignore[assignment]
    for index, networks in enumerate((compiled, parallel, averaged, both, inner)):
        torch.save(networks.state_dict(), tmp_path / f"{index}.pt")  # type: ignore[union-attr]
        check(tmp_path / f"{index}.pt")


# Dicts around the weights


def adam() -> dict[str, Any]:
    networks = copy.deepcopy(NETWORKS)
    optimizer = torch.optim.Adam(networks.parameters())
    sum(parameter.sum() for parameter in networks.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    return optimizer.state_dict()


HOLDERS = ["state_dict", "model_state_dict", "model", "net", "weights", "network", "params", "generator_state", "vae"]
CONTENTS: dict[str, Any] = {name: {name: WEIGHTS, "epoch": 3} for name in HOLDERS} | {
    "as the template": {"state_dict": WEIGHTS, "optimizer": WEIGHTS, "lr": 1e-3, "tfr": 1.0, "last_epoch": 3},
    "template, another optimizer": {"state_dict": WEIGHTS, "optimizer": OTHERS},
    "a moving average": {"model": WEIGHTS, "ema": OTHERS},
    "a moving average first": {"ema_state_dict": OTHERS, "model_state_dict": WEIGHTS},
    "an average of timm": {"state_dict": WEIGHTS, "state_dict_ema": OTHERS},
    "an average within": {**before("model.")(WEIGHTS), **before("model_ema.")(OTHERS)},
    "an average of the library ema_pytorch": {**before("online_model.")(WEIGHTS), **before("ema_model.")(OTHERS)},
    "only a moving average": {"ema": {"module": WEIGHTS, "decay": 0.999}, "step": torch.tensor(7)},
    "an average of torch": {"n_averaged": torch.tensor(3), **before("module.")(WEIGHTS)},
    "shadow parameters": {"model": WEIGHTS, "ema": {"decay": 0.9, "shadow_params": list(OTHERS.values())}},
    "twice the same": {"model": WEIGHTS, "best": {name: value.clone() for name, value in WEIGHTS.items()}},
    "a true optimizer": {"model": WEIGHTS, "optimizer_state_dict": adam(), "scheduler": {"last_epoch": 3}},
    "an optimizer first": {"optim": adam(), "model": WEIGHTS},
    "Lightning": {
        "epoch": 3,
        "global_step": 9,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": before("model.")(WEIGHTS),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'psnr'}": {"best_model_score": torch.tensor(30.0), "dirpath": "a/b"}},
        "optimizer_states": [adam()],
        "hyper_parameters": {"lr": 1e-3},
    },
    "dict in dicts": {"checkpoint": {"model": {"state_dict": before("module.")(WEIGHTS)}}},
    "a dict for each network": {
        network: {name.split(".", 1)[1]: value for name, value in WEIGHTS.items() if name.startswith(f"{network}.")}
        for network in PREFIXES
    },
    "an OrderedDict with metadata": NETWORKS.state_dict(),
    "parameters": dict(NETWORKS.named_parameters()) | dict(NETWORKS.named_buffers()),
    "more networks": {"model": WEIGHTS | {"lpips.net.weight": torch.ones(3), "Generatorx.weight": torch.ones(1)}},
    "keys of other types": {"model": WEIGHTS, 3: torch.ones(2), ("a", "b"): {}, None: None},
    "random states": {"model": WEIGHTS, "rng": torch.get_rng_state(), "torch": [torch.ones(2), (torch.float16,)]},
    "a size and a device": {"model": WEIGHTS, "size": torch.Size([32, 64]), "device": torch.device("cuda:0")},
    "an empty dict of weights": {"state_dict": {}, "model": WEIGHTS},
    "deep settings": {"model": WEIGHTS, "config": {"a": {"b": {"c": [1, {"d": None}]}}}},
    # Objects of classes, of which no code is run
    "a Namespace": {"state_dict": WEIGHTS, "args": argparse.Namespace(lr=1e-3, DR=pathlib.PurePosixPath("LAB4"))},
    "a number of numpy": {"state_dict": WEIGHTS, "best_psnr": np.float64(27.5), "epoch": np.int64(3)},
    "numbers of numpy": {"state_dict": WEIGHTS, "losses": [np.float32(1.5), np.float16(2), np.bool_(True)]},
    "an array of numpy": {"state_dict": WEIGHTS, "history": np.arange(5.0), "names": np.array(["a", "b"])},
    "a path": {"state_dict": WEIGHTS, "folder": pathlib.PurePosixPath("a/b"), "windows": pathlib.PureWindowsPath("c")},
    "an object of a script": {"state_dict": WEIGHTS, "config": Config()},
    "settings of a library": {"state_dict": WEIGHTS, "config": Settings(lr=1e-3, data=Settings(size="32x64"))},
    "weights of a library": Settings(model=Settings(WEIGHTS)),
    "a log with defaults": {"state_dict": WEIGHTS, "log": collections.defaultdict(list, {"loss": [1.0, 2.0]})},
    "counts": {"state_dict": WEIGHTS, "skipped": collections.Counter({"nan": 2})},
    "a class of a script": {"state_dict": WEIGHTS, "class": Config, "optimizer": torch.optim.Adam},
    "a module as a part": {"state_dict": WEIGHTS, "criterion": nn.MSELoss()},
    "a complete module": NETWORKS,
    "a complete module in a dict": {"model": NETWORKS, "epoch": 3},
    "a complete parallel module": nn.DataParallel(copy.deepcopy(NETWORKS)),
}


@pytest.mark.parametrize("form", CONTENTS)
def test_weights_are_found_in_every_form(tmp_path: Path, form: str) -> None:
    torch.save(CONTENTS[form], tmp_path / "a.ckpt")
    check(tmp_path / "a.ckpt")


# Encodings of the file


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.ckpt", "a.pth.tar", "a.bin", "epoch=7", "a b 重.pth", "-a.pth"])
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before torch 1.6"])
def test_the_name_of_a_file_does_not_matter(tmp_path: Path, name: str, is_zip: bool) -> None:
    torch.save({"state_dict": WEIGHTS, "lr": 0.1}, tmp_path / name, _use_new_zipfile_serialization=is_zip)
    check(tmp_path / name)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "networks.", "_orig_mod."])
def test_safetensors_are_read(tmp_path: Path, name: str, prefix: str) -> None:
    save_file(before(prefix)(WEIGHTS), tmp_path / name, metadata={"format": "pt"})
    check(tmp_path / name)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_newer_pickles_are_read_or_refused(tmp_path: Path, protocol: int) -> None:
    torch.save({"state_dict": WEIGHTS}, tmp_path / "a.pth", pickle_protocol=protocol)
    if protocol == 2:
        check(tmp_path / "a.pth")
    else:  # torch reads only protocol 2 without running code
        with pytest.raises(InputError, match="save it again with its state_dict alone"):
            read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path: Path, kind: torch.dtype) -> None:
    cast = {name: value.to(kind) if value.is_floating_point() else value for name, value in WEIGHTS.items()}
    torch.save({"state_dict": cast}, tmp_path / "a.pth")
    check(tmp_path / "a.pth", {n: v.float() if v.is_floating_point() else v for n, v in cast.items()})


def moved(content: bytes, device: str) -> bytes:
    """Return a file of torch.save as a machine with that device writes it."""
    source, out = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    name = b"X" + len(device).to_bytes(4, "little") + device.encode()
    with zipfile.ZipFile(out, "w") as target:
        for file in source.namelist():
            target.writestr(file, source.read(file).replace(b"X\3\0\0\0cpu", name))
    return out.getvalue()


@pytest.mark.parametrize("device", ["cuda:0", "cuda:7", "cuda", "mps", "mps:0", "xpu:0", "npu:0"])
def test_weights_of_other_devices_are_read(tmp_path: Path, device: str) -> None:
    buffer = io.BytesIO()
    torch.save({"state_dict": WEIGHTS}, buffer)
    content = moved(buffer.getvalue(), device)
    assert content.count(device.encode()) > 1 or b"cpu" not in content
    (tmp_path / "a.pth").write_bytes(content)
    check(tmp_path / "a.pth")


@pytest.mark.parametrize("form", ["channels last", "parts of one storage", "shared"])
def test_weights_stored_otherwise_are_read(tmp_path: Path, form: str) -> None:
    weights = dict(WEIGHTS)
    for name, value in WEIGHTS.items():
        if form == "channels last" and value.ndim == 4:
            weights[name] = value.to(memory_format=torch.channels_last)
        elif form == "parts of one storage":
            weights[name] = torch.stack([torch.zeros_like(value), value])[1]
    torch.save({"state_dict": weights, **({"optimizer": weights} if form == "shared" else {})}, tmp_path / "a.pth")
    check(tmp_path / "a.pth")


# Refused files


class Harmful:
    """Object whose loading runs a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


HARMFUL: dict[str, Callable[[Path], Harmful]] = {
    "os.mkdir": lambda proof: Harmful(os.mkdir, str(proof)),
    "os.system": lambda proof: Harmful(os.system, f"mkdir {proof}"),
    "subprocess": lambda proof: Harmful(subprocess.Popen, ["mkdir", str(proof)]),
    "eval": lambda proof: Harmful(eval, f"__import__('os').mkdir({str(proof)!r})"),
    "exec": lambda proof: Harmful(exec, f"__import__('os').mkdir({str(proof)!r})"),
    "open": lambda proof: Harmful(io.open, str(proof), "w"),
    "pathlib": lambda proof: Harmful(pathlib.Path.touch, proof),
    "torch.save": lambda proof: Harmful(torch.save, 3, str(proof)),
    "torch.load": lambda proof: Harmful(torch.load, str(proof)),
    "numpy.fromfile": lambda proof: Harmful(np.fromfile, str(proof)),
}


@pytest.mark.parametrize("place", ["args", "state_dict"])
@pytest.mark.parametrize("name", HARMFUL)
def test_no_code_is_run(tmp_path: Path, name: str, place: str) -> None:
    harmful = HARMFUL[name](tmp_path / "proof")
    torch.save({"state_dict": WEIGHTS, place: harmful}, tmp_path / "a.pth")
    if name.startswith(("os", "pathlib")) or place == "state_dict":
        with pytest.raises(InputError, match=r"state_dict alone|no weights"):
            read_checkpoint(tmp_path / "a.pth")
    else:
        check(tmp_path / "a.pth")
    assert not (tmp_path / "proof").exists()


def endless() -> dict[str, Any]:
    content: dict[str, Any] = {"model": {}}
    content["model"]["model"] = content
    return content


def nested(depth: int, width: int = 1) -> Any:
    content: Any = {}
    for _ in range(depth):
        content = {str(k): content for k in range(width)}
    return content


def without(network: str) -> Weights:
    return {name: value for name, value in WEIGHTS.items() if not name.startswith(network)}


REFUSED: dict[str, tuple[Any, str]] = {
    "two versions": ({"model": WEIGHTS, "best": OTHERS}, "several versions of the weights, under 'model' and 'best'"),
    "a network is missing": ({"state_dict": without("Generator")}, "no weights under 'Generator'"),
    "another model": ({"state_dict": {"conv1.weight": torch.ones(3)}}, r"torch\.save\(\{'state_dict': model"),
    "no weights": ({"epoch": 3}, "no weights under 'frame_transformation'"),
    "a list": ([1, 2], "no weights"),
    "a number": (3, "no weights"),
    "a tensor": (torch.ones(3), "no weights"),
    "an optimizer only": ({"optimizer": adam()}, "no weights"),
    "a dict in itself": (endless(), "no weights"),
    "a deep dict": (nested(100), "no weights"),
    "a dict of endless size": (nested(50, width=8), "no weights"),
    "endless tensors": ({name: torch.ones(1).expand(10**6, 10**6) for name in WEIGHTS}, "no weights"),
    "sparse tensors": ({name: torch.eye(3).to_sparse() for name in WEIGHTS}, "no weights"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about sparse tensors
@pytest.mark.parametrize("form", REFUSED)
def test_the_reason_of_a_refusal_is_stated(tmp_path: Path, form: str) -> None:
    content, message = REFUSED[form]
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=f"a.pth.*{message}"):
        read_checkpoint(tmp_path / "a.pth")


BYTES = {
    "nothing": b"",
    "text": b"weights\n" * 100,
    "eight bytes and a brace": b"\xff" * 8 + b"{" + b"x" * 100,
    "damaged safetensors": (100).to_bytes(8, "little") + b'{"a": 1}',
    "a pickle": pickle.dumps(Config()),
    "an empty zip": b"PK\x05\x06" + bytes(18),
    "a page that is no file": b"<!DOCTYPE html><html>Google Drive - Virus scan warning</html>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n",
}


@pytest.mark.parametrize("form", BYTES)
def test_other_files_are_refused(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.pth").write_bytes(BYTES[form])
    with pytest.raises(InputError, match=r"a\.pth"):
        read_checkpoint(tmp_path / "a.pth")


# Commands


@pytest.mark.parametrize("form", ["compiled", "safetensors"])
def test_each_command_reads_the_same_forms(tmp_path: Path, form: str) -> None:
    data, checkpoint = tmp_path / "data", tmp_path / "a.pth"
    assert main(["synth", str(data), "--sequences", "1", "--frames", "20", "--size", "16x16"]) == 0
    if form == "compiled":
        torch.save({"model_state_dict": before("module._orig_mod.")(WEIGHTS), "args": Config()}, checkpoint)
    else:
        save_file(before("model.")(WEIGHTS), checkpoint)
    size = ["--size", "16x16"]
    assert main(["import-lab4", str(checkpoint), "--out", str(tmp_path / "run"), *size]) == 0
    imported = load_run(tmp_path / "run").networks.state_dict()
    assert all(torch.equal(imported[name], value) for name, value in WEIGHTS.items())

    widths = [word for name, width in WIDTHS.items() for word in (f"--{name.replace('_', '-')}", str(width))]
    command = ["train", "--data", str(data), "--recipe", "lab4", *size, *widths, "--clip-length", "4", "--steps", "1"]
    command += ["--learning-rate", "1e-9", "--device", "cpu"]
    assert main([*command, "--out", str(tmp_path / "trained"), "--from", str(checkpoint)]) == 0
    trained = load_run(tmp_path / "trained").networks.state_dict()
    for name, value in Course.named_parameters(NETWORKS):
        torch.testing.assert_close(trained[name], value.detach(), atol=1e-6, rtol=0)

    options = ["--DR", str(data), "--ckpt_path", str(checkpoint), "--device", "cpu", "--F_dim", "8"]
    options += ["--frame_H", "16", "--frame_W", "16", "--val_vi_len", "20", "--save_root", str(tmp_path / "out")]
    assert main(["lab4", "test", *options]) == 0
