"""Odd but valid image files: every one is read, and gives the right pixels."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from posecast.data.cache import load_recordings
from posecast.data.check import check
from posecast.data.image_stats import measure_image
from posecast.data.images import UPRIGHT, read_image, read_image_file
from posecast.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
SMOOTH = np.asarray(Image.fromarray(PIXELS).resize((48, 32), Image.Resampling.BICUBIC))
"""An image that survives the compression of JPEG."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def encode(
    samples: np.ndarray, depth: int, colour: int, *, interlaced: bool = False, before: bytes = b"", after: bytes = b""
) -> bytes:
    """Encode a PNG independently of Pillow.

    Args:
        samples: `[H, W, C]`, at most `depth` bits each.
        depth: Bits of a sample.
        colour: Colour type of the PNG: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
        interlaced: Whether the image is stored in the seven passes of Adam7.
        before: Chunks between the header and the pixels.
        after: Chunks after the pixels.
    """
    height, width = samples.shape[:2]
    passes = [samples]
    if interlaced:
        starts_and_steps = (
            (0, 0, 8, 8),
            (0, 4, 8, 8),
            (4, 0, 8, 4),
            (0, 2, 4, 4),
            (2, 0, 4, 2),
            (0, 1, 2, 2),
            (1, 0, 2, 1),
        )
        passes = [samples[y::dy, x::dx] for y, x, dy, dx in starts_and_steps]
    lines = b"".join(b"\0" + packed(line, depth) for part in passes if part.size for line in part)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    pixels = chunk(b"IDAT", zlib.compress(lines))
    return SIGNATURE + chunk(b"IHDR", header) + before + pixels + after + chunk(b"IEND", b"")


def packed(line: np.ndarray, depth: int) -> bytes:
    """Pack the samples of a line without gaps, most significant bit first."""
    if depth == 16:
        return line.astype(">u2").tobytes()
    if depth == 8:
        return line.astype(np.uint8).tobytes()
    bits = (line.reshape(-1, 1) >> np.arange(depth)[::-1]) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def read(tmp_path: Path, content: bytes, name: str = "a.png") -> np.ndarray:
    """Read an image file, and check that everything that reads images agrees on it."""
    (tmp_path / name).write_bytes(content)
    pixels = read_image(tmp_path / name)
    stats = measure_image(tmp_path / name)
    assert not stats.damage
    assert stats.size == pixels.shape[:2] == read_image_file(tmp_path / name, (4, 4)).size
    return pixels


# Depths and colour types of PNG

KINDS = [
    *((depth, 0) for depth in (1, 2, 4, 8, 16)),
    *((depth, 3) for depth in (1, 2, 4, 8)),
    *((depth, colour) for depth in (8, 16) for colour in (2, 4, 6)),
]
SIZES = [(1, 1), (1, 9), (7, 1), (2, 2), (7, 9), (16, 33)]


