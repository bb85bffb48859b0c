"""Tests of reading and writing images: colour modes, orientation, resizing, damaged files, atomic writing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from posecast.data import images
from posecast.data.images import read_image, write_png
from posecast.errors import InputError

from ..videos import wave


def test_png_round_trip_is_exact_and_makes_the_folder(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    write_png(tmp_path / "new" / "folder" / "frame.png", frame)
    assert np.array_equal(read_image(tmp_path / "new" / "folder" / "frame.png"), frame)
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["frame.png"]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
def test_every_colour_mode_is_converted_to_rgb(tmp_path: Path, mode: str) -> None:
    grey = np.repeat(np.array([[0, 255], [255, 0]], np.uint8), 4, axis=1)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    image = deep if mode == "I;16" else Image.fromarray(grey).convert(mode)
    image.save(tmp_path / "image.png")
    assert np.array_equal(read_image(tmp_path / "image.png"), np.stack([grey] * 3, axis=-1))


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 32768, np.uint16)).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == 128).all()


def test_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.fromarray(wave(0)).quantize(16)
    expected = np.array(image.convert("RGB"))
    image.save(tmp_path / "p.png", transparency=bytes(range(16)))
    assert np.array_equal(read_image(tmp_path / "p.png"), expected)


def test_jpeg_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(wave(0)).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    upright = read_image(tmp_path / "photo.jpg")
    assert upright.shape == (64, 32, 3)
    assert np.abs(upright.astype(int) - np.rot90(wave(0), -1)).mean() < 3


def test_resizing_is_pillows_bilinear(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", wave(0, 50, 90))
    expected = Image.fromarray(wave(0, 50, 90)).resize((64, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(read_image(tmp_path / "a.png", size=(32, 64)), np.asarray(expected))


def test_damaged_images_are_named_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "whole.png", wave(0))
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "flipped.png").write_bytes(content[:200] + bytes([content[200] ^ 255]) + content[201:])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("a text")
    for name in ("cut.png", "flipped.png", "empty.png", "text.png", "missing.png"):
        with pytest.raises(InputError, match=name):
            read_image(tmp_path / name)
    monkeypatch.setattr(images, "MAX_IMAGE_PIXELS", 32 * 64 - 1)
    with pytest.raises(InputError, match=r"whole\.png.*64 x 32"):
        read_image(tmp_path / "whole.png")


def test_failed_writing_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "a.png", wave(0))

    def save_half(self: Image.Image, path: Path, format: str) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", save_half)
    with pytest.raises(OSError, match="no space"):
        write_png(tmp_path / "a.png", wave(1))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert np.array_equal(read_image(tmp_path / "a.png"), wave(0))


def test_other_types_than_uint8_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float32"):
        write_png(tmp_path / "a.png", wave(0).astype(np.float32))
    assert not list(tmp_path.iterdir())
