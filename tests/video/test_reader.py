"""Videos as a player shows them: upright, at their own times, whatever the rate; broken files are named."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from posecast.errors import InputError
from posecast.video.reader import TimedFrame, length_s, read_timed_frames, resampled


def write_clip(path: Path, times_s: list[float], turned: int = 0, **stream_options: object) -> None:
    """A clip of 48x32 whose k-th frame, of grey 8 k, is shown at the k-th time; its upper left corner is white."""
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


def number_of(moment: TimedFrame) -> int:
    return round(float(moment.frame[-8:, -8:].mean()) / 8)


def test_frames_keep_their_own_times(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", UNEVEN)
    found = list(read_timed_frames(tmp_path / "a.mp4"))
    assert [number_of(moment) for moment in found] == list(range(len(UNEVEN)))
    np.testing.assert_allclose([moment.time_s for moment in found], UNEVEN, atol=1e-3)
    later = list(read_timed_frames(tmp_path / "a.mp4", start_s=0.5))
    assert [number_of(moment) for moment in later] == list(range(5, len(UNEVEN)))
    assert length_s(tmp_path / "a.mp4") == pytest.approx(1.7, abs=0.5)


@pytest.mark.parametrize("fps", [4.0, 10.0, 25.0, 59.94])
def test_an_even_rate_shows_the_nearest_frame(tmp_path: Path, fps: float) -> None:
    """Right to half a frame of the video: nothing is counted, the stamps decide."""
    write_clip(tmp_path / "a.mp4", UNEVEN)
    found = list(resampled(read_timed_frames(tmp_path / "a.mp4"), fps))
    instants = np.arange(len(found)) / fps
    np.testing.assert_allclose([moment.time_s for moment in found], instants, atol=1e-9)
    assert UNEVEN[-1] - 1 / fps - 1e-3 <= instants[-1] <= UNEVEN[-1] + 1e-3
    times = np.array(UNEVEN)
    for moment in found:
        shown = times[number_of(moment)]
        assert abs(shown - moment.time_s) <= np.abs(times - moment.time_s).min() + 1e-3


def test_start_and_end_are_of_the_video(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", [k / 25 for k in range(30)])
    found = list(resampled(read_timed_frames(tmp_path / "a.mp4", start_s=0.4), 25.0, end_s=0.8))
    assert [number_of(moment) for moment in found] == list(range(10, 21))


@pytest.mark.parametrize(("turned", "corner"), [(90, (-1, 0)), (180, (-1, -1)), (-90, (0, -1))])
def test_a_phone_held_upright_gives_upright_frames(tmp_path: Path, turned: int, corner: tuple[int, int]) -> None:
    """Turned counter-clockwise by so many degrees, as the file's orientation flag says."""
    write_clip(tmp_path / "a.mp4", [0.0, 0.04], turned=turned)
    (first, _) = read_timed_frames(tmp_path / "a.mp4")
    assert first.frame.shape == ((48, 32, 3) if turned % 180 else (32, 48, 3))
    assert first.frame[corner].min() > 200
    assert first.frame[tuple(-1 - k for k in corner)].max() < 50


def test_pixels_are_made_square(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", [0.0, 0.04], sample_aspect_ratio=Fraction(2, 1))
    (first, _) = read_timed_frames(tmp_path / "a.mp4")
    assert first.frame.shape == (32, 96, 3)


def test_what_is_cut_off_ends_there(tmp_path: Path) -> None:
    """As a phone's clip that was not copied whole; MPEG-TS needs no index to be read."""
    write_clip(tmp_path / "a.ts", [k / 25 for k in range(31)])
    whole = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[: len(whole) * 2 // 3])
    found = [number_of(moment) for moment in read_timed_frames(tmp_path / "cut.ts")]
    assert 0 < len(found) <= 31
    assert found == sorted(found)


@pytest.mark.parametrize("content", [b"", b"this is no video\n" * 100, b"\x00\x00\x00\x18ftypmp42" + bytes(2000)])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4"):
        list(read_timed_frames(tmp_path / "a.mp4"))
    with pytest.raises(InputError, match="no video"):
        list(read_timed_frames(tmp_path / "none.mp4"))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="only sound"):
        list(read_timed_frames(tmp_path / "a.mp4"))
