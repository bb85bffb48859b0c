"""Colours of videos: read by their tags, written with tags, and shown alike by a browser."""

from __future__ import annotations

import base64
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from posecast.video.audio import add_sound
from posecast.video.containers import open_input
from posecast.video.reader import read_timed_frames
from posecast.video.rgb import RgbConverter, bt709_frame, fitted, have_same_aspect
from posecast.video.writer import open_writer

from ..videos import read_video

COLOURS = [(200, 60, 40), (0, 0, 0), (255, 255, 255), (128, 128, 128), (20, 40, 60), (230, 190, 170), (90, 140, 60)]
COLOURS += [(10, 200, 220), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
NATURAL = slice(8)
"""Colours that also a display of another gamut can show."""
BT709, BT601, BT2020 = 1, 6, 9
LIMITED, FULL = 1, 2
PQ, HLG = 16, 18


def patches() -> np.ndarray:
    """Return a frame with a square of 16 pixels of each colour, 3 rows of 4."""
    return np.array(COLOURS, np.uint8).reshape(3, 4, 3).repeat(16, 0).repeat(16, 1)


def largest_error(frame: np.ndarray, colours: slice = slice(None)) -> int:
    """Return the largest difference from the colours in the middle of the squares."""
    middle = frame[8::16, 8::16][:3, :4].reshape(-1, 3)
    return int(np.abs(middle.astype(int) - COLOURS)[colours].max())


def test_mp4_has_the_tags_of_its_colours(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a.mp4") as video:
        for _ in range(3):
            video.write(patches())
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        for tagged in (stream.codec_context, next(container.decode(stream))):
            tags = (tagged.colorspace, tagged.color_range, tagged.color_primaries, tagged.color_trc)
            assert tags == (BT709, LIMITED, BT709, BT709)
    assert b"colrnclx\x00\x01\x00\x01\x00\x01" in (tmp_path / "a.mp4").read_bytes()
    assert all(largest_error(frame) <= 3 for frame in read_video(tmp_path / "a.mp4"))
    assert all(largest_error(frame.frame) <= 3 for frame in read_timed_frames(tmp_path / "a.mp4"))


def test_sound_keeps_the_tags(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a.mp4") as video:
        video.write(patches())
    with av.open(str(tmp_path / "a.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=192_000)
        block = av.AudioFrame.from_ndarray(np.zeros((1, 19_200), np.int16), format="s16", layout="mono")
        block.rate, block.pts, block.time_base = 192_000, 0, Fraction(1, 192_000)
        out.mux([*stream.encode(block), *stream.encode(None)])
    add_sound(tmp_path / "a.mp4", tmp_path / "a.wav")
    assert b"colrnclx\x00\x01\x00\x01\x00\x01" in (tmp_path / "a.mp4").read_bytes()
    with open_input(tmp_path / "a.mp4") as container:
        assert container.streams.audio[0].codec_context.sample_rate == 48_000  # AAC has no 192 kHz


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_other_formats_keep_the_colours(tmp_path: Path, ending: str) -> None:
    with open_writer(tmp_path / f"a{ending}") as video:
        video.write(patches())
        video.write(patches())
    assert all(largest_error(frame) <= 6 * (ending == ".webp") for frame in read_video(tmp_path / f"a{ending}"))


def test_random_colours_survive_both_conversions() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    back = RgbConverter().upright(bt709_frame(colours))
    assert np.abs(back[4::8, 4::8].astype(int) - colours[4::8, 4::8]).max() <= 3


def tagged(frame: np.ndarray, matrix: int, level: int, pixels: str, **tags: int) -> av.VideoFrame:
    """Return a decoded frame, converted by a matrix and a range, with these tags only."""
    source = av.VideoFrame.from_ndarray(frame, format="rgb48le" if frame.dtype == np.uint16 else "rgb24")
    decoded = source.reformat(format=pixels, dst_colorspace=5 if matrix == BT601 else matrix, dst_color_range=level)
    decoded.colorspace, decoded.color_range = tags.pop("colorspace", 2), tags.pop("color_range", 0)
    for name in ("color_trc", "color_primaries"):
        setattr(decoded, name, tags.get(name, 2))
    return decoded


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "nv12", "yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize("level", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [BT709, BT601, BT2020])
def test_tags_say_the_colours(matrix: int, level: int, pixels: str) -> None:
    decoded = tagged(patches(), matrix, level, pixels, colorspace=matrix, color_range=level)
    assert largest_error(RgbConverter().upright(decoded)) <= 4


@pytest.mark.parametrize("unknown", [2, 3])
@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((48, 64), BT601),
        ((480, 640), BT601),
        ((576, 1024), BT601),
        ((720, 960), BT709),
        ((544, 1280), BT709),
        ((1280, 720), BT709),
    ],
)
def test_size_says_the_colours_of_a_video_without_tags(size: tuple[int, int], matrix: int, unknown: int) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    frame[:48, :64] = patches()
    decoded = tagged(frame, matrix, LIMITED, "yuv420p", colorspace=unknown)
    assert largest_error(RgbConverter().upright(decoded)[:48, :64]) <= 4


def in_bt2020(colours: np.ndarray) -> np.ndarray:
    """Return linear light of sRGB colours with the primaries of BT.2020 (ITU-R BT.2087)."""
    signal = colours / 255
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]).T


def pq(nits: np.ndarray) -> np.ndarray:
    """Return the signal of SMPTE ST 2084."""
    power = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def test_hdr_becomes_sdr() -> None:
    """White at 203 nits (ITU-R BT.2408) becomes white; natural colours stay, saturated ones are compressed."""
    frame = np.rint(65535 * pq(203 * in_bt2020(patches().astype(float)))).astype(np.uint16)
    tags = {"colorspace": BT2020, "color_range": LIMITED, "color_primaries": BT2020}
    converter = RgbConverter()
    shown = converter.upright(tagged(frame, BT2020, LIMITED, "yuv420p10le", color_trc=PQ, **tags))
    assert largest_error(shown, NATURAL) <= 10
    unconverted = converter.upright(tagged(frame, BT2020, LIMITED, "yuv420p10le", **tags | {"color_primaries": 2}))
    assert largest_error(unconverted) > 80


@pytest.mark.long
def test_white_of_hlg_becomes_white() -> None:
    signal = np.full((32, 32, 3), round(0.75 * 65535), np.uint16)
    tags = {"colorspace": BT2020, "color_range": LIMITED, "color_primaries": BT2020, "color_trc": HLG}
    assert RgbConverter().upright(tagged(signal, BT2020, LIMITED, "yuv420p10le", **tags)).min() > 240


@pytest.mark.parametrize("trc", range(1, 19))
@pytest.mark.parametrize("primaries", [1, 2, 3, 9, 11, 12, 13, 22])
def test_no_combination_of_tags_fails(trc: int, primaries: int) -> None:
    """FFmpeg's conversion of some of them raises an error or crashes."""
    frame = av.VideoFrame(16, 16, "yuv420p")
    frame.colorspace, frame.color_trc, frame.color_primaries = BT709, trc, primaries
    if primaries != BT2020 and trc not in (PQ, HLG):  # tested above, and slow
        assert RgbConverter().upright(frame).shape == (16, 16, 3)


def test_frame_is_fitted_with_borders() -> None:
    assert have_same_aspect((96, 160), (192, 320))
    assert have_same_aspect((720, 1280), (1080, 1920))
    assert not have_same_aspect((96, 160), (160, 96))
    tall = fitted(np.full((60, 20, 3), 255, np.uint8), (30, 50))
    assert tall.shape == (30, 50, 3)
    assert (tall[:, 20:30] == 255).all()
    assert not tall[:, :19].any()


@pytest.mark.long
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
@pytest.mark.parametrize("ending", [".mp4", ".gif", ".webp"])
def test_browser_shows_the_colours(tmp_path: Path, ending: str) -> None:
    with open_writer(tmp_path / f"a{ending}") as video:
        for _ in range(5):
            video.write(patches())
    content = base64.b64encode((tmp_path / f"a{ending}").read_bytes()).decode()
    element = f'<img src="data:image/{ending[1:]};base64,{content}">'
    if ending == ".mp4":
        element = f'<video muted autoplay width=64 height=48 src="data:video/mp4;base64,{content}"></video>'
    (tmp_path / "page.html").write_text(f'<body style="margin:0">{element}</body>')
    words = "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --force-color-profile=srgb".split()
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=400,300", "--virtual-time-budget=3000"]
    words += [f"--screenshot={tmp_path / 'shown.png'}", f"file://{tmp_path / 'page.html'}"]
    subprocess.run(["chromium", *words], check=True, capture_output=True, timeout=300)
    shown = np.array(Image.open(tmp_path / "shown.png").convert("RGB"))[:48, :64]
    assert largest_error(shown, NATURAL) <= 4
    assert largest_error(shown) <= 16
