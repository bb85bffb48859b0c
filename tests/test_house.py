"""The house: data walks one way, and the front door opens at once."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "posecast"

# A file imports only from files above it.
ORDER = """
errors files config settings schedules model/threads model/device machine replaying media
data/recordings data/capsules data/poses data/limbs data/body data/choreography data/figure data/dancer
data/course data/looking data/checking data/packed data/synthetic data/rooms data/augmentation data/clips
data/video data/estimators data/keypoint_files data/scenes data/following data/tracks data/cropping data/overlay
data/fitting data/sighting data/trouble data/picturing extraction driving
model/elbo model/priors model/attention model/copying model/lab4 model/anchored model/predictor
checkpoint inspecting lab4_checkpoints rollout metrics observing futures factors evaluation
optimizers batches learning pace standing settling validation resuming launching training
plots page runs latent_section report scoring sound generation submission grading
grids plans experiments comparing findings drawings comparison
doctor flags lab4_options lab4_template
commands/options progress tables demo commands/footage commands/learning commands/experimenting
commands/judging commands/course commands/machine commands/lab4
cli __main__
""".split()

# posecast/__init__.py is the front door: it names the version, and loads everything else only when asked.
FRONT_DOOR = "posecast"


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("posecast"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if exists(name) else node.module for name in names}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("posecast")}
    return {name.removeprefix("posecast").removeprefix(".").replace(".", "/") for name in found} - {""}


def exists(module: str) -> bool:
    return (SOURCE.parent / Path(*module.split("."))).with_suffix(".py").exists()


def type_checking_only(file: Path) -> set[str]:
    """What is imported for the type checker alone."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom) and inner.module:
                    found.add(inner.module.removeprefix("posecast.").replace(".", "/"))
    return found


def test_every_file_has_its_place() -> None:
    files = {str(path.relative_to(SOURCE).with_suffix("")) for path in SOURCE.rglob("*.py")}
    assert {name for name in files if not name.endswith("__init__")} == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_a_file_imports_only_from_above(name: str) -> None:
    file = SOURCE / f"{name}.py"
    above = set(ORDER[: ORDER.index(name)])
    assert imports_of(file) - type_checking_only(file) <= above


def modules_after(*arguments: str) -> set[str]:
    code = "import sys; from posecast.cli import main; main(sys.argv[1:]); print(*sorted(sys.modules), file=sys.stderr)"
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
    for name in ("data.synthetic", "data.checking", "report"):
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
