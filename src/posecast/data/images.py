"""Pictures to and from files.

In and out: uint8 numpy `[H, W, 3]`, RGB. A file appears under its name only when it is complete. Knows no torch and no
recordings. Next: `folder_dataset.py`, which reads pictures; `video/writer.py`, which writes videos.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from posecast.errors import InputError
from posecast.files import replacing

MAX_PICTURE_PIXELS = 64_000_000
"""Larger pictures are refused unread: a few kilobytes of PNG can unpack to gigabytes."""


def read_picture(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """One PNG, JPEG, WebP or BMP of any colour mode as uint8 `[H, W, 3]`, upright, without transparency.

    Resized with Pillow's BILINEAR to `size`, (height, width). A file that is missing, broken, cut, too large
    or no picture is an InputError.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP")) as picture:
            if picture.width * picture.height > MAX_PICTURE_PIXELS:
                raise ValueError(f"it has {picture.width} x {picture.height} pixels, too many")
            rgb = _as_rgb(picture)
            if size is not None and (rgb.height, rgb.width) != size:
                rgb = rgb.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.array(rgb)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise InputError(f"{path} is no readable picture ({error}); expected a whole PNG or JPEG.") from error


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255 instead of scaling
        grey = np.asarray(picture).astype(np.uint32).clip(0, 65535)
        picture = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    ImageOps.exif_transpose(picture, in_place=True)  # a copy, here or by convert(), costs a fifth of the decoding
    if picture.mode == "P":  # by way of RGBA, because a palette with transparency warns on the direct path
        picture = picture.convert("RGBA")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def write_png(path: str | Path, frame: np.ndarray) -> None:
    """Write uint8 `[H, W, 3]` as a PNG, whole or not at all; missing parent folders are made."""
    with replacing(Path(path)) as temporary:
        Image.fromarray(enlarged(frame, 1)).save(temporary, format="PNG")


def enlarged(frame: np.ndarray, scale: int) -> np.ndarray:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"A frame is {frame.dtype} {list(frame.shape)}; expected uint8 [H, W, 3].")
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)
