"""Command that writes a trained run for other programs, for a model hub, or as a page to drive it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from posecast.cli.options import Force, Run, prepare_device, print_note, print_result
from posecast.errors import InputError


def export(
    run: Run,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder to write; with --format page a file that ends in .html.")],
    format: Annotated[
        Literal["onnx", "page", "hub"],
        Parameter(
            help="onnx: graphs that any program with ONNX Runtime can drive. page: one HTML file in which anybody can "
            "drive the person, without a network. hub: weights and a model card, as model hubs take them."
        ),
    ] = "onnx",
    data: Annotated[
        Path | None, Parameter(help="Data set that gives the page its photo and its dances; needed by --format page.")
    ] = None,
    name: Annotated[
        str | None, Parameter(help="Name on the page or the model card; if not given, that of the run's folder.")
    ] = None,
    consent: Annotated[
        str | None, Parameter(help="Who agreed to what, a sentence for the model card; needed by --format hub.")
    ] = None,
    licence: Annotated[str | None, Parameter(help="Licence in the model card, such as cc-by-4.0 (other).")] = None,
    force: Force = False,
) -> None:
    """Write a run for other programs, as a page that anybody can drive, or for a model hub."""
    given = {"data": data, "name": name, "consent": consent, "licence": licence}
    unused = [option for option, value in given.items() if value is not None and option not in OPTIONS[format]]
    if unused:
        raise InputError(f"--{unused[0]} is not for --format {format}; leave it out.")
    title = run.resolve().name if name is None else name
    if format == "onnx":
        write_graphs(run, out, force=force)
    elif format == "page":
        if data is None:
            raise InputError("--format page needs --data DATA, which gives the page its photo and its dances.")
        write_page(run, out, data, title, force=force)
    else:
        if consent is None:
            raise InputError("--format hub needs --consent TEXT: who agreed to what, a sentence for the model card.")
        write_hub(run, out, title, consent, licence or "other", force=force)


OPTIONS = {"onnx": (), "page": ("data", "name"), "hub": ("name", "consent", "licence")}
"""Options that only some formats have."""
TRACING = "Tracing the networks and comparing rollouts (half a minute)"


def write_graphs(run: Path, out: Path, *, force: bool) -> None:
    """Write the ONNX graphs of a run."""
    from posecast.export.onnx_folder import export_onnx

    prepare_device("cpu")
    print_note(TRACING)
    parity = export_onnx(run, out, force=force)
    print_result(f"Written: {out}, {parity.sentence()}")


def write_hub(run: Path, out: Path, name: str, consent: str, licence: str, *, force: bool) -> None:
    """Write a run for a model hub."""
    from posecast.export.hub_folder import export_hub

    has_scores = export_hub(run, out, name=name, consent=consent, licence=licence, force=force)
    if not has_scores:
        print_note(f"The card has no scores; posecast evaluate {run} --data DATA computes them.")
    print_result(f"Written: {out}. Read {out}/README.md before you upload it.")


def write_page(run: Path, out: Path, data: Path, name: str, *, force: bool) -> None:
    """Write the page of a run, after the checks that need no long work."""
    from posecast.config.schema import parse_size
    from posecast.export.page import built_page, check_page, export_page
    from posecast.model.checkpoint import read_config
    from posecast.video.puppet_footage import puppet_footage

    check_page(out, name=name, force=force)
    built_page()
    footage = puppet_footage(data, parse_size(read_config(run)[0].size))
    prepare_device("cpu")
    print_note(TRACING)
    parity, size = export_page(run, out, footage, name=name, force=force)
    print_result(
        f"Written: {out} ({size / 1e6:.0f} MB), {parity.sentence()}. It shows a real photo: share it only with the "
        "person's consent."
    )
