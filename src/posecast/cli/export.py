"""Command that writes a trained run for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from posecast.cli.options import Force, Run, prepare_device, print_note, print_result


def export(
    run: Run,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder to write.")],
    format: Annotated[
        Literal["onnx"], Parameter(help="onnx: graphs that any program with ONNX Runtime can drive.")
    ] = "onnx",
    force: Force = False,
) -> None:
    """Write a run for other programs; rollouts on this machine use its graphs from then on."""
    from posecast.export.onnx_folder import export_onnx

    prepare_device("cpu")
    print_note("Tracing the networks and comparing rollouts (half a minute)")
    parity = export_onnx(run, out, force=force)
    print_result(f"Written: {out}, {parity.sentence()}")
