"""Pixels survive their trip through a file, whole or not at all, and no writer remembers a frame."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from posecast.data import images as media
from posecast.data.images import read_picture, write_png
from posecast.errors import InputError
from posecast.evaluation.contact_sheet import contact_sheet, side_by_side
from posecast.video.writer import open_writer

from ..videos import read_video

VIDEOS = [".gif", ".webp", ".mp4"]


def wave(instant: int, height: int = 32, width: int = 64) -> np.ndarray:
    """A smooth coloured frame that is different at every instant."""
    y, x = np.mgrid[:height, :width]
    phase = instant / 5
    colours = (np.sin(x / 9 + phase), np.cos(y / 7 + phase), np.sin((x + y) / 20 - phase))
    return np.stack([(127 + 100 * colour).astype(np.uint8) for colour in colours], axis=-1)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Pictures


def test_png_round_trip_is_exact_and_makes_the_folder(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    write_png(tmp_path / "new" / "folder" / "frame.png", frame)
    assert np.array_equal(read_picture(tmp_path / "new" / "folder" / "frame.png"), frame)
    assert names_in(tmp_path / "new" / "folder") == ["frame.png"]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
def test_every_colour_mode_becomes_the_rgb_it_shows(tmp_path: Path, mode: str) -> None:
    grey = np.repeat(np.array([[0, 255], [255, 0]], np.uint8), 4, axis=1)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    picture = deep if mode == "I;16" else Image.fromarray(grey).convert(mode)
    picture.save(tmp_path / "picture.png")
    assert np.array_equal(read_picture(tmp_path / "picture.png"), np.stack([grey] * 3, axis=-1))


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 32768, np.uint16)).save(tmp_path / "grey.png")
    assert (read_picture(tmp_path / "grey.png") == 128).all()


def test_palette_with_transparency_reads_without_a_warning(tmp_path: Path) -> None:
    picture = Image.fromarray(wave(0)).quantize(16)
    expected = np.array(picture.convert("RGB"))
    picture.save(tmp_path / "p.png", transparency=bytes(range(16)))
    assert np.array_equal(read_picture(tmp_path / "p.png"), expected)


def test_jpeg_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(wave(0)).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    upright = read_picture(tmp_path / "photo.jpg")
    assert upright.shape == (64, 32, 3)
    assert np.abs(upright.astype(int) - np.rot90(wave(0), -1)).mean() < 3


def test_resizing_is_pillows_bilinear(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", wave(0, 50, 90))
    expected = Image.fromarray(wave(0, 50, 90)).resize((64, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(read_picture(tmp_path / "a.png", size=(32, 64)), np.asarray(expected))


def test_damaged_pictures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "whole.png", wave(0))
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "flipped.png").write_bytes(content[:200] + bytes([content[200] ^ 255]) + content[201:])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("a poem")
    for name in ("cut.png", "flipped.png", "empty.png", "text.png", "missing.png"):
        with pytest.raises(InputError, match=name):
            read_picture(tmp_path / name)
    monkeypatch.setattr(media, "MAX_PICTURE_PIXELS", 32 * 64 - 1)
    with pytest.raises(InputError, match=r"whole\.png.*64 x 32"):
        read_picture(tmp_path / "whole.png")


# Videos


@pytest.mark.parametrize("size", [(32, 64), (33, 65)])
@pytest.mark.parametrize("ending", VIDEOS)
def test_video_keeps_every_frame_identical_neighbours_included(
    tmp_path: Path, ending: str, size: tuple[int, int]
) -> None:
    frames = [wave(instant, *size) for instant in (0, 0, 0, 1, 2, 2, 9, 9)]
    with open_writer(tmp_path / f"video{ending}") as video:
        for frame in frames:
            video.write(frame)
    seen = list(read_video(tmp_path / f"video{ending}"))
    assert video.num_frames == len(seen) == len(frames)
    assert np.abs(wave(0, *size).astype(int) - wave(1, *size)).mean() > 9
    for frame, shown in zip(frames, seen, strict=True):
        assert shown.dtype == np.uint8
        assert np.abs(shown[: size[0], : size[1]].astype(int) - frame).mean() < 6  # neighbours differ by 9
    if ending == ".mp4":
        assert seen[0].shape == (32 + 2 * (size[0] % 2), 64 + 2 * (size[1] % 2), 3)
    else:
        assert seen[0].shape == (*size, 3)


def test_gif_of_few_colours_is_exact(tmp_path: Path) -> None:
    frames = [wave(instant) // 64 * 64 for instant in range(5)]
    with open_writer(tmp_path / "few.gif") as video:
        for frame in frames:
            video.write(frame)
    assert all(np.array_equal(*pair) for pair in zip(read_video(tmp_path / "few.gif"), frames, strict=True))


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_frame_times_do_not_drift(tmp_path: Path, ending: str) -> None:
    with open_writer(tmp_path / f"timed{ending}", fps=30) as video:
        for instant in range(30):
            video.write(wave(instant))
    durations_ms = []
    with Image.open(tmp_path / f"timed{ending}") as picture:
        for k in range(picture.n_frames):
            picture.seek(k)
            picture.load()
            durations_ms.append(picture.info["duration"])
    assert len(durations_ms) == 30
    assert sum(durations_ms) == 1000


@pytest.mark.parametrize("ending", [*VIDEOS, ""])
def test_one_frame_and_scale(tmp_path: Path, ending: str) -> None:
    with open_writer(tmp_path / f"one{ending}", scale=3) as video:
        video.write(wave(0, 10, 20))
    seen = [read_picture(tmp_path / "one" / "frame000000.png")] if ending == "" else None
    [frame] = seen or read_video(tmp_path / f"one{ending}")
    assert frame.shape == (30, 60, 3)
    assert np.abs(frame.astype(int) - wave(0, 10, 20).repeat(3, 0).repeat(3, 1)).mean() < 4


def test_folder_of_pngs_bears_the_names_given(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()  # an empty folder is free
    with open_writer(tmp_path / "frames", names=["b", "a"]) as video:
        video.write(wave(0))
        video.write(wave(1))
    assert names_in(tmp_path / "frames") == ["a.png", "b.png"]
    assert np.array_equal(read_picture(tmp_path / "frames" / "a.png"), wave(1))
    with pytest.raises(InputError, match="already there"), open_writer(tmp_path / "frames"):
        pass
    assert names_in(tmp_path / "frames") == ["a.png", "b.png"]


@pytest.mark.parametrize("ending", [*VIDEOS, ""])
def test_a_failure_leaves_only_what_was_there(tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"video{ending}"
    if ending:
        target.write_text("the video of yesterday")

    def fails_after_three_frames() -> None:
        with open_writer(target) as video:
            for instant in range(3):
                video.write(wave(instant))
            assert target.exists() == bool(ending)
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        fails_after_three_frames()
    gc.collect()  # a half-open encoder would complain here
    assert names_in(tmp_path) == ([target.name] if ending else [])
    if ending:
        assert target.read_text() == "the video of yesterday"


def test_a_failed_png_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "a.png", wave(0))

    def save_half(self: Image.Image, path: Path, format: str) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", save_half)
    with pytest.raises(OSError, match="no space"):
        write_png(tmp_path / "a.png", wave(1))
    assert names_in(tmp_path) == ["a.png"]
    assert np.array_equal(read_picture(tmp_path / "a.png"), wave(0))


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
    with pytest.raises(ValueError, match="float32"):
        write_png(tmp_path / "a.png", wave(0).astype(np.float32))
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


# Sheets


def test_side_by_side_shows_the_frames_and_keeps_its_size() -> None:
    columns = {"pose": wave(0), "truth": wave(3), "prediction": wave(6)}
    first, late = (side_by_side(columns, number, scale=4) for number in (1, 628))
    assert first.shape == late.shape
    assert not np.array_equal(first, late)
    for frame in columns.values():
        assert contains(late, frame.repeat(4, 0).repeat(4, 1))


def test_contact_sheet_shows_every_second_frame_and_copes_with_short_rows() -> None:
    truth = [wave(instant, 8, 16) for instant in range(7)]
    sheet = contact_sheet({"truth": truth, "prediction": truth[3:5]}, every=2, scale=2)
    for instant in (0, 2, 4, 6, 3):
        assert contains(sheet, truth[instant].repeat(2, 0).repeat(2, 1))
    for instant in (1, 5):
        assert not contains(sheet, truth[instant].repeat(2, 0).repeat(2, 1))


def contains(sheet: np.ndarray, part: np.ndarray) -> bool:
    """Whether `part` lies somewhere in `sheet`, pixel for pixel."""
    height, width = part.shape[:2]
    corners = np.argwhere((sheet == part[0, 0]).all(axis=-1))
    return any(np.array_equal(sheet[y : y + height, x : x + width], part) for y, x in corners)
