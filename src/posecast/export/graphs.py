"""Graphs of a run in the format ONNX: what is encoded ahead, the first memory of z, and the step of a rollout.

In: a predictor. Out: one ONNX file per graph, with a description of its use as metadata. All graphs compute in float32
and take any number of rows, but one anchor. Next: `model/onnx_rollout.py` rolls out with them.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posecast.config.schema import parse_size
from posecast.errors import InputError
from posecast.files import write_bytes
from posecast.model.onnx_rollout import MISSING
from posecast.model.predictor import Predictor
from posecast.model.priors import Features

OPSET = 20
"""Version of the operators; runtimes of 2024 and later know it."""
ROWS = 3
"""Rows of the inputs that a graph is traced with; a number that is not 1 is kept variable."""
MOST_ROWS = 2**16


class _Anchor(nn.Module):
    """Frame and pose map of the anchor to its features."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.networks = predictor.networks

    def forward(self, frame: Tensor, pose: Tensor) -> tuple[Tensor, ...]:
        return self.networks.encode_anchor(frame, pose)


class _Condition(nn.Module):
    """Pose windows and features of the anchor to conditions."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.networks = predictor.networks

    def forward(self, windows: Tensor, *anchor: Tensor) -> tuple[Tensor, ...]:
        return self.networks.encode_condition(windows, anchor)


class _Begin(nn.Module):
    """First frame, noise and condition to the memory of z after the first frame; noise 0 gives the mean."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.networks = predictor.networks

    def forward(self, frame: Tensor, noise: Tensor, *condition: Tensor) -> Tensor:
        return self.networks.begin(self.networks.encode_frame(frame), condition, noise)[0]


class _Step(nn.Module):
    """Memory, previous frame (each where there is one), noise and condition to the next frame and memory."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        networks, rest = self.predictor.networks, list(inputs)
        memory = rest.pop(0) if networks.memory_shape[0] else None
        previous = self.predictor.encode_previous(rest.pop(0)) if networks.feedback else ()
        noise, *condition = rest
        if memory is None:
            return self.predictor.imagine_step(previous, tuple(condition), noise[:, :0, :1, :1], noise)[:1]
        return self.predictor.imagine_step(previous, tuple(condition), memory, noise)


def write_graphs(predictor: Predictor, folder: Path, metadata: Mapping[str, str]) -> None:
    """Write the graphs of a predictor into a folder that exists.

    Args:
        predictor: Predictor in evaluation mode on the CPU.
        folder: Folder to write into.
        metadata: Entries for the metadata of every file.

    Raises:
        InputError: The extra `export` is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(MISSING) from error
    networks, (height, width) = predictor.networks, parse_size(predictor.config.size)
    image, pose = torch.zeros(2, 1, 3, height, width)  # two tensors: equal ones would become one input
    rows = torch.zeros(ROWS, 3, height, width)
    windows = torch.zeros(ROWS, 3 * (2 * predictor.pose_window + 1), height, width)
    noise, memory = torch.zeros(ROWS, *predictor.latent_shape), networks.empty_memory(ROWS, image.device)
    anchor = networks.encode_anchor(image, pose)
    condition = networks.encode_condition(windows, anchor)
    conditions = _named("condition", condition)

    def write(name: str, module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> None:
        _write(folder / f"{name}.onnx", module.eval(), inputs, outputs, metadata)

    if anchor:
        write("anchor", _Anchor(predictor), {"frame": image, "pose": pose}, list(_named("anchor", anchor)))
    write("condition", _Condition(predictor), {"windows": windows, **_named("anchor", anchor)}, list(conditions))
    carried = {"previous": rows} if networks.feedback else {}
    outputs = ["frame"]
    if networks.memory_shape[0]:
        write("begin", _Begin(predictor), {"frame": rows, "noise": noise, **conditions}, ["memory"])
        carried, outputs = {"memory": memory, **carried}, ["frame", "next_memory"]
    write("step", _Step(predictor), {**carried, "noise": noise, **conditions}, outputs)


def _named(prefix: str, features: Features) -> dict[str, Tensor]:
    """Name the features of every scale."""
    return {f"{prefix}_{scale}": values for scale, values in enumerate(features)}


def _write(
    path: Path, module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], metadata: Mapping[str, str]
) -> None:
    """Trace a module with the number of rows kept variable, and write its graph."""
    rows = torch.export.Dim("rows", min=1, max=MOST_ROWS)
    shapes = [{0: rows} if len(values) == ROWS else {} for values in inputs.values()]
    with _quiet():
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=_by_parameter(module, shapes),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    write_bytes(path, model.SerializeToString())


def _by_parameter(module: nn.Module, shapes: list[dict[int, Any]]) -> tuple[Any, ...]:
    """Group the shapes of inputs by the parameters of a module's `forward`, whose last one may take several."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    if parameters[-1].kind is not inspect.Parameter.VAR_POSITIONAL:
        return tuple(shapes)
    single = len(parameters) - 1
    return (*shapes[:single], tuple(shapes[single:])) if len(shapes) > single else tuple(shapes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter tells its developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
