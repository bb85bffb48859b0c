"""Random changes of training clips: a person shifted, scaled or mirrored, and blank pose maps.

In: clips, and the backgrounds from `background.py`. Out: float clips and pose maps with the person in another place.
What differs from the background, the person, is moved together with the pose map; the background stays.
Next: `clips.py`, which cuts clips and applies this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from posecast.data.background import INKED, NEAR_LIMBS
from posecast.data.limb_recognition import exchange_sides

BACKGROUND_DIFFERENCE, PERSON_DIFFERENCE = 0.04, 0.16
"""Absolute differences from the background, in [0, 1]: up to the first a pixel is background, from the second on it
shows the person."""


@dataclass(frozen=True)
class Augmentation:
    """Settings of the random changes; each clip is changed independently. Probabilities are per clip."""

    backgrounds: Float[Tensor, "R 3 H W"]
    """Background of each recording, from `measure_backgrounds`."""
    shift_prob: float
    """Probability that the person is moved."""
    max_shift: float
    """Largest shift to either side, as a share of the image width."""
    max_scale: float
    """Largest relative change of size."""
    flip_prob: float
    """Probability that a moved person is mirrored."""
    pose_dropout: float
    """Probability that some consecutive pose maps are blank."""


@dataclass(frozen=True)
class Placement:
    """A person's change of place: pixels to the right, scale, and whether mirrored."""

    shift: int
    scale: float
    mirror: bool


class RawClips(NamedTuple):
    """B clips before pose windows are stacked, with the index of the recording each is taken from."""

    frames: Float[Tensor, "B T 3 H W"]
    poses: UInt8[np.ndarray, "B S H W 3"]
    """All pose maps that the clips' windows show, including those before and after the frames."""
    recording: Int[np.ndarray, " B"]


def augment(
    augmentation: Augmentation, clips: RawClips, anchors: RawClips, keys: np.ndarray
) -> tuple[RawClips, RawClips]:
    """Change clips and their anchors (one frame and one pose map each), seeded by each clip's key.

    A clip and its anchor are moved independently of each other.
    """
    generators = [np.random.default_rng(key) for key in keys]
    rows = np.flatnonzero([generator.random() < augmentation.shift_prob for generator in generators])
    if len(rows):
        chosen = [generators[row] for row in rows]
        clips = _moved(augmentation, clips, rows, chosen)
        anchors = _moved(augmentation, anchors, rows, chosen)
    pairs = zip(clips.poses, generators, strict=True)
    poses = [blank_some(poses, augmentation.pose_dropout, generator) for poses, generator in pairs]
    return clips._replace(poses=np.stack(poses)), anchors


def _moved(
    augmentation: Augmentation, clips: RawClips, rows: np.ndarray, generators: Sequence[np.random.Generator]
) -> RawClips:
    """Return the clips with the person moved in some rows."""
    chosen = RawClips(clips.frames[torch.from_numpy(rows)], clips.poses[rows], clips.recording[rows])
    pairs = zip(chosen.poses, generators, strict=True)
    placements = [draw_placement(augmentation, poses, generator) for poses, generator in pairs]
    changed = place(chosen, augmentation.backgrounds, chosen.recording, placements)
    frames, poses = clips.frames.clone(), clips.poses.copy()
    poses[rows] = changed.poses
    for row, clip_frames in zip(rows, changed.frames, strict=True):  # several times as fast as one indexed assignment
        frames[row] = clip_frames
    return clips._replace(frames=frames, poses=poses)


def draw_placement(augmentation: Augmentation, poses: np.ndarray, generator: np.random.Generator) -> Placement:
    """Draw a placement that keeps every limb of the pose maps `[S, H, W, 3]` inside the image."""
    scale, mirror = generator.random(2)
    size = float(np.exp(np.log1p(augmentation.max_scale) * (2 * scale - 1)))
    placement = Placement(0, size, bool(mirror < augmentation.flip_prob))
    farthest = round(augmentation.max_shift * poses.shape[2])
    left, right = free_pixels(poses, placement)
    shift = int(generator.integers(-min(left, farthest), min(right, farthest) + 1))
    return dataclasses.replace(placement, shift=shift)


