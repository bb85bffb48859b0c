"""Tests of video writers: frames survive, files are complete or absent, and memory does not grow."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from posecast.data.images import read_image
from posecast.errors import InputError
from posecast.video.writer import open_writer

from ..videos import read_video, wave

VIDEOS = [".gif", ".webp", ".mp4"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("size", [(32, 64), (33, 65)])
@pytest.mark.parametrize("ending", VIDEOS)
def test_video_has_every_frame_also_identical_neighbours(tmp_path: Path, ending: str, size: tuple[int, int]) -> None:
    frames = [wave(instant, *size) for instant in (0, 0, 0, 1, 2, 2, 9, 9)]
    with open_writer(tmp_path / f"video{ending}") as video:
        for frame in frames:
            video.write(frame)
    decoded = list(read_video(tmp_path / f"video{ending}"))
    assert video.num_frames == len(decoded) == len(frames)
    assert np.abs(wave(0, *size).astype(int) - wave(1, *size)).mean() > 9
    for frame, result in zip(frames, decoded, strict=True):
        assert result.dtype == np.uint8
        assert np.abs(result[: size[0], : size[1]].astype(int) - frame).mean() < 6  # neighbours differ by 9
    if ending == ".mp4":
        assert decoded[0].shape == (32 + 2 * (size[0] % 2), 64 + 2 * (size[1] % 2), 3)
    else:
        assert decoded[0].shape == (*size, 3)


def test_gif_of_few_colours_is_exact(tmp_path: Path) -> None:
    frames = [wave(instant) // 64 * 64 for instant in range(5)]
    with open_writer(tmp_path / "few.gif") as video:
        for frame in frames:
            video.write(frame)
    assert all(np.array_equal(*pair) for pair in zip(read_video(tmp_path / "few.gif"), frames, strict=True))


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_rounding_of_frame_durations_does_not_accumulate(tmp_path: Path, ending: str) -> None:
    with open_writer(tmp_path / f"timed{ending}", fps=30) as video:
        for instant in range(30):
            video.write(wave(instant))
    durations_ms = []
    with Image.open(tmp_path / f"timed{ending}") as video:
        for frame in ImageSequence.Iterator(video):
            frame.load()
            durations_ms.append(frame.info["duration"])
    assert len(durations_ms) == 30
    assert sum(durations_ms) == 1000


@pytest.mark.parametrize("ending", [*VIDEOS, ""])
def test_single_frame_is_enlarged(tmp_path: Path, ending: str) -> None:
    with open_writer(tmp_path / f"one{ending}", scale=3) as video:
        video.write(wave(0, 10, 20))
    frames = [read_image(tmp_path / "one" / "frame000000.png")] if ending == "" else None
    [frame] = frames or read_video(tmp_path / f"one{ending}")
    assert frame.shape == (30, 60, 3)
    assert np.abs(frame.astype(int) - wave(0, 10, 20).repeat(3, 0).repeat(3, 1)).mean() < 4


def test_folder_of_pngs_has_the_given_names(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()  # an empty folder may be filled
    with open_writer(tmp_path / "frames", names=["b", "a"]) as video:
        video.write(wave(0))
        video.write(wave(1))
    assert names_in(tmp_path / "frames") == ["a.png", "b.png"]
    assert np.array_equal(read_image(tmp_path / "frames" / "a.png"), wave(1))
    with pytest.raises(InputError, match="already exists"), open_writer(tmp_path / "frames"):
        pass
    assert names_in(tmp_path / "frames") == ["a.png", "b.png"]


@pytest.mark.parametrize("ending", [*VIDEOS, ""])
def test_failure_leaves_only_earlier_files(tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"video{ending}"
    if ending:
        target.write_text("an earlier video")

    def fails_after_three_frames() -> None:
        with open_writer(target) as video:
            for instant in range(3):
                video.write(wave(instant))
            assert target.exists() == bool(ending)
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        fails_after_three_frames()
    gc.collect()  # an encoder that is not closed would warn here
    assert names_in(tmp_path) == ([target.name] if ending else [])
    if ending:
        assert target.read_text() == "an earlier video"


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.avi; choose \.gif, \.mp4, \.webp or"), open_writer("video.avi"):
        pass
    with pytest.raises(InputError, match="frames per second"), open_writer(tmp_path / "a.gif", fps=0):
        pass
    with pytest.raises(ValueError, match="No frame"), open_writer(tmp_path / "a.webp"):
        pass
    (tmp_path / "file").write_text("")
    with open_writer(tmp_path / "frames") as video:
        video.write(wave(0))
        with pytest.raises(ValueError, match="the first was"):
            video.write(wave(0, 30))
    assert names_in(tmp_path) == ["file", "frames"]


@pytest.mark.parametrize("ending", [*VIDEOS, ""])
def test_memory_does_not_grow_with_the_video(tmp_path: Path, ending: str) -> None:
    frame_bytes = wave(0, 64, 96).nbytes
    with open_writer(tmp_path / f"video{ending}") as video:
        video.write(wave(0, 64, 96))
        tracemalloc.start()
        for instant in range(30):
            video.write(wave(instant, 64, 96))
        kept_bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert kept_bytes < 2 * frame_bytes
