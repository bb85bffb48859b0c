"""The house: data walks one way, and the front door opens at once."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "posecast"


def modules_after(*arguments: str) -> set[str]:
    run = "from posecast.cli.main import main; main(sys.argv[1:])"
    code = f"import sys; {run}; print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("command", ["", "train", "generate", "synth", "lab4 train"])
def test_help_imports_nothing_heavy(command: str) -> None:
    loaded = modules_after(*command.split(), "--help")
    assert not loaded & {"torch", "numpy", "PIL", "av", "matplotlib", "lightning_fabric", "yaml"}


def test_a_rollout_starts_without_what_only_training_and_judging_need() -> None:
    """lightning_fabric takes longer to import than torch; with it the first frame came after four seconds."""
    code = "import sys, posecast.video.generate; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"lightning_fabric", "torchmetrics", "scipy", "matplotlib"}


def test_synth_check_and_report_need_no_torch() -> None:
    for name in ("data.dancer.dataset", "data.check", "reporting.run_report"):
        code = f"import sys, posecast.{name}; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False", name


def test_nothing_unpickles() -> None:
    """Loading never runs code: torch.load only with weights_only, no pickle.load, no numpy allow_pickle, no eval."""
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
