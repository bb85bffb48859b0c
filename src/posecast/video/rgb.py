"""Conversion between RGB and the frames that FFmpeg decodes and encodes.

In: decoded frames in any format, with their colour tags. Out: RGB frames, uint8 `[H, W, 3]`, as a player shows them:
upright, with square pixels, without interlacing. And back: frames for H.264, with tags.
Next: `reader.py` and `writer.py`, which use this.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from PIL import Image, ImageOps

MAX_FRAME_PIXELS = 64_000_000
"""Larger frames are refused, since a header of a few bytes can declare gigabytes."""
HD = (720, 1280)
"""Height and width from which players take an untagged video for BT.709; a smaller one for BT.601."""
UNKNOWN_MATRICES = (2, 3)
"""AVCOL_SPC_UNSPECIFIED and AVCOL_SPC_RESERVED."""
HDR_TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
"""PQ and HLG, the transfer functions of HDR video."""
SDR_TRANSFERS = (ColorTrc.BT709, ColorTrc.UNSPECIFIED, ColorTrc.SMPTE170M, ColorTrc.BT2020_10, ColorTrc.BT2020_12)
"""Transfer functions with which the primaries of BT.2020 are converted. FFmpeg's conversion fails with some other
functions, and crashes with some other primaries; their colours stay unconverted."""
BT709_TAGS = {
    "color_primaries": ColorPrimaries.BT709,
    "color_trc": ColorTrc.BT709,
    "colorspace": Colorspace.ITU709,
    "color_range": ColorRange.MPEG,
}
SAME_ASPECT = 0.02
"""Relative difference below which two aspect ratios count as equal."""


class RgbConverter:
    """Conversion of the frames of one video; keeps FFmpeg's tables, which take a second to compute for HDR."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def upright(self, decoded: av.VideoFrame, pixel_aspect: Fraction | None = None) -> np.ndarray:
        """Convert a decoded frame to RGB, make its pixels square, and turn it upright.

        Args:
            decoded: The frame with its orientation and colour tags.
            pixel_aspect: Width of a pixel divided by its height; ratios below 1/4 or above 4 are taken for errors.

        Returns:
            uint8 `[H, W, 3]`.

        Raises:
            ValueError: The frame has more than `MAX_FRAME_PIXELS` pixels.
        """
        width, height = decoded.width, decoded.height
        if width * height > MAX_FRAME_PIXELS:
            raise ValueError(f"a frame has {width} x {height} pixels, too many")
        if pixel_aspect and 0.25 <= pixel_aspect <= 4 and pixel_aspect != 1:
            width = round(width * float(pixel_aspect))
        colours = _source_colours(decoded)
        pixels = self._reformatter.reformat(decoded, width, height, "rgb24", **colours).to_ndarray()
        if decoded.interlaced_frame and height > 1:
            # The two fields show different instants; their lines alternate. One field is kept.
            pixels = np.asarray(Image.fromarray(pixels[::2]).resize((width, height), Image.Resampling.BILINEAR))
        return np.ascontiguousarray(_oriented(pixels, decoded))


def _oriented(pixels: np.ndarray, decoded: av.VideoFrame) -> np.ndarray:
    """Turn and mirror pixels as a frame's display matrix says, to the nearest quarter turn.

    The matrix (a b u / c d v / x y w) places the point (p, q) at (a p + c q, b p + d q), apart from a shift.
    """
    try:
        side_data: Mapping[str, Any] = decoded.side_data
    except ValueError:  # it has a kind of side data that PyAV does not know, such as EXIF
        return np.rot90(pixels, round(decoded.rotation / 90) % 4)
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].astype(float)
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _source_colours(decoded: av.VideoFrame) -> dict[str, int]:
    """Return options of the conversion that depend on the frame's colour tags, and on its size if it has none."""
    options: dict[str, int] = {}
    is_yuv = not (decoded.format.is_rgb or decoded.format.has_palette)
    if is_yuv and decoded.colorspace in UNKNOWN_MATRICES:
        is_hd = decoded.height >= HD[0] or decoded.width >= HD[1]
        options["src_colorspace"] = Colorspace.ITU709 if is_hd else Colorspace.ITU601
    is_wide = decoded.color_primaries == ColorPrimaries.BT2020
    is_hdr = decoded.color_trc in HDR_TRANSFERS and (is_wide or decoded.color_primaries == ColorPrimaries.UNSPECIFIED)
    if is_hdr or (is_wide and decoded.color_trc in SDR_TRANSFERS):
        options |= {"dst_color_trc": ColorTrc.IEC61966_2_1, "dst_color_primaries": ColorPrimaries.BT709}
    return options


def have_same_aspect(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Return whether two frames of these heights and widths have the same aspect ratio."""
    return abs(first[1] * second[0] / (first[0] * second[1]) - 1) < SAME_ASPECT


def fitted(frame: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Scale a frame into a height and width, centred and with black borders if the aspect ratio is another."""
    image = ImageOps.pad(Image.fromarray(frame), (size[1], size[0]), Image.Resampling.BILINEAR, color=0)
    return np.asarray(image)


def tag_bt709(codec: VideoCodecContext) -> None:
    """Declare the colours of `bt709_frame` in the header of a video."""
    for name, value in BT709_TAGS.items():
        setattr(codec, name, value)


def bt709_frame(frame: np.ndarray) -> av.VideoFrame:
    """Convert RGB, uint8 `[H, W, 3]` with even sides, to 4:2:0 YUV with the matrix and the tags of BT.709."""
    rgb = av.VideoFrame.from_ndarray(frame, format="rgb24")
    yuv = rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
    for name, value in BT709_TAGS.items():
        setattr(yuv, name, value)
    return yuv
