"""Properties of the whole package: light imports, and no code that unpickles."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "posecast"


def modules_after(*arguments: str) -> set[str]:
    """Return the modules loaded after a posecast command."""
    command = "from posecast.cli.main import main; main(sys.argv[1:])"
    code = f"import sys; {command}; print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("command", ["", "train", "generate", "synth", "lab4 train"])
def test_help_imports_no_heavy_library(command: str) -> None:
    loaded = modules_after(*command.split(), "--help")
    assert not loaded & {"torch", "numpy", "PIL", "av", "matplotlib", "lightning_fabric", "yaml"}


def test_a_rollout_does_not_import_libraries_of_training_and_evaluation() -> None:
    """The import of lightning_fabric takes longer than that of torch."""
    code = "import sys, posecast.video.generate; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"lightning_fabric", "torchmetrics", "scipy", "matplotlib"}


def test_synth_check_and_report_do_not_import_torch() -> None:
    for name in ("data.dancer.dataset", "data.check", "reporting.run_report"):
        code = f"import sys, posecast.{name}; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False", name


def test_loading_never_unpickles() -> None:
    """The source has torch.load only with weights_only, and no pickle.load, numpy allow_pickle or eval."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.load"), path
            assert keywords.get("allow_pickle", "False") == "False", path
            if called == "torch.load":
                assert keywords.get("weights_only") == "True", path
