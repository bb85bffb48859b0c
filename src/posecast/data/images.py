"""Reading and writing of image files.

In and out: uint8 numpy `[H, W, 3]`, RGB. A file appears under its name only when it is complete.
Next: `folder_dataset.py`, which reads images; `video/writer.py`, which writes videos.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from posecast.errors import InputError
from posecast.files import replacing

MAX_IMAGE_PIXELS = 64_000_000
"""Larger images are refused before decoding: a few kilobytes of PNG can expand to gigabytes."""
MAX_FILE_BYTES = 2**30
"""Larger files are refused before reading; no image of that many pixels needs more."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
USED_CHUNKS = (b"tRNS", b"eXIf")
"""Optional chunks of a PNG that matter here: transparency and orientation."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that turns an image upright, by the value of the EXIF tag Orientation."""


@dataclass(frozen=True)
class ImageFile:
    """Content of an image file."""

    pixels: np.ndarray = field(repr=False)
    """RGB, uint8 `[H, W, 3]`, resized if that was requested."""
    size: tuple[int, int]
    """Height and width of the upright image before it was resized."""
    kind: str
    """Format and colour mode of the file, such as "PNG RGB"."""
    digest: bytes
    """SHA-256 of the file."""


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read the pixels of an image file, uint8 `[H, W, 3]`; arguments and errors are those of `read_image_file`."""
    return read_image_file(path, size).pixels


def read_image_file(path: str | Path, size: tuple[int, int] | None = None) -> ImageFile:
    """Read a PNG, JPEG, WebP or BMP of any colour mode, rotated upright and without transparency.

    Args:
        path: Image file.
        size: Height and width to resize to, with Pillow's BILINEAR; None for the stored size.

    Raises:
        InputError: The file is missing, damaged, too large or not an image.
    """
    try:
        content = _read_bytes(Path(path))
        try:
            rgb, kind = _decode(content)
        except Exception:
            if not content.startswith(PNG_SIGNATURE):
                raise
            rgb, kind = _decode(_without_metadata(content))  # which may be damaged, or too large for Pillow
        stored_size = (rgb.height, rgb.width)
        if size is not None and stored_size != size:
            rgb = rgb.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return ImageFile(np.array(rgb), stored_size, kind, hashlib.sha256(content).digest())
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        is_other = isinstance(error, UnidentifiedImageError)
        reason = f"it does not begin as a {', '.join(FORMATS)} file does" if is_other else error
        raise InputError(f"{path} is not a readable image ({reason}); expected a complete PNG or JPEG.") from error


def read_same_size(path: Path, first: Path, first_size: tuple[int, int], size: tuple[int, int]) -> ImageFile:
    """Read an image, resized to `size`.

    Args:
        path: Image to read.
        first: First image of the same recording.
        first_size: Height and width of `first`, which `path` must have too.
        size: Height and width to resize to.

    Raises:
        InputError: The image cannot be read, or its size before resizing is not `first_size`.
    """
    file = read_image_file(path, size)
    if file.size != first_size:
        raise InputError(sizes_differ(path, file.size, first, first_size))
    return file


def sizes_differ(path: Path, size: tuple[int, int], first: Path, first_size: tuple[int, int]) -> str:
    """Return the error sentence for two images of one recording that differ in (height, width)."""
    difference = f"{path} is {size[0]}x{size[1]} but {first} is {first_size[0]}x{first_size[1]}"
    return f"{difference}; the frames and pose maps of one recording must have one size."


def _read_bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes, too many")
    return content


def _decode(content: bytes) -> tuple[Image.Image, str]:
    """Return the upright RGB image, and the format and colour mode of the file."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        kind = f"{image.format} {image.mode}"
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise ValueError(f"it has {image.width} x {image.height} pixels, too many")
        image.load()  # a PNG may have its orientation after its pixels
        transposition = UPRIGHT.get(_orientation(image))
        rgb = _as_rgb(image)
        return rgb if transposition is None else rgb.transpose(transposition), kind


def _orientation(image: Image.Image) -> int:
    """Return the EXIF tag Orientation, 1 for an upright image; no other tag is read, since others are often damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF; the image itself may be read
        return 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255 instead of scaling
        grey = np.asarray(image).astype(np.uint32).clip(0, 65535)
        image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    if image.mode == "P":  # through RGBA, because direct conversion of a palette with transparency warns
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _without_metadata(png: bytes) -> bytes:
    """Return the bytes of a PNG without its texts, colour profile and other optional chunks.

    A chunk has 12 bytes around its content; its name begins with a small letter if it is optional.
    """
    kept, start = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while start < len(png):
        end = start + 12 + int.from_bytes(png[start : start + 4])
        name = png[start + 4 : start + 8]
        if name[:1].isupper() or name in USED_CHUNKS:
            kept.append(png[start:end])
        start = end
    return b"".join(kept)


def write_png(path: str | Path, frame: np.ndarray) -> None:
    """Write uint8 `[H, W, 3]` as a PNG atomically; create missing parent folders."""
    with replacing(Path(path)) as temporary:
        Image.fromarray(enlarged(frame, 1)).save(temporary, format="PNG")


def enlarged(frame: np.ndarray, scale: int) -> np.ndarray:
    """Repeat each pixel of a uint8 `[H, W, 3]` image `scale` times in both directions."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"A frame is {frame.dtype} {list(frame.shape)}; expected uint8 [H, W, 3].")
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)
