"""Footage as phones, cameras, broadcasts and screen recorders write it: it is read right, or gives one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from posecast.cli.data import parse_share, parse_time
from posecast.data.pose_maps import SKELETON
from posecast.errors import InputError
from posecast.video.driving import read_drive
from posecast.video.extract import Extraction, extract
from posecast.video.generate_request import GenerateRequest
from posecast.video.pose_estimation import Person, Region
from posecast.video.reader import Faults, TimedFrame, default_fps, list_videos, read_timed_frames, resampled

FPS = 25
RED, GREEN = (200, 60, 40), (40, 200, 60)


def marked(k: int, size: tuple[int, int] = (96, 160)) -> np.ndarray:
    """Return a frame of the k-th grey with a red upper left and a green lower right corner."""
    frame = np.full((*size, 3), 40 + 5 * k % 160, np.uint8)
    height, width = size[0] // 4, size[1] // 4
    frame[:height, :width], frame[-height:, -width:] = RED, GREEN
    return frame


def has_marks(frame: np.ndarray, tolerance: int = 12) -> bool:
    """Return whether both corners have their colours."""
    errors = [np.abs(frame[k, k].astype(int) - colour).max() for k, colour in ((3, RED), (-4, GREEN))]
    return max(errors) <= tolerance


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    *,
    stamps: Sequence[int] | None = None,
    tags: dict[str, int] | None = None,
    container: str | None = None,
) -> Path:
    """Write frames, by default 25 per second; stamps are in frames."""
    options = options or ({"crf": "8"} if codec.startswith("libx26") else {})
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for k, pixels_of_frame in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels_of_frame, format="rgb24")
            frame.pts, frame.time_base = k if stamps is None else stamps[k], Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


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


def joined(folder: Path, *parts: tuple[int, int, int, tuple[int, int]]) -> Path:
    """Write a transport stream of parts: first mark, number of frames, first stamp, size."""
    content = b""
    for first, count, stamp, size in parts:
        frames = [marked(first + k, size) for k in range(count)]
        options = {"crf": "8", "bf": "0"}
        content += write(folder / "part.ts", frames, options=options, stamps=range(stamp, stamp + count)).read_bytes()
    (folder / "joined.ts").write_bytes(content)
    return folder / "joined.ts"


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


def test_hidden_files_of_other_systems_are_no_videos(tmp_path: Path) -> None:
    write(tmp_path / "clip.mp4", [marked(0)])
    for name in ("._clip.mp4", ".trashed-17-clip.mp4", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"no video")
    write(tmp_path / "copy.mp4", [marked(0)]).rename(tmp_path / "copy.MP4 ")
    assert [path.name for path in list_videos([tmp_path])] == ["clip.mp4", "copy.MP4 "]


# Whole commands ----------------------------------------------------------------------------------------------------


class Marked:
    """Estimator of a person between the marks of a frame."""

    name = "marked"

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        height, width = frame.shape[:2]
        line = np.linspace((0.4 * width, 0.2 * height), (0.6 * width, 0.8 * height), len(SKELETON))
        points = np.concatenate([line, np.ones((len(SKELETON), 1))], axis=1).astype(np.float32)
        return [Person(points, Region(0, 0, 0, 0))]

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        return self.everybody(frame, number, closely=False)[0]


def test_change_of_the_size_keeps_keypoints_and_images_together(tmp_path: Path) -> None:
    path = joined(tmp_path, (0, 20, 0, (96, 160)), (20, 20, 20, (192, 320)))
    settings = Extraction(size=(48, 80), crop="whole", val=0.0)
    extracted = extract([path], tmp_path / "out", settings, estimator=Marked())
    assert any("frame size changes once" in finding.message for finding in extracted.remarks)
    images = sorted((tmp_path / "out" / "train" / "train_img").iterdir())
    assert len(images) >= 38
    from posecast.data.images import read_image

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
