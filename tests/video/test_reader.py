"""Tests of reading videos: times, rates, orientation, pixel aspect ratio, damaged files."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from posecast.errors import InputError
from posecast.video.reader import TimedFrame, length_s, read_timed_frames, resampled


def write_clip(path: Path, times_s: list[float], turned: int = 0, **stream_options: object) -> None:
    """Write a clip of 48x32 whose k-th frame has grey 8 k, the k-th time, and a white upper left corner."""
    shape = (32, 48)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = *shape, "yuv444p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if turned:
            stream.set_display_rotation(turned)
        for name, value in stream_options.items():
            setattr(stream.codec_context, name, value)
        for number, time_s in enumerate(times_s):
            pixels = np.full((*shape, 3), 8 * number, np.uint8)
            pixels[:8, :8] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time_s), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


UNEVEN = [0.0, 0.03, 0.07, 0.2, 0.21, 0.5, 0.52, 0.9, 1.3, 1.34, 1.36, 1.7]


def number_of(frame: TimedFrame) -> int:
    return round(float(frame.frame[-8:, -8:].mean()) / 8)


def test_frames_have_the_times_of_their_stamps(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", UNEVEN)
    frames = list(read_timed_frames(tmp_path / "a.mp4"))
    assert [number_of(frame) for frame in frames] == list(range(len(UNEVEN)))
    np.testing.assert_allclose([frame.time_s for frame in frames], UNEVEN, atol=1e-3)
    later = list(read_timed_frames(tmp_path / "a.mp4", start_s=0.5))
    assert [number_of(frame) for frame in later] == list(range(5, len(UNEVEN)))
    assert length_s(tmp_path / "a.mp4") == pytest.approx(1.7, abs=0.5)


@pytest.mark.parametrize("fps", [4.0, 10.0, 25.0, 59.94])
def test_resampling_selects_the_nearest_frame(tmp_path: Path, fps: float) -> None:
    write_clip(tmp_path / "a.mp4", UNEVEN)
    frames = list(resampled(read_timed_frames(tmp_path / "a.mp4"), fps))
    instants = np.arange(len(frames)) / fps
    np.testing.assert_allclose([frame.time_s for frame in frames], instants, atol=1e-9)
    assert UNEVEN[-1] - 1 / fps - 1e-3 <= instants[-1] <= UNEVEN[-1] + 1e-3
    times = np.array(UNEVEN)
    for frame in frames:
        source_s = times[number_of(frame)]
        assert abs(source_s - frame.time_s) <= np.abs(times - frame.time_s).min() + 1e-3


def test_start_and_end_select_a_part(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", [k / 25 for k in range(30)])
    frames = list(resampled(read_timed_frames(tmp_path / "a.mp4", start_s=0.4), 25.0, end_s=0.8))
    assert [number_of(frame) for frame in frames] == list(range(10, 21))


@pytest.mark.parametrize(("turned", "corner"), [(90, (-1, 0)), (180, (-1, -1)), (-90, (0, -1))])
def test_orientation_flag_is_applied(tmp_path: Path, turned: int, corner: tuple[int, int]) -> None:
    """The flag is an angle in degrees, counter-clockwise."""
    write_clip(tmp_path / "a.mp4", [0.0, 0.04], turned=turned)
    (first, _) = read_timed_frames(tmp_path / "a.mp4")
    assert first.frame.shape == ((48, 32, 3) if turned % 180 else (32, 48, 3))
    assert first.frame[corner].min() > 200
    assert first.frame[tuple(-1 - k for k in corner)].max() < 50


def test_pixels_become_square(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", [0.0, 0.04], sample_aspect_ratio=Fraction(2, 1))
    (first, _) = read_timed_frames(tmp_path / "a.mp4")
    assert first.frame.shape == (32, 96, 3)


def test_truncated_file_is_read_up_to_its_end(tmp_path: Path) -> None:
    """MPEG-TS is readable without the index at the end of the file."""
    write_clip(tmp_path / "a.ts", [k / 25 for k in range(31)])
    content = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[: len(content) * 2 // 3])
    numbers = [number_of(frame) for frame in read_timed_frames(tmp_path / "cut.ts")]
    assert 0 < len(numbers) <= 31
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("content", [b"", b"this is no video\n" * 100, b"\x00\x00\x00\x18ftypmp42" + bytes(2000)])
def test_other_files_are_named_in_the_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4"):
        list(read_timed_frames(tmp_path / "a.mp4"))
    with pytest.raises(InputError, match="no video"):
        list(read_timed_frames(tmp_path / "none.mp4"))


def test_file_with_only_sound_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="only sound"):
        list(read_timed_frames(tmp_path / "a.mp4"))
