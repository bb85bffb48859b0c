"""Footage as phones, cameras, broadcasts and screen recorders write it: it is read right, or gives one sentence."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from posecast.data.images import UPRIGHT
from posecast.errors import InputError
from posecast.video.reader import Faults, TimedFrame, list_videos, read_timed_frames, resampled, stored_frames

from .footage import FPS, RED, has_marks, joined, marked, write


def read(path: Path) -> tuple[list[TimedFrame], Faults]:
    faults = Faults()
    return list(read_timed_frames(path, faults=faults)), faults


# Formats -----------------------------------------------------------------------------------------------------------

FORMATS = [
    ("a.mp4", "libx264", "yuv420p", {}),
    ("a.mp4", "libx264", "yuv422p", {}),
    ("a.mp4", "libx264", "yuv444p", {}),
    ("a.mp4", "libx264", "yuvj420p", {}),
    ("a.mp4", "libx264", "nv12", {}),
    ("a.mp4", "libx264", "yuv420p10le", {}),
    ("a.mp4", "libx265", "yuv420p", {"crf": "8", "x265-params": "log-level=none"}),
    ("a.mp4", "libx265", "yuv420p10le", {"crf": "8", "x265-params": "log-level=none"}),
    ("a.mp4", "mpeg4", "yuv420p", {"qmin": "1", "qmax": "2"}),
    ("a.mov", "prores_ks", "yuv422p10le", {}),
    ("a.mov", "prores_ks", "yuva444p10le", {}),
    ("a.mov", "qtrle", "rgb24", {}),
    ("a.mov", "qtrle", "argb", {}),
    ("a.mov", "mjpeg", "yuvj420p", {"qmin": "1", "qmax": "2"}),
    ("a.m4v", "libx264", "yuv420p", {}),
    ("a.3gp", "libx264", "yuv420p", {}),
    ("a.flv", "libx264", "yuv420p", {}),
    ("a.avi", "mjpeg", "yuvj422p", {"qmin": "1", "qmax": "2"}),
    ("a.avi", "mpeg4", "yuv420p", {"qmin": "1", "qmax": "2"}),
    ("a.avi", "rawvideo", "bgr24", {}),
    ("a.avi", "ffv1", "yuv420p", {}),
    ("a.mkv", "ffv1", "bgr0", {}),
    ("a.mkv", "ffv1", "bgra", {}),
    ("a.mkv", "ffv1", "yuv420p10le", {}),
    ("a.mkv", "ffv1", "gbrp10le", {}),
    ("a.mkv", "ffv1", "gbrp16le", {}),
    ("a.mkv", "ffv1", "yuv411p", {}),
    ("a.mkv", "ffv1", "yuv440p", {}),
    ("a.mkv", "ffv1", "yuv444p16le", {}),
    ("a.mkv", "ffv1", "yuva420p", {}),
    ("a.mkv", "jpeg2000", "rgb48le", {}),
    ("a.nut", "rawvideo", "uyvy422", {}),
    ("a.nut", "rawvideo", "yuyv422", {}),
    ("a.nut", "rawvideo", "rgb565le", {}),
    ("a.mov", "png", "rgb24", {}),
    ("a.mov", "png", "rgba", {}),
    ("a.mov", "png", "rgb48be", {}),
    ("a.webm", "libvpx-vp9", "yuv420p", {"crf": "10"}),
    ("a.webm", "libvpx-vp9", "yuva420p", {"crf": "10"}),
    ("a.webm", "libvpx", "yuv420p", {"crf": "4", "b": "5M"}),
    ("a.mpg", "mpeg2video", "yuv420p", {"qmin": "1", "qmax": "2"}),
    ("a.mpeg", "mpeg1video", "yuv420p", {"qmin": "1", "qmax": "2"}),
    ("a.ts", "libx264", "yuv420p", {}),
    ("a.m2ts", "libx264", "yuv420p", {}),
    ("a.mts", "mpeg2video", "yuv422p", {"qmin": "1", "qmax": "2"}),
    ("a.wmv", "wmv2", "yuv420p", {"qmin": "1", "qmax": "2"}),
    ("a.264", "libx264", "yuv420p", {}),
]
"""Name, codec, pixel format, options of the encoder."""


@pytest.mark.parametrize(("name", "codec", "pixels", "options"), FORMATS)
def test_every_format_is_read(tmp_path: Path, name: str, codec: str, pixels: str, options: dict[str, str]) -> None:
    container = {".264": "h264", ".m4v": "mp4", ".m2ts": "mpegts", ".mts": "mpegts"}.get(Path(name).suffix)
    path = write(tmp_path / name, [marked(k) for k in range(4)], codec, pixels, options, container=container)
    frames, faults = read(path)
    assert [frame.frame.shape for frame in frames] == 4 * [(96, 160, 3)]
    assert all(has_marks(frame.frame) for frame in frames)
    assert faults == Faults()
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(4) / FPS, atol=2e-3)


@pytest.mark.parametrize("size", [(97, 161), (31, 160), (96, 17), (2, 2), (16, 1000)])
def test_every_size_is_read(tmp_path: Path, size: tuple[int, int]) -> None:
    frames, _ = read(write(tmp_path / "a.mkv", [marked(0, size)], "ffv1"))
    assert frames[0].frame.shape == (*size, 3)


def test_alpha_is_left_out(tmp_path: Path) -> None:
    frame = np.full((32, 32, 4), (200, 60, 40, 0), np.uint8)
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "bgra"
        out.mux([*stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba")), *stream.encode(None)])
    frames, _ = read(tmp_path / "a.mkv")
    assert (frames[0].frame == RED).all()


def test_interlaced_frame_shows_one_instant(tmp_path: Path) -> None:
    """The person is at columns 20 to 60 in the lines of one field, and at 40 to 80 in those of the other."""
    comb = np.zeros((96, 160, 3), np.uint8)
    comb[::2, 20:60] = comb[1::2, 40:80] = 255
    options = {"flags": "+ildct+ilme", "qmin": "1", "qmax": "2"}
    frames, _ = read(write(tmp_path / "a.mpg", 3 * [comb], "mpeg2video", "yuv420p", options))
    row = frames[1].frame[40:44].astype(int)
    assert row[:, 24:56].min() > 200
    assert row[:, 64:].max() < 60


# Frames of several sizes, time stamps, damage ----------------------------------------------------------------------


JOINED: dict[str, tuple[list[tuple[int, int, int, tuple[int, int]]], dict[str, int], set[int]]] = {
    "larger": ([(0, 20, 0, (96, 160)), (20, 20, 20, (192, 320))], {"resized": 1}, {0}),
    "smaller": ([(0, 20, 0, (192, 320)), (20, 20, 20, (96, 160))], {"resized": 1}, {0}),
    "larger and back": (
        [(0, 12, 0, (96, 160)), (12, 12, 12, (192, 320)), (24, 12, 24, (96, 160))],
        {"resized": 2},
        {0},
    ),
    "started again": ([(0, 40, 0, (96, 160)), (0, 40, 0, (96, 160))], {"jumped": 1}, {0, 1}),
    "an hour later": ([(0, 20, 0, (96, 160)), (20, 20, 25 * 3600, (96, 160))], {"jumped": 1}, {0, 1}),
    "three parts": (
        [(0, 40, 0, (96, 160)), (0, 30, 25 * 3600, (96, 160)), (0, 30, 0, (96, 160))],
        {"jumped": 2},
        {0, 1, 2},
    ),
}
"""Parts, expected faults, expected shots."""


@pytest.mark.parametrize("name", JOINED)
def test_joined_recordings_are_read_to_their_end(tmp_path: Path, name: str) -> None:
    parts, expected, shots = JOINED[name]
    frames, faults = read(joined(tmp_path, *parts))
    assert len(frames) >= sum(count for _, count, _, _ in parts) - 2
    assert {frame.frame.shape for frame in frames} == {(*parts[0][3], 3)}
    assert all(has_marks(frame.frame) for frame in frames)
    assert {fault: count for fault, count in faults.counts.items() if fault != "unordered"} == expected
    assert {frame.shot for frame in frames} == shots
    steps = np.diff([frame.time_s for frame in frames])
    assert 0 < steps.min() <= steps.max() < 0.2
    assert not faults.broken


@pytest.mark.parametrize(("first", "second"), [((96, 160), (160, 96)), ((160, 96), (96, 160)), ((96, 160), (96, 96))])
def test_frame_of_another_aspect_ratio_is_shown_whole(
    tmp_path: Path, first: tuple[int, int], second: tuple[int, int]
) -> None:
    frames, faults = read(joined(tmp_path, (0, 20, 0, first), (20, 20, 20, second)))
    assert faults.counts["resized"] == 1
    last = frames[-1].frame
    assert (last.shape, frames[-1].shot) == ((*first, 3), 1)
    rows, columns = np.flatnonzero((last > 20).any((1, 2))), np.flatnonzero((last > 20).any((0, 2)))
    shown = last[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert shown.shape[1] / shown.shape[0] == pytest.approx(second[1] / second[0], rel=0.05)
    assert has_marks(shown, tolerance=20)


STAMPS: dict[str, tuple[list[int], list[float], dict[str, int]]] = {
    "negative": ([k - 10 for k in range(8)], [k / 25 for k in range(8)], {}),
    "late": ([k + 1000 for k in range(8)], [k / 25 for k in range(8)], {}),
    "variable": ([0, 1, 5, 6, 30, 31], [0, 0.04, 0.2, 0.24, 1.2, 1.24], {}),
    "slow": ([0, 50, 100], [0, 2, 4], {}),
    "still for ten seconds": ([0, 1, 251, 252], [0, 0.04, 10.04, 10.08], {}),
    "still for an hour": ([0, 1, 2, 90_000, 90_001], [0, 0.04, 0.08, None, None], {"jumped": 1}),  # type: ignore[list-item]
}
"""Stamps in frames, expected times in seconds, expected faults."""


@pytest.mark.parametrize("name", STAMPS)
def test_time_stamps_give_the_times(tmp_path: Path, name: str) -> None:
    stamps, times_s, expected = STAMPS[name]
    frames, faults = read(write(tmp_path / "a.mkv", [marked(k) for k in range(len(stamps))], stamps=stamps))
    assert len(frames) == len(times_s)
    for frame, time_s in zip(frames, times_s, strict=True):
        assert time_s is None or frame.time_s == pytest.approx(time_s, abs=2e-3)
    assert faults.counts == expected
    assert frames[-1].time_s < 60
    assert len(list(resampled(iter(frames), 10.0))) < 600


@pytest.mark.parametrize("share", [0.15, 0.2, 0.33, 0.5, 0.62, 0.7])
def test_recording_cut_off_a_broadcast_starts_at_its_first_complete_frame(tmp_path: Path, share: float) -> None:
    """Also with open groups of pictures, whose first frames refer to frames before the cut."""
    options = {"crf": "8", "g": "12", "bf": "3", "x264-params": "open-gop=1:keyint=12"}
    content = write(tmp_path / "a.ts", [marked(k) for k in range(60)], options=options).read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[int(len(content) * share) // 188 * 188 :])
    frames, _ = read(tmp_path / "cut.ts")
    assert 10 < len(frames) < 60
    assert all(has_marks(frame.frame) for frame in frames)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_part_is_left_out(tmp_path: Path, seed: int) -> None:
    content = bytearray(write(tmp_path / "a.avi", [marked(k) for k in range(30)], "mjpeg", "yuvj420p").read_bytes())
    start = content.index(b"movi") + np.random.default_rng(seed).integers(2000, 10_000)
    content[start : start + 3000] = bytes(3000)
    (tmp_path / "a.avi").write_bytes(content)
    frames, faults = read(tmp_path / "a.avi")
    assert len(frames) >= 5
    assert len(frames) + faults.counts.get("damaged", 0) >= 20 or faults.broken
    assert frames[-1].time_s == pytest.approx(29 / 25, abs=0.3) or faults.broken


def test_cover_image_of_a_song_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as out:
        sound, cover = out.add_stream("aac", rate=16000), out.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt, sound.layout = 32, 32, "yuvj420p", "mono"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        out.mux([*cover.encode(frame), *cover.encode(None)])
        for k in range(8):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = 16000, 1024 * k, Fraction(1, 16000)
            out.mux(sound.encode(block))
        out.mux(sound.encode(None))
    with pytest.raises(InputError, match="cover image"):
        read(tmp_path / "song.mp4")


# Orientation, edit lists, several streams --------------------------------------------------------------------------

MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
"""Display matrices (a, b, c, d), which place the pixel (p, q) at (a p + c q, b p + d q), by the number that EXIF has
for the same orientation."""


@pytest.mark.parametrize("scale", [1.0, 0.5, 1.02])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize("orientation", MATRICES)
def test_clip_is_turned_and_mirrored_as_a_player_does(
    tmp_path: Path, orientation: int, name: str, scale: float
) -> None:
    """A selfie is mirrored, on some phones together with a quarter turn."""
    stored, (a, b, c, d) = marked(0), (round(65536 * scale * value) for value in MATRICES[orientation])
    stored[:24, -40:] = (40, 60, 200)  # a mark in a third corner, by which mirrored frames differ from turned ones
    with av.open(str(tmp_path / name), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"crf": "8"})
        stream.height, stream.width, stream.pix_fmt = *stored.shape[:2], "yuv444p"
        stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        out.mux([*stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")), *stream.encode(None)])
    frames, _ = read(tmp_path / name)
    image = Image.fromarray(stored)
    expected = np.asarray(image if orientation == 1 else image.transpose(UPRIGHT[orientation])).astype(int)
    assert frames[0].frame.shape == expected.shape
    assert np.abs(frames[0].frame - expected).mean() < 4


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("name", ["a.avi", "a.mov", "a.mkv"])
def test_frames_with_exif_are_turned_upright(tmp_path: Path, name: str, orientation: int) -> None:
    """Some cameras write EXIF into every frame of Motion JPEG."""
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112], exif[0x010F] = orientation, "Camera"
    Image.fromarray(marked(0)).save(content, "JPEG", quality=100, exif=exif.tobytes())
    with av.open(str(tmp_path / name), "w") as out:
        stream = out.add_stream("mjpeg", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 96, 160, "yuvj420p"
        for k in range(3):
            packet = av.Packet(content.getvalue())
            packet.pts = packet.dts = k
            packet.time_base, packet.stream = Fraction(1, FPS), stream
            out.mux(packet)
    frames, faults = read(tmp_path / name)
    image = Image.fromarray(marked(0))
    expected = np.asarray(image if orientation == 1 else image.transpose(UPRIGHT[orientation])).astype(int)
    assert len(frames) == 3
    assert faults == Faults()
    assert np.abs(frames[0].frame - expected).mean() < 4


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize("first", [5, 20, 33])
def test_clip_cut_without_encoding_starts_at_the_cut(tmp_path: Path, first: int, name: str) -> None:
    """An edit list hides the frames from the last key frame to the cut."""
    options = {"crf": "8", "g": "250", "bf": "3"}
    write(tmp_path / "all.mp4", [marked(k) for k in range(60)], options=options)
    with av.open(str(tmp_path / "all.mp4")) as source, av.open(str(tmp_path / name), "w") as out:
        stream_in = source.streams.video[0]
        stream_out = out.add_stream_from_template(stream_in)
        for packet in source.demux(stream_in):
            if packet.pts is not None and packet.dts is not None and stream_in.time_base:
                shift = round(first / FPS / stream_in.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream_out
                out.mux(packet)
    frames, faults = read(tmp_path / name)
    assert faults == Faults()
    assert len(frames) == stored_frames(tmp_path / name)[0] == 60 - first
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(60 - first) / FPS, atol=2e-3)
    assert np.abs(frames[0].frame[48].astype(int) - marked(first)[48]).max() <= 12


@pytest.mark.parametrize("cover", [False, True], ids=["two videos", "a cover image"])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_stream_that_a_player_shows_is_read(tmp_path: Path, name: str, cover: bool) -> None:
    with av.open(str(tmp_path / name), "w") as out:
        other = out.add_stream("mjpeg", rate=FPS)
        other.height, other.width, other.pix_fmt = 32, 32, "yuvj420p"
        other.disposition = av.stream.Disposition.attached_pic if cover else av.stream.Disposition(0)
        shown = out.add_stream("libx264", rate=FPS, options={"crf": "8"})
        shown.height, shown.width, shown.pix_fmt = 96, 160, "yuv420p"
        shown.disposition = av.stream.Disposition.default
        blank = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        out.mux([*other.encode(blank), *other.encode(None)])
        for k in range(4):
            out.mux(shown.encode(av.VideoFrame.from_ndarray(marked(k), format="rgb24")))
        out.mux(shown.encode(None))
    frames, _ = read(tmp_path / name)
    assert len(frames) == stored_frames(tmp_path / name)[0] == 4
    assert all(has_marks(frame.frame) for frame in frames)


def test_hidden_files_of_other_systems_are_no_videos(tmp_path: Path) -> None:
    write(tmp_path / "clip.mp4", [marked(0)])
    for name in ("._clip.mp4", ".trashed-17-clip.mp4", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"no video")
    write(tmp_path / "copy.mp4", [marked(0)]).rename(tmp_path / "copy.MP4 ")
    assert [path.name for path in list_videos([tmp_path])] == ["clip.mp4", "copy.MP4 "]
