"""Number of odd inputs that the tests generate: files, names and drives that people have, each with its outcome.

A parametrised test of a file below counts as one input. Print the numbers: `python -m tests.odd_inputs`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent
CORPUS = {
    "names": ("test_names.py", "test_odd_names.py"),
    "drives and moved data": ("test_drives.py", "test_moved_data.py", "data/test_fingerprint.py"),
    "outputs": ("test_output.py",),
    "images": ("data/test_odd_images.py",),
    "clips": ("video/test_odd_footage.py", "video/test_odd_extraction.py", "video/test_rgb.py"),
    "keypoints": ("video/test_keypoint_files.py", "video/test_keypoint_formats.py", "video/test_keypoint_people.py"),
    "settings": ("config/test_settings_file.py",),
    "submissions": ("course/test_kaggle_score.py",),
    "checkpoints": ("model/test_odd_lab4_checkpoints.py", "model/test_lab4_checkpoint.py"),
    "files of strangers": ("test_strangers.py",),
}
"""Files of tests by the kind of input."""


def count() -> Counter[str]:
    """Return the number of inputs of each kind."""
    files = [str(TESTS / name) for names in CORPUS.values() for name in names if (TESTS / name).exists()]
    options = ["--collect-only", "-o", "addopts=-q --import-mode=importlib --strict-markers", "-n", "0"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    collected = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=True).stdout
    kinds = {name: kind for kind, names in CORPUS.items() for name in names}
    return Counter(kinds[name] for name in re.findall(r"^tests/([\w/]+\.py)::\w+\[", collected, re.MULTILINE))


if __name__ == "__main__":
    numbers = count()
    for kind, number in numbers.items():
        print(f"{number:5}  {kind}")
    print(f"{numbers.total():5}  in all")
