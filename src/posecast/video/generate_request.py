"""Request of `posecast generate`.

The fields are the command's options, and their docstrings its help, so that this module imports nothing heavy.
Next: `generate.py`, which carries out the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Videos of the person of one photo: what they follow, and where and how they are written."""

    first_frame: Path
    """Photo of the person, of any size."""
    poses: Path
    """Poses to follow: a folder of pose maps whose first is that of the photo, a folder or poses.npz written by
    'posecast extract', or a video of any person."""
    out: Path
    """A .gif, .mp4 or .webp file, or a folder for one PNG per frame."""
    first_pose: Path | None = None
    """Pose map of the photo; if not given, the one beside it in a data set, or else an estimate."""
    person: int = 1
    """Person to follow in a video: 1 is the largest, 2 the next."""
    no_fit: bool = False
    """Follow keypoints of another person as they are, without fitting them to the trained person's proportions."""
    audio: bool = False
    """Add the sound of the video that is followed to an MP4."""
    seed: int = 0
    """Seed of the noise; the same seed gives the same bytes."""
    futures: int = 1
    """Number of different videos."""
    latent: Literal["sample", "mean"] = "sample"
    """z sampled from the prior, or the prior mean."""
    fps: float | None = None
    """Frames per second of the video; if not given, those of what is followed, or 25."""
    scale: int = 1
    """Enlarge every pixel of a video to a square of this side."""
    force: bool = False
    """Replace what posecast wrote there before."""
