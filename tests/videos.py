"""Videos that posecast wrote, read back frame by frame."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageSequence


def read_video(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a .gif, .webp or .mp4: uint8 `[H, W, 3]`."""
    if path.suffix.lower() == ".mp4":
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    else:
        with Image.open(path, formats=("GIF", "WEBP")) as video:
            for picture in ImageSequence.Iterator(video):
                yield np.array(picture.convert("RGB"))
