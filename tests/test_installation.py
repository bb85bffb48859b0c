"""Files that say what is installed: constraints, locks with hashes, licences, the Makefile."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements-lock.txt", "requirements-lock-extras.txt")


def pins(file: str) -> dict[str, set[str]]:
    """Return the versions of each package that a file pins."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / file).read_text().splitlines():
        if match := re.match(r"(\w[\w.-]*)==([^\s;\\]+)", line):
            versions.setdefault(canonicalize_name(match[1]), set()).add(match[2])
    return versions


PINS = pins("constraints.txt")


def requirements(*extras: str) -> set[str]:
    """Return the packages that the project and some of its extras require directly, on Linux with Python 3.11."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    platform = {"python_version": "3.11", "sys_platform": "linux", "platform_machine": "x86_64"}
    needed = map(Requirement, lines)
    return {canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate(platform)}


def test_every_direct_requirement_is_pinned() -> None:
    assert requirements("export", "video", "tensorboard", "dev", "docs") - {"posecast"} <= set(PINS)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_the_pinned_versions_with_hashes(lock: str) -> None:
    """`make lock` has run since the last change of a pin."""
    locked = pins(lock)
    assert {name: PINS.get(name) for name in locked} == locked
    extras = ("export", "video", "tensorboard") if "extras" in lock else ()
    assert requirements(*extras) - set(locked) == {"torch"}
    for entry in re.split(r"\n(?=\w)", (ROOT / lock).read_text())[1:]:
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", entry), entry
    assert "://" not in (ROOT / lock).read_text()


def test_every_pinned_package_has_its_licence_named() -> None:
    """`make licences` has run since the last change of a pin."""
    rows = re.findall(
        r"^\| ([\w.-]+) +\| ([\w.]+)(?:\+cpu)? +\| (.+?) +\|$", (ROOT / "docs/licences.md").read_text(), re.M
    )
    table = {canonicalize_name(name): version for name, version, licence in rows if licence != "UNKNOWN"}
    assert set(PINS) - set(table) == set()
    assert {name for name, versions in PINS.items() if table[name] not in versions} == set()


@pytest.mark.parametrize(("address", "installs"), [("", 1), ("https://index.invalid/cpu", 2)])
def test_make_takes_torch_from_the_index_that_is_named(tmp_path: Path, address: str, installs: int) -> None:
    command = ["make", "--dry-run", "demo", f"VENV={tmp_path}/venv", f"TORCH_INDEX={address}"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # A dry run of `demo` prints the installation twice, since it does not install anything before the page.
    lines = list(dict.fromkeys(line for line in printed.splitlines() if "pip install" in line))
    assert len(lines) == installs
    assert all("--constraint constraints.txt" in line for line in lines)
    assert (f'--no-deps --index-url "{address}" torch' in lines[0]) == bool(address)