def free_pixels(poses: np.ndarray, placement: Placement) -> tuple[int, int]:
    """Return the distances to the left and to the right that a scaled and mirrored person can be moved by.

    No limb leaves the image. A person close to an edge is not moved away from it, because they or their shadow may be
    cut off at that edge. Pose maps without limbs allow the full width.
    """
    width = poses.shape[2]
    darkest = poses.reshape(-1, 3 * width).min(0).reshape(width, 3)  # one pass in memory order
    columns = np.flatnonzero((darkest < INKED).any(1))
    if not len(columns):
        return width, width
    left, right = int(columns[0]), width - 1 - int(columns[-1])
    close = max(1, round(NEAR_LIMBS * poses.shape[1]))
    may_go_right, may_go_left = left > close, right > close
    if placement.mirror:
        left, right, may_go_left, may_go_right = right, left, may_go_right, may_go_left
    middle = 0.5 * width
    left, right = (int(middle - (middle - gap) * placement.scale) for gap in (left, right))
    return max(0, left) * may_go_left, max(0, right) * may_go_right


def place(
    clips: RawClips,
    backgrounds: Float[Tensor, "R 3 H W"],
    target: Int[np.ndarray, " B"],
    placements: Sequence[Placement],
) -> RawClips:
    """Move each clip's person in front of the background of recording `target`, in frames and pose maps alike.

    Where a frame clearly differs from its background, its pixels are moved. Where it differs little (shadows, light),
    only the difference is moved. Mirroring exchanges the colours of left and right limbs.
    """
    frames, recording = clips.frames.contiguous(), clips.recording  # in the backgrounds' memory order
    source, destination = backgrounds[torch.from_numpy(recording)], backgrounds[torch.from_numpy(target)]
    mirrored = np.flatnonzero([placement.mirror for placement in placements])
    poses = clips.poses.copy()
    poses[mirrored] = exchange_sides(poses[mirrored])
    ink = torch.from_numpy(255 - poses).movedim(-1, 2).contiguous().float().flatten(1, 2)
    difference = (frames - source[:, None]).abs().amax(2)
    person = ((difference - BACKGROUND_DIFFERENCE) / (PERSON_DIFFERENCE - BACKGROUND_DIFFERENCE)).clamp(0, 1)
    # One warp of: frames, the person's outlines, their background, the extent of the image, pose maps.
    layers = (frames.flatten(1, 2), person, source, torch.ones_like(source[:, :1]), ink)
    warped = _warp(torch.cat(layers, 1), placements).split([layer.shape[1] for layer in layers], 1)
    channels = (3, 1, 3, 1, 3)
    frames, person, source, extent, ink = (
        layer.unflatten(1, (-1, count)) for layer, count in zip(warped, channels, strict=True)
    )
    destination = destination[:, None]
    background_change = destination * extent - source
    placed = frames + (1 - person) * background_change + (1 - extent) * destination
    poses = (255 - ink.round().to(torch.uint8)).movedim(2, -1).numpy()
    return RawClips(placed.clamp(0, 1), poses, target)


def _warp(images: Float[Tensor, "B C H W"], placements: Sequence[Placement]) -> Float[Tensor, "B C H W"]:
    """Shift and scale images about the middle of the lowest row, the floor; pixels from outside are 0."""
    width = images.shape[3]
    thetas = []
    for placement in placements:
        size = 1.0 / placement.scale
        flip = -size if placement.mirror else size
        # Maps each target pixel to its source, in [-1, 1]; scaling keeps the floor at its height.
        thetas.append([[flip, 0.0, -flip * 2.0 * placement.shift / width], [0.0, size, 1.0 - size]])
    grid = functional.affine_grid(torch.tensor(thetas), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def blank_some(poses: np.ndarray, probability: float, generator: np.random.Generator) -> np.ndarray:
    """Blank some consecutive pose maps of `[T, H, W, 3]` with a given probability, as a poor estimator would."""
    if generator.random() >= probability:
        return poses
    poses = poses.copy()
    first, last = np.sort(generator.integers(0, len(poses) + 1, 2))
    poses[first:last] = 255
    return poses