@pytest.mark.parametrize("interlaced", [False, True], ids=["plain", "interlaced"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("depth", "colour"), KINDS)
def test_every_kind_of_png_is_read(
    tmp_path: Path, depth: int, colour: int, size: tuple[int, int], interlaced: bool
) -> None:
    generator = np.random.default_rng(depth + colour)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    samples = generator.integers(0, 2**depth, (*size, channels))
    palette = generator.integers(0, 256, (2**depth, 3)) if colour == 3 else np.empty((0, 3))
    before = chunk(b"PLTE", palette.astype(np.uint8).tobytes()) if colour == 3 else b""
    pixels = read(tmp_path, encode(samples, depth, colour, interlaced=interlaced, before=before))
    shown = {0: [0, 0, 0], 2: [0, 1, 2], 4: [0, 0, 0], 6: [0, 1, 2]}
    scaled = palette[samples[..., 0]] if colour == 3 else samples[..., shown[colour]] * 255 / (2**depth - 1)
    rounding = 1.0 if depth == 16 else 0.5  # Pillow takes the upper byte of 16-bit colours
    assert np.abs(pixels - scaled).max() <= rounding


@pytest.mark.parametrize(("depth", "transparency"), [*itertools.product((1, 2, 4, 8), (b"\0", b"\xff\0", b"\x80\x40"))])
def test_a_palette_with_transparency_shows_its_colours(tmp_path: Path, depth: int, transparency: bytes) -> None:
    generator = np.random.default_rng(depth)
    samples = generator.integers(0, 2**depth, (7, 9, 1))
    palette = generator.integers(0, 256, (2**depth, 3)).astype(np.uint8)
    before = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", transparency)
    assert np.array_equal(read(tmp_path, encode(samples, depth, 3, before=before)), palette[samples[..., 0]])


@pytest.mark.parametrize(("colour", "transparency"), [(0, b"\0\5"), (2, b"\0\1\0\2\0\3")])
def test_a_transparent_colour_is_shown(tmp_path: Path, colour: int, transparency: bytes) -> None:
    samples = PIXELS[..., : {0: 1, 2: 3}[colour]]
    content = encode(samples, 8, colour, before=chunk(b"tRNS", transparency))
    assert np.array_equal(read(tmp_path, content), np.broadcast_to(samples, PIXELS.shape))


def test_a_palette_with_too_few_colours_is_no_crash(tmp_path: Path) -> None:
    content = encode(np.full((4, 4, 1), 200), 8, 3, before=chunk(b"PLTE", bytes(6)))
    assert read(tmp_path, content).shape == (4, 4, 3)


# Chunks that are not needed

LARGE = b"x" * 3_000_000
CHUNKS = {
    "a large text": chunk(b"tEXt", b"key\0" + LARGE),
    "a huge text": chunk(b"tEXt", b"key\0" + LARGE * 25),
    "a large compressed text": chunk(b"zTXt", b"key\0\0" + zlib.compress(LARGE)),
    "a large international text": chunk(b"iTXt", b"key\0\1\0\0\0" + zlib.compress(LARGE)),
    "a large text without compression": chunk(b"iTXt", b"key\0\0\0\0\0" + LARGE),
    "a large colour profile": chunk(b"iCCP", b"name\0\0" + zlib.compress(LARGE)),
    "many texts": chunk(b"zTXt", b"key\0\0" + zlib.compress(LARGE[:1_000_000])) * 70,
    "a damaged colour profile": chunk(b"iCCP", b"name\0\0nonsense"),
    "an unknown compression": chunk(b"iCCP", b"name\0\7nonsense"),
    "an empty colour profile": chunk(b"iCCP", b""),
    "a damaged compressed text": chunk(b"zTXt", b"key\0\0nonsense"),
    "a damaged international text": chunk(b"iTXt", b"key"),
    "a text with a wrong checksum": chunk(b"tEXt", b"key\0value")[:-1] + b"?",
    "a text that is no Latin": chunk(b"tEXt", "鍵\0值".encode()),
    "damaged EXIF": chunk(b"eXIf", b"nonsense"),
    "empty EXIF": chunk(b"eXIf", b""),
    "a private chunk": chunk(b"prVt", b"anything"),
    "a time": chunk(b"tIME", struct.pack(">HBBBBB", 2024, 2, 30, 25, 61, 61)),
    "a resolution": chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1)),
    "a gamma of zero": chunk(b"gAMA", struct.pack(">I", 0)),
    **{
        f"an empty {name}": chunk(name.encode(), b"")
        for name in ("pHYs", "gAMA", "cHRM", "sRGB", "tIME", "bKGD", "sBIT")
    },
    "an animation of one frame": chunk(b"acTL", struct.pack(">II", 1, 0)),
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_that_are_not_needed_do_no_harm(tmp_path: Path, name: str, place: str) -> None:
    content = encode(PIXELS, 8, 2, **{place: CHUNKS[name]})
    assert np.array_equal(read(tmp_path, content), PIXELS)


@pytest.mark.parametrize("tail", [b"", b"\0", b"\0" * 1000, b"text", SIGNATURE])
def test_bytes_after_an_image_do_no_harm(tmp_path: Path, tail: bytes) -> None:
    assert np.array_equal(read(tmp_path, encode(PIXELS, 8, 2) + tail), PIXELS)
    assert read(tmp_path, jpeg(SMOOTH) + tail, "a.jpg").shape == SMOOTH.shape


