"""A video of the synthetic dancer, to which `keypoint_writers.py` has the keypoints."""

from pathlib import Path

import pytest

from posecast.data.dancer.dance import dance
from posecast.video.writer import open_writer

from .keypoint_writers import NUM, SIZE


@pytest.fixture(scope="session")
def dancer_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dancer") / "clip.mp4"
    with open_writer(path, fps=20) as writer:
        for frame in dance(NUM, seed=1, size=SIZE).recording.frames:
            writer.write(frame)
    return path
