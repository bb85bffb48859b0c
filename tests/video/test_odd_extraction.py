"""Extraction of odd footage, and options that are easily mistaken: right results, remarks, or one sentence."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from posecast.cli.data import parse_share, parse_time
from posecast.data.images import read_image
from posecast.errors import InputError
from posecast.video.driving import read_drive
from posecast.video.extract import Extraction, extract
from posecast.video.generate_request import GenerateRequest
from posecast.video.reader import default_fps

from .footage import FPS, Marked, has_marks, joined, marked, write


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.mp4", "a.ts"])
def test_longer_sound_does_not_make_a_video_longer(tmp_path: Path, name: str) -> None:
    is_webm = name.endswith("webm")
    with av.open(str(tmp_path / name), "w") as out:
        video = out.add_stream("libvpx-vp9" if is_webm else "libx264", rate=FPS)
        sound = out.add_stream("libopus" if is_webm else "aac", rate=48_000)
        video.height, video.width, video.pix_fmt, sound.layout = 96, 160, "yuv420p", "mono"
        for k in range(12):
            out.mux(video.encode(av.VideoFrame.from_ndarray(marked(k), format="rgb24")))
        out.mux(video.encode(None))
        for k in range(100):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="flt", layout="mono")
            block.rate, block.pts, block.time_base = 48_000, 960 * k, Fraction(1, 48_000)
            out.mux(sound.encode(block))
        out.mux(sound.encode(None))
    extracted = extract([tmp_path / name], tmp_path / "out", Extraction(size=(32, 32), val=0.0), estimator=Marked())
    assert extracted.num_train == 12
    assert extracted.facts["videos"][0]["broken"] == ""


def test_change_of_the_size_keeps_keypoints_and_images_together(tmp_path: Path) -> None:
    path = joined(tmp_path, (0, 20, 0, (96, 160)), (20, 20, 20, (192, 320)))
    settings = Extraction(size=(48, 80), crop="whole", val=0.0)
    extracted = extract([path], tmp_path / "out", settings, estimator=Marked())
    assert any("frame size changes once" in finding.message for finding in extracted.remarks)
    images = sorted((tmp_path / "out" / "train" / "train_img").iterdir())
    assert len(images) >= 38
    assert all(has_marks(read_image(image), tolerance=20) for image in images)
    maps = {path.read_bytes() for path in (tmp_path / "out" / "train" / "train_label").iterdir()}
    assert len(maps) == 1  # the person stays at one place of the scene


def test_jump_of_the_clock_begins_a_recording(tmp_path: Path) -> None:
    path = joined(tmp_path, (0, 30, 0, (96, 160)), (0, 30, 25 * 3600, (96, 160)))
    extracted = extract([path], tmp_path / "out", Extraction(size=(32, 32), val=0.0), estimator=Marked())
    assert len(extracted.facts["recordings"]) == 2
    assert extracted.facts["videos"][0]["faults"]["jumped"] == {"count": 1, "first_s": pytest.approx(29 / 25)}
    assert any("time stamps jump once" in finding.message for finding in extracted.remarks)
    assert not any("breaks off" in finding.message for finding in extracted.remarks)


def test_faults_of_a_followed_video_are_reported(tmp_path: Path) -> None:
    path = joined(tmp_path, (0, 20, 0, (96, 160)), (20, 20, 20, (192, 320)))
    photo = tmp_path / "photo.png"
    av.VideoFrame.from_ndarray(marked(0, (32, 64)), format="rgb24").to_image().save(photo)
    request = GenerateRequest(first_frame=photo, first_pose=photo, poses=path, out=tmp_path / "a.gif", no_fit=True)

    def unneeded() -> Any:
        raise AssertionError

    with pytest.warns(UserWarning, match=r"joined\.ts: the frame size changes once"):
        read_drive(request, (32, 64), unneeded, estimator=Marked())


SHORT: dict[str, Callable[[Path], Path]] = {
    "one frame": lambda folder: write(folder / "a.mp4", [marked(0)]),
    "one frame of a GIF": lambda folder: write(folder / "a.gif", [marked(0)], "gif", "rgb8"),
    "a photo": lambda folder: write(folder / "a.mov", [marked(0)], "png", "rgb24"),
}


@pytest.mark.parametrize("name", SHORT)
def test_single_frame_is_too_short(tmp_path: Path, name: str) -> None:
    path = SHORT[name](tmp_path)
    with pytest.raises(InputError, match=r"less than two frames .* expected a person in view"):
        extract([path], tmp_path / "out", estimator=Marked())
    assert not (tmp_path / "out").exists()
    assert default_fps(path) > 0


@pytest.mark.parametrize(("text", "share"), [("15", 0.15), ("15%", 0.15), ("0", 0.0), ("0.5%", 0.005), ("12.5", 0.125)])
def test_share_is_in_percent(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0.2", "0.15", ".5", "1e-3", "a fifth", "", "%"])
def test_share_that_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--val is"):
        parse_share(text)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1:30", 90), ("1:02:03", 3723), ("0:00.5", 0.5)])
def test_times_have_hours_minutes_and_seconds(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("start_s", [float("nan"), float("inf"), -1.0])
def test_start_that_is_no_time_is_refused(start_s: float) -> None:
    with pytest.raises(InputError, match="--start"):
        Extraction(start_s=start_s)