@pytest.mark.parametrize("size", [1, 2, 100, 8192])
def test_pixels_in_many_chunks_are_read(tmp_path: Path, size: int) -> None:
    lines = zlib.compress(b"".join(b"\0" + packed(line, 8) for line in PIXELS))
    parts = b"".join(chunk(b"IDAT", lines[start : start + size]) for start in range(0, len(lines), size))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 7, 8, 2, 0, 0, 0))
    assert np.array_equal(read(tmp_path, SIGNATURE + header + parts + chunk(b"IEND", b"")), PIXELS)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("extra", [b"", CHUNKS["a large colour profile"]], ids=["alone", "with a large profile"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_png_is_turned_upright(tmp_path: Path, orientation: int, extra: bytes, place: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.asarray(transposed(Image.fromarray(PIXELS), orientation))
    content = encode(stored, 8, 2, **{place: chunk(b"eXIf", exif.tobytes()[6:]) + extra})
    assert np.array_equal(read(tmp_path, content), PIXELS)


def transposed(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image as a camera stores it with that orientation."""
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    return image if orientation == 1 else image.transpose(UPRIGHT[inverse])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_16_bit_png_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.asarray(transposed(Image.fromarray(PIXELS[..., 0]), orientation)).astype(int)[..., None] * 257
    pixels = read(tmp_path, encode(stored, 16, 0, before=chunk(b"eXIf", exif.tobytes()[6:])))
    assert np.array_equal(pixels, np.repeat(PIXELS[..., :1], 3, 2))


# JPEG


def jpeg(pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **{"quality": 100, "subsampling": 0, **options})
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("restart", [0, 1], ids=["plain", "restarts"])
def test_every_kind_of_jpeg_is_read(tmp_path: Path, mode: str, progressive: bool, restart: int) -> None:
    content = jpeg(SMOOTH, mode, progressive=progressive, restart_marker_rows=restart)
    expected = np.asarray(Image.fromarray(SMOOTH).convert(mode).convert("RGB")).astype(int)
    assert np.abs(read(tmp_path, content, "a.jpg") - expected).max() <= 12


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (8, 8), (17, 31)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_small_jpegs_are_read(tmp_path: Path, size: tuple[int, int], subsampling: int) -> None:
    content = jpeg(np.full((*size, 3), (200, 100, 50), np.uint8), subsampling=subsampling)
    assert np.abs(read(tmp_path, content, "a.jpg") - np.array((200, 100, 50))).max() <= 3


def exif_of(orientation: int, tag: int, kind: int, count: int, value: int, byte_order: str = "<") -> bytes:
    """Return EXIF with an orientation and one more tag of any, possibly invalid, kind, count and value."""
    entries = sorted([(0x0112, 3, 1, orientation), (tag, kind, count, value)])
    content = b"II*\0" if byte_order == "<" else b"MM\0*"
    content += struct.pack(byte_order + "IH", 8, len(entries))
    for name, form, number, number_value in entries:
        is_short = form == 3
        stored = (
            struct.pack(byte_order + "HH", number_value, 0) if is_short else struct.pack(byte_order + "I", number_value)
        )
        content += struct.pack(byte_order + "HHI", name, form, number) + stored
    return b"Exif\0\0" + content + struct.pack(byte_order + "I", 0) + bytes(8)


BROKEN_TAGS = {
    "a resolution of 0/0": (0x011A, 5, 1, 38),
    "a resolution beyond the end": (0x011A, 5, 1, 1_000_000),
    "a resolution with a huge count": (0x011A, 5, 2**31, 38),
    "a signed rational": (0x9201, 10, 1, 38),
    "a text beyond the end": (0x010F, 2, 100, 1_000_000),
    "a comment without end": (0x9286, 7, 2**20, 38),
    "an unknown type": (0x9003, 99, 1, 38),
    "a pointer to nothing": (0x8769, 4, 1, 1_000_000),
    "a pointer to itself": (0x8769, 4, 1, 8),
    "a GPS pointer to itself": (0x8825, 4, 1, 8),
    "a floating-point number": (0x9999, 11, 1, 0x7FC00000),
    "a thumbnail of no size": (0x0201, 4, 1, 0),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow reports each tag
@pytest.mark.parametrize("byte_order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("name", BROKEN_TAGS)
def test_a_jpeg_with_a_broken_tag_is_turned_upright(
    tmp_path: Path, name: str, orientation: int, byte_order: str
) -> None:
    exif = exif_of(orientation, *BROKEN_TAGS[name], byte_order)
    stored = np.asarray(transposed(Image.fromarray(SMOOTH), orientation))
    pixels = read(tmp_path, jpeg(stored, exif=exif), "a.jpg")
    assert pixels.shape == SMOOTH.shape
    assert np.abs(pixels - SMOOTH.astype(int)).max() <= 12


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow reports each tag
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0nonsense", b"Exif\0\0MM\0*\xff\xff\xff\xff"])
def test_a_jpeg_with_damaged_exif_is_read_as_stored(tmp_path: Path, exif: bytes) -> None:
    assert read(tmp_path, jpeg(SMOOTH, exif=exif), "a.jpg").shape == SMOOTH.shape


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_is_upright(tmp_path: Path, orientation: int) -> None:
    content = jpeg(SMOOTH, exif=exif_of(orientation, *BROKEN_TAGS["a resolution of 0/0"]))
    assert read(tmp_path, content, "a.jpg").shape == SMOOTH.shape


# Other formats and names


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bitmaps_are_read(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "BMP")
    assert np.array_equal(read(tmp_path, buffer.getvalue(), "a.bmp"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("frames", [1, 3])
def test_webp_is_read_and_an_animation_gives_its_first_frame(tmp_path: Path, mode: str, frames: int) -> None:
    images = [Image.fromarray(PIXELS + np.uint8(k)).convert(mode) for k in range(frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, "WEBP", lossless=True, exact=True, save_all=True, append_images=images[1:])
    assert np.array_equal(read(tmp_path, buffer.getvalue(), "a.webp"), PIXELS)


def saved(form: str, images: list[Image.Image], **options: object) -> bytes:
    buffer = io.BytesIO()
    images[0].save(buffer, form, **options, **({"save_all": True, "append_images": images[1:]} if images[1:] else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("is_apart", [False, True], ids=["first frame", "image apart"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_an_animated_png_gives_its_first_image(tmp_path: Path, mode: str, is_apart: bool) -> None:
    images = [Image.fromarray(PIXELS + np.uint8(k)).convert(mode) for k in range(3)]
    content = saved("PNG", images, default_image=is_apart)
    assert np.array_equal(read(tmp_path, content), np.asarray(images[0].convert("RGB")))


@pytest.mark.parametrize("frames", [2, 3])
def test_a_jpeg_with_further_images_gives_the_first(tmp_path: Path, frames: int) -> None:
    """Phones store depth or a smaller copy after the photo."""
    images = [Image.fromarray(SMOOTH // np.uint8(k + 1)) for k in range(frames)]
    content = saved("MPO", images, quality=100, subsampling=0)
    assert np.abs(read(tmp_path, content, "a.jpg") - SMOOTH.astype(int)).max() <= 12


NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 90, 3), np.uint8))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_truncated_image_is_refused(tmp_path: Path, form: str, share: float) -> None:
    content = saved(form, [NOISE])
    (tmp_path / "a.png").write_bytes(content[: round(len(content) * share)])
    with pytest.raises(InputError, match=r"a\.png is not a readable image \([^<]*\); expected a complete PNG or JPEG"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["GIF", "TIFF", "JPEG2000", "ICO", "PPM", "TGA", "HEIC", "PDF", "SVG", "a web page"])
def test_other_formats_are_refused_without_jargon(tmp_path: Path, form: str) -> None:
    contents = {"HEIC": b"\0\0\0\x18ftypheic" + bytes(99), "SVG": b"<svg/>", "a web page": b"<html>Sign in</html>"}
    (tmp_path / "a.png").write_bytes(contents.get(form) or saved(form, [NOISE]))
    message = r"a\.png is not a readable image \(it does not begin as a PNG, JPEG, WEBP, BMP file does\); expected"
    with pytest.raises(InputError, match=message):
        read_image(tmp_path / "a.png")


def test_odd_images_are_read_as_a_data_set_and_as_a_first_frame(tmp_path: Path) -> None:
    """Frames of one recording, each stored in another form, are packed and checked like plain ones."""
    exif = exif_of(1, *BROKEN_TAGS["a resolution of 0/0"])
    forms = [
        encode(SMOOTH, 8, 2, before=CHUNKS["a large colour profile"]),
        encode(SMOOTH, 8, 2, after=CHUNKS["a large compressed text"]),
        encode(SMOOTH.astype(int) * 257, 16, 2),
        encode(SMOOTH, 8, 2, interlaced=True),
        jpeg(SMOOTH, exif=exif),
        jpeg(SMOOTH, "CMYK"),
        saved("PNG", [Image.fromarray(SMOOTH // np.uint8(k + 1)) for k in range(3)]),
        saved("WEBP", [Image.fromarray(SMOOTH)], lossless=True),
    ]
    for folder in ("train_img", "train_label"):
        (tmp_path / "train" / folder).mkdir(parents=True)
        for number, content in enumerate(forms):
            (tmp_path / "train" / folder / f"frame{number}.png").write_bytes(content)
    (recording,) = load_recordings(tmp_path, "train", (32, 48))
    assert np.abs(recording.frames - SMOOTH.astype(int)).max() <= 12
    assert np.array_equal(recording.frames, recording.poses)
    assert check(tmp_path).errors == ()


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.PNG", "a", "a b%d.png", "圖.png", "-a.png", "a:b.png", "a\nb.png", ".png"]
)
def test_the_name_of_a_file_does_not_matter(tmp_path: Path, name: str) -> None:
    assert np.array_equal(read(tmp_path, encode(PIXELS, 8, 2), name), PIXELS)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1)])
def test_impossible_sizes_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(SIGNATURE + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    with pytest.raises(InputError, match=r"a\.png is not a readable image"):
        read_image(tmp_path / "a.png")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (Path("/dev/zero"), tmp_path):
        with pytest.raises(InputError, match="is not a file"):
            read_image(path)
