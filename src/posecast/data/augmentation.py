"""A person moved within their room, and pose maps left blank: more poses than were filmed.

In: clips, the rooms without the person from `background.py`. Out: float clips and pose maps in which the person stands
elsewhere, is nearer or mirrored. What differs from the room, the person, is moved with the pose map; the room stays.
Knows no model. Next: `clips.py`, which cuts clips and asks for this.
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
from posecast.data.pose_map_colours import exchange_sides

SAME, OTHER = 0.04, 0.16
"""Differences from the room, of 1: below the first a pixel is the room's, above the second the person's."""


@dataclass(frozen=True)
class Augmentation:
    """How clips are changed; every clip draws anew. Probabilities are a clip's."""

    rooms: Float[Tensor, "R 3 H W"]
    """Each recording's room without the person, from `measure_rooms`."""
    moved: float
    """Probability that the person is put elsewhere."""
    shift: float
    """The farthest to either side, as a share of the width."""
    scale: float
    """The largest change of size, as a share."""
    mirrored: float
    """Probability that a person put elsewhere is mirrored."""
    blank_poses: float
    """Probability that some pose maps in a row are blank."""


@dataclass(frozen=True)
class Placement:
    """Where a person is put: pixels to the right, times the size, mirrored or not."""

    shift: int
    scale: float
    mirror: bool


class RawClips(NamedTuple):
    """B clips on their way to a model: footage, and which room it was filmed in."""

    frames: Float[Tensor, "B T 3 H W"]
    poses: UInt8[np.ndarray, "B S H W 3"]
    """All pose maps that the clips' windows show: those before and after the frames too."""
    recording: Int[np.ndarray, " B"]


def augment(
    augmentation: Augmentation, clips: RawClips, anchors: RawClips, keys: np.ndarray
) -> tuple[RawClips, RawClips]:
    """Clips and their anchors (one frame, one pose map each), changed as each clip's key decides.

    Clip and anchor are moved to places of their own.
    """
    generators = [np.random.default_rng(key) for key in keys]
    rows = np.flatnonzero([generator.random() < augmentation.moved for generator in generators])
    if len(rows):
        chosen = [generators[row] for row in rows]
        clips = put(clips, rows, move(augmentation, some(clips, rows), chosen))
        anchors = put(anchors, rows, move(augmentation, some(anchors, rows), chosen))
    pairs = zip(clips.poses, generators, strict=True)
    spoilt = [blank_some(poses, augmentation.blank_poses, generator) for poses, generator in pairs]
    return clips._replace(poses=np.stack(spoilt)), anchors


def some(clips: RawClips, rows: np.ndarray) -> RawClips:
    return RawClips(clips.frames[torch.from_numpy(rows)], clips.poses[rows], clips.recording[rows])


def put(clips: RawClips, rows: np.ndarray, changed: RawClips) -> RawClips:
    """The clips with some of them replaced."""
    frames, poses = clips.frames.clone(), clips.poses.copy()
    poses[rows] = changed.poses
    for row, one in zip(rows, changed.frames, strict=True):  # several times as fast as by one index
        frames[row] = one
    return clips._replace(frames=frames, poses=poses)


def move(augmentation: Augmentation, clips: RawClips, generators: Sequence[np.random.Generator]) -> RawClips:
    """Each clip's person put elsewhere in their room."""
    pairs = zip(clips.poses, generators, strict=True)
    placements = [draw_placement(augmentation, poses, generator) for poses, generator in pairs]
    return place(clips, augmentation.rooms, clips.recording, placements)


def draw_placement(augmentation: Augmentation, poses: np.ndarray, generator: np.random.Generator) -> Placement:
    """Where the person of pose maps `[S, H, W, 3]` is put: anywhere within reach that leaves them whole."""
    scale, mirror = generator.random(2)
    size = float(np.exp(np.log1p(augmentation.scale) * (2 * scale - 1)))
    placement = Placement(0, size, bool(mirror < augmentation.mirrored))
    farthest = round(augmentation.shift * poses.shape[2])
    left, right = room_beside(poses, placement)
    shift = int(generator.integers(-min(left, farthest), min(right, farthest) + 1))
    return dataclasses.replace(placement, shift=shift)


