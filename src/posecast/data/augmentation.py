"""A person moved within their room, and poses made incomplete: more poses than were filmed.

In: clips, their rooms from `rooms.py`, for each clip a placement. Out: float clips and pose maps in which the person
stands elsewhere, is nearer or mirrored, in the same room. Knows no model. Next: `clips.py`, which cuts clips and asks
for this.

What differs from the room, the person, is moved with the pose map; the room stays where it is, as in the footage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from posecast.data.limbs import drop_limbs, exchange_sides
from posecast.data.poses import SKELETON
from posecast.data.rooms import INKED, NEAR_LIMBS

SAME, OTHER = 0.04, 0.16
"""Differences from the room, of 1: below the first a pixel is the room's, above the second the person's."""
ACROSS = 0.7
"""Share of the splices that are cut across a person, above from below; the others are cut along."""


@dataclass(frozen=True)
class Augmentation:
    """How clips are changed; every clip draws anew. Probabilities are a clip's."""

    rooms: Float[Tensor, "R 3 H W"]
    """Each recording's room without the person, from `measure_rooms`."""
    spliced: float
    """Probability that a part of the person shows another moment."""
    moved: float
    """Probability that the person is put elsewhere."""
    shift: float
    """The farthest to either side, as a share of the width."""
    scale: float
    """The largest change of size, as a share."""
    mirrored: float
    """Probability that a person put elsewhere is mirrored."""
    drop_limbs: float
    """Probability that some limbs are missing for some instants."""
    blank_poses: float
    """Probability that some pose maps in a row are blank."""
    recoloured: float
    """Probability that a clip and its anchor are shown in other colours."""


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
    augmentation: Augmentation,
    clips: RawClips,
    anchors: RawClips,
    others: Callable[[Sequence[np.random.Generator]], RawClips],
    keys: np.ndarray,
) -> tuple[RawClips, RawClips]:
    """Clips and their anchors (one frame, one pose map each), changed as each clip's key decides.

    `others` fetches a clip of another moment for each generator. Clip and anchor are moved to places of their own.
    """
    generators = [np.random.default_rng(key) for key in keys]
    chances = np.array([generator.random(2) for generator in generators])
    rows = np.flatnonzero(chances[:, 0] < augmentation.spliced)
    if len(rows):
        chosen = [generators[row] for row in rows]
        clips = put(clips, rows, splice(augmentation, some(clips, rows), others(chosen), chosen))
    rows = np.flatnonzero(chances[:, 1] < augmentation.moved)
    if len(rows):
        chosen = [generators[row] for row in rows]
        clips = put(clips, rows, move(augmentation, some(clips, rows), chosen))
        anchors = put(anchors, rows, move(augmentation, some(anchors, rows), chosen))
    pairs = zip(clips.poses, generators, strict=True)
    spoilt = [spoil_poses(poses, augmentation, generator) for poses, generator in pairs]
    clips = clips._replace(poses=np.stack(spoilt))
    rows = np.flatnonzero([generator.random() < augmentation.recoloured for generator in generators])
    if len(rows):
        drawn = [draw_colours(generators[row]) for row in rows]
        clips = put(clips, rows, recolour(some(clips, rows), drawn))
        anchors = put(anchors, rows, recolour(some(anchors, rows), drawn))
    return clips, anchors


class Colours(NamedTuple):
    """Other colours for all that a clip shows, person and room."""

    mixture: Float[np.ndarray, "3 3"]
    """Which of the old red, green and blue make the new ones; grey stays grey."""
    gamma: Float[np.ndarray, " 3"]
    """The power that each new one is raised to."""


def draw_colours(generator: np.random.Generator) -> Colours:
    """A turn of the circle of hues by any angle, and tones bent by up to a power of 1.6 either way."""
    angle = generator.uniform(0, 2 * np.pi)
    # Rodrigues' rotation about the axis of greys.
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    mixture = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) / 3
    return Colours(mixture, np.exp(generator.uniform(-1, 1, 3) * np.log(1.6)))


def recolour(clips: RawClips, colours: Sequence[Colours]) -> RawClips:
    """Clips in other colours, each in its own; poses stay as they are."""
    mixtures, gammas = (torch.from_numpy(np.stack(part)).float() for part in zip(*colours, strict=True))
    mixed = torch.einsum("bnc,btchw->btnhw", mixtures, clips.frames).clamp(0, 1)
    return clips._replace(frames=mixed ** gammas[:, None, :, None, None])


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


def splice(
    augmentation: Augmentation, clips: RawClips, others: RawClips, generators: Sequence[np.random.Generator]
) -> RawClips:
    """Clips in which one part of the person is that of another moment, in frames and pose maps alike.

    The other person is put where this one is, and the picture is cut through them, across or along: arms are seen with
    legs that never went with them. (CutMix, Yun et al. 2019, with the condition cut like the target.) Where there is
    nobody, or the other cannot be put there whole, a clip stays as it is.
    """
    height, width = clips.poses.shape[2:4]
    placements, parts = [], []
    for poses, other_poses, generator in zip(clips.poses, others.poses, generators, strict=True):
        across, along, mine, mirror = generator.random(4)
        here, there = extent(poses), extent(other_poses)
        placement, part = Placement(0, 1.0, False), np.zeros((height, width), bool)
        if here is not None and there is not None:
            mirrored = bool(mirror < augmentation.mirrored)
            middle = 0.5 * (there[2] + there[3])
            shift = 0.5 * (here[2] + here[3]) - (width - 1 - middle if mirrored else middle)
            wanted = Placement(round(shift), 1.0, mirrored)
            left, right = room_beside(other_poses, wanted)
            if -left <= wanted.shift <= right:
                placement = wanted
                first, last = here[:2] if across < ACROSS else here[2:]
                cut = round(first + (0.3 + 0.4 * along) * (last - first))
                part[(slice(cut),) if across < ACROSS else (slice(None), slice(cut))] = True
                part = part if mine < 0.5 else ~part
        placements.append(placement)
        parts.append(part)
    others = place(others, augmentation.rooms, clips.recording, placements)
    chosen = np.stack(parts)[:, None]
    frames = torch.where(torch.from_numpy(chosen[:, :, None]), others.frames, clips.frames)
    return clips._replace(frames=frames, poses=np.where(chosen[..., None], others.poses, clips.poses))


def extent(poses: np.ndarray) -> tuple[int, int, int, int] | None:
    """First and last row, first and last column with a limb in them at the middle instant; None without any."""
    ink = (poses[len(poses) // 2] < INKED).any(-1)
    if not ink.any():
        return None
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def spoil_poses(poses: np.ndarray, augmentation: Augmentation, generator: np.random.Generator) -> np.ndarray:
    """Pose maps `[T, H, W, 3]` as a poor estimator would give them: limbs missing, some maps blank."""
    length = len(poses)
    if generator.random() < augmentation.drop_limbs:
        here = _stretch(length, generator)
        poses = poses.copy()
        poses[here] = drop_limbs(poses[here], generator.random(len(SKELETON)) < generator.uniform(0, 0.5))
    if generator.random() < augmentation.blank_poses:
        poses = poses.copy()
        poses[_stretch(length, generator)] = 255
    return poses


def _stretch(length: int, generator: np.random.Generator) -> slice:
    """Some instants in a row."""
    first, last = np.sort(generator.integers(0, length + 1, 2))
    return slice(int(first), int(last))
