"""The notebooks of `examples/`, run from the first cell to the last."""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks_without_outputs() -> None:
    assert len(NOTEBOOKS) == 3
    assert not [path.name for path in NOTEBOOKS for cell in code_cells(path) if cell["outputs"]]


@pytest.mark.long
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cells are the notebook's own; only the budget and the dances are made small."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    code = "\n".join("".join(cell["source"]) for cell in code_cells(notebook))
    for name, value in {"STEPS": 6, "NUM_FRAMES": 40}.items():
        code, count = re.subn(rf"^{name} = \d+$", f"{name} = {value}", code, flags=re.MULTILINE)
        assert count == 1
    exec(compile(code, notebook.name, "exec"), {"__name__": "__main__"})
    assert (tmp_path / "run" / "model.safetensors").exists()
