"""Frames for tests of videos, and a reader of the videos that posecast writes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from posecast.video.containers import open_input


def wave(instant: int, height: int = 32, width: int = 64) -> np.ndarray:
    """Return a smooth coloured frame that differs at every instant."""
    y, x = np.mgrid[:height, :width]
    phase = instant / 5
    colours = (np.sin(x / 9 + phase), np.cos(y / 7 + phase), np.sin((x + y) / 20 - phase))
    return np.stack([(127 + 100 * colour).astype(np.uint8) for colour in colours], axis=-1)


def read_video(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a .gif, .webp or .mp4: uint8 `[H, W, 3]`."""
    if path.suffix.lower() == ".mp4":
        with open_input(path) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    else:
        with Image.open(path, formats=("GIF", "WEBP")) as video:
            for image in ImageSequence.Iterator(video):
                yield np.array(image.convert("RGB"))
