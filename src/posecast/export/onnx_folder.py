"""A run as a folder of ONNX graphs, which can be used without posecast.

In: a run folder. Out: the graphs, their parity with torch, and a README with a program that drives them.
Next: `engine.py` keeps the same graphs for posecast's own rollouts, `checked_graphs.py` makes them.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from posecast.export.engine import check_installed, keep_graphs
from posecast.export.parity import Parity
from posecast.files import check_claim, claim_folder, write_bytes, write_text
from posecast.model.checkpoint import load_run
from posecast.model.onnx_rollout import GRAPHS, PARITY

README = "README.md"
FILES = (*(f"{name}.onnx" for name in GRAPHS), PARITY, README)


def export_onnx(run: Path, out: Path, *, force: bool = False) -> Parity:
    """Write a run as ONNX graphs, and keep them for rollouts on this machine.

    Args:
        run: Folder of the run.
        out: Folder to write.
        force: Whether earlier graphs there may be replaced.

    Raises:
        InputError: The run cannot be read, the folder may not be used, the extra is missing, or the graphs differ from
            torch by more than rounding.
    """
    check_installed()
    predictor = load_run(run)
    check_claim(out, marker=PARITY, force=force)
    graphs, parity = keep_graphs(predictor)
    claim_folder(out, marker=PARITY, ours=FILES, force=force)
    for name in FILES:
        if (graphs / name).is_file():
            write_bytes(out / name, (graphs / name).read_bytes())
    write_text(out / README, importlib.resources.files("posecast.export").joinpath("onnx_readme.md").read_text("utf-8"))
    return parity
