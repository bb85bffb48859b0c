"""Tests of adding sound to a video: the right part of it, and unchanged frames."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest

from posecast.errors import InputError
from posecast.video.audio import add_sound
from posecast.video.reader import read_timed_frames
from posecast.video.writer import open_writer

from ..videos import read_video

RATE = 44_100


def write_sound(path: Path, seconds: float, codec: str = "aac", channels: str = "mono") -> None:
    """Write a tone that begins after one second of silence."""
    with av.open(str(path), "w") as container:
        stream = cast("av.AudioStream", container.add_stream(codec, rate=RATE))
        stream.layout = channels
        time_s = np.arange(round(seconds * RATE)) / RATE
        wave = (np.sin(2 * np.pi * 440 * time_s) * (time_s > 1)).astype(np.float32)
        for start in range(0, len(wave), 1024):
            block = wave[start : start + 1024]
            samples = np.tile(block, (1 if channels == "mono" else 2, 1))
            if codec != "aac":
                samples = (samples * 32000).astype(np.int16)[:1]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp" if codec == "aac" else "s16p", layout=channels)
            frame.rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    with open_writer(tmp_path / "v.mp4", fps=10.0) as writer:
        for k in range(20):
            writer.write(np.full((32, 32, 3), 10 * k, np.uint8))
    return tmp_path / "v.mp4"


def decoded_sound(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


@pytest.mark.parametrize(("name", "channels"), [("a.mp4", "mono"), ("a.m4a", "stereo")])
@pytest.mark.parametrize("start_s", [0.0, 0.6])
def test_sound_starts_at_the_requested_time(
    video: Path, tmp_path: Path, name: str, channels: str, start_s: float
) -> None:
    write_sound(tmp_path / name, 5.0, channels=channels)
    before = list(read_video(video))
    add_sound(video, tmp_path / name, start_s=start_s)
    after = list(read_video(video))
    np.testing.assert_array_equal(np.array(after), np.array(before))
    wave = decoded_sound(video)
    assert len(wave) / RATE == pytest.approx(2.0, abs=0.1)
    begins = np.flatnonzero(np.abs(wave) > 0.3)[0] / RATE
    assert begins == pytest.approx(1.0 - start_s, abs=0.06)


def test_source_without_sound_leaves_the_video_unchanged(video: Path, tmp_path: Path) -> None:
    with open_writer(tmp_path / "silent.mp4") as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    before = video.read_bytes()
    with pytest.raises(InputError, match="has no sound"):
        add_sound(video, tmp_path / "silent.mp4")
    (tmp_path / "text.mp4").write_text("no")
    with pytest.raises(InputError, match="cannot be used"):
        add_sound(video, tmp_path / "text.mp4")
    assert video.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["silent.mp4", "text.mp4", "v.mp4"]


@pytest.mark.parametrize(("late_s", "pause_s"), [(0.5, 0.0), (0.0, 0.5), (0.3, 0.4)])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov", "a.ts"])
def test_sound_that_begins_late_or_has_a_gap_stays_synchronous(
    video: Path, tmp_path: Path, name: str, late_s: float, pause_s: float
) -> None:
    """A tone starts with the sound, another one after the gap."""
    with av.open(str(tmp_path / name), "w") as container:
        frames = container.add_stream("libx264", rate=10)
        sound = cast("av.AudioStream", container.add_stream("aac", rate=RATE))
        frames.height, frames.width, frames.pix_fmt, sound.layout = 32, 32, "yuv420p", "mono"
        for _ in range(20):
            container.mux(frames.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(frames.encode(None))
        for k in range(40):
            time_s = np.arange(1024 * k, 1024 * (k + 1)) / RATE
            is_on = (time_s < 0.1) | (time_s > 0.6)
            wave = (np.sin(2 * np.pi * 440 * time_s) * is_on).astype(np.float32)
            block = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            shift_s = late_s + pause_s * (k > 20)
            block.rate, block.pts, block.time_base = RATE, 1024 * k + round(shift_s * RATE), Fraction(1, RATE)
            container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    add_sound(video, tmp_path / name)
    with av.open(str(video)) as container:
        played = [(frame.time or 0.0, np.abs(frame.to_ndarray()[0]).max()) for frame in container.decode(audio=0)]
    loud_s = np.array([time_s for time_s, level in played if level > 0.3])
    assert loud_s[0] == pytest.approx(late_s, abs=0.06)
    assert loud_s[loud_s > late_s + 0.2][0] == pytest.approx(late_s + pause_s + 0.6, abs=0.06)


def test_sound_of_a_recording_cut_out_of_a_broadcast_stays_synchronous(video: Path, tmp_path: Path) -> None:
    """A white frame and a tone begin at the same time, after frames that cannot be decoded."""
    with av.open(str(tmp_path / "a.ts"), "w") as container:
        frames = container.add_stream("libx264", rate=10, options={"g": "20", "x264-params": "scenecut=0"})
        sound = cast("av.AudioStream", container.add_stream("aac", rate=RATE))
        frames.height, frames.width, frames.pix_fmt, sound.layout = 64, 64, "yuv420p", "mono"
        noise = np.random.default_rng(0).integers(0, 99, (60, 64, 64, 3), np.uint8)
        noise[30:] += 150
        num_blocks = 0
        for k, pixels in enumerate(noise):
            container.mux(frames.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            while 1024 * num_blocks < RATE * k / 10:
                time_s = np.arange(1024 * num_blocks, 1024 * (num_blocks + 1)) / RATE
                wave = (np.sin(2 * np.pi * 440 * time_s) * (time_s > 3)).astype(np.float32)
                block = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
                block.rate, block.pts, block.time_base = RATE, 1024 * num_blocks, Fraction(1, RATE)
                container.mux(sound.encode(block))
                num_blocks += 1
        container.mux([*frames.encode(None), *sound.encode(None)])
    content = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[len(content) // 6 // 188 * 188 :])
    white_s = next(frame.time_s for frame in read_timed_frames(tmp_path / "cut.ts") if frame.frame.mean() > 120)
    assert white_s == pytest.approx(1.0, abs=0.06)  # of the key frame at 2 s
    add_sound(video, tmp_path / "cut.ts")
    wave = decoded_sound(video)
    assert np.flatnonzero(np.abs(wave) > 0.3)[0] / RATE == pytest.approx(white_s, abs=0.06)