def room_beside(poses: np.ndarray, placement: Placement) -> tuple[int, int]:
    """How many pixels a person can go to the left and to the right, scaled and mirrored as the placement says.

    No limb leaves the picture. Somebody close to an edge is not taken away from it: they, or their shadow, would be
    cut where the picture ended. Without any limb there is nobody to lose.
    """
    width = poses.shape[2]
    darkest = poses.reshape(-1, 3 * width).min(0).reshape(width, 3)  # in one sweep along memory
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
    rooms: Float[Tensor, "R 3 H W"],
    target: Int[np.ndarray, " B"],
    placements: Sequence[Placement],
) -> RawClips:
    """Each clip's person put elsewhere, in the room of recording `target`, in frames and pose maps alike.

    Where a frame differs from its room it is moved as it is; where it hardly differs (shadows, light), only the
    difference is moved. A mirrored person's left limbs are their right ones.
    """
    frames, poses, recording = clips.frames.contiguous(), clips.poses, clips.recording  # in the rooms' memory order
    there, here = rooms[torch.from_numpy(recording)], rooms[torch.from_numpy(target)]
    mirrored = np.flatnonzero([placement.mirror for placement in placements])
    poses = poses.copy()
    poses[mirrored] = exchange_sides(poses[mirrored])
    ink = torch.from_numpy(255 - poses).movedim(-1, 2).contiguous().float().flatten(1, 2)
    difference = (frames - there[:, None]).abs().amax(2)
    person = ((difference - SAME) / (OTHER - SAME)).clamp(0, 1)
    # One warp for all: frames, the person's outline in each, their room, how far the picture reaches, pose maps.
    sources = (frames.flatten(1, 2), person, there, torch.ones_like(there[:, :1]), ink)
    moved = warp(torch.cat(sources, 1), placements).split([part.shape[1] for part in sources], 1)
    colours = (3, 1, 3, 1, 3)
    frames, person, there, reach, ink = (part.unflatten(1, (-1, n)) for part, n in zip(moved, colours, strict=True))
    here = here[:, None]
    behind = here * reach - there  # what the room shows here less what the person's own room showed behind them
    placed = frames + (1 - person) * behind + (1 - reach) * here
    poses = (255 - ink.round().to(torch.uint8)).movedim(2, -1).numpy()
    return RawClips(placed.clamp(0, 1), poses, target)


def warp(pictures: Float[Tensor, "B C H W"], placements: Sequence[Placement]) -> Float[Tensor, "B C H W"]:
    """Pictures moved and scaled about the middle of the floor (the lowest row), 0 where nothing came from."""
    width = pictures.shape[3]
    thetas = []
    for placement in placements:
        size = 1.0 / placement.scale
        flip = -size if placement.mirror else size
        # From where in the source each pixel comes, in [-1, 1]; scaling keeps the floor at its height.
        thetas.append([[flip, 0.0, -flip * 2.0 * placement.shift / width], [0.0, size, 1.0 - size]])
    grid = functional.affine_grid(torch.tensor(thetas), list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def blank_some(poses: np.ndarray, probability: float, generator: np.random.Generator) -> np.ndarray:
    """Pose maps `[T, H, W, 3]`, with that probability blank for some instants, as a poor estimator leaves them."""
    if generator.random() >= probability:
        return poses
    poses = poses.copy()
    poses[_stretch(len(poses), generator)] = 255
    return poses


def _stretch(length: int, generator: np.random.Generator) -> slice:
    """Some instants in a row."""
    first, last = np.sort(generator.integers(0, length + 1, 2))
    return slice(int(first), int(last))
