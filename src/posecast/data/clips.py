"""Recordings to clips: which windows a model sees, and the only border between uint8 and float.

In: uint8 recordings. Out: `Clip`s, float in [0, 1]; pose windows; the deterministic plan of an epoch.
Knows no networks. Next: `model/predictor.py`, which carries a clip through time.

Shape legend, for the whole package:
    B clips, T instants of a clip, N pictures or latents of any origin, P = 3 (2 pose_window + 1) channels of a
    pose window, H and W the picture's height and width, Z h w a latent's channels and grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from posecast.data.augmentation import Augmentation, RawClips, augment
from posecast.data.recordings import Recording, first_share
from posecast.errors import InputError

Pictures = Float[Tensor, "N 3 H W"]
PoseWindows = Float[Tensor, "N P H W"]


class Clip(NamedTuple):
    """What a model sees of some recordings: windows of T instants, each clip with its anchor."""

    frames: Float[Tensor, "B T 3 H W"]
    poses: Float[Tensor, "B T P H W"]
    """The pose window of every instant."""
    anchor_frame: Float[Tensor, "B 3 H W"]
    """A real frame of the clip's own recording."""
    anchor_pose: Float[Tensor, "B 3 H W"]
    """The anchor's own pose map."""


class ClipPlan(NamedTuple):
    """Where a batch of clips is cut: one entry a clip, all int64 `[B]`."""

    recording: np.ndarray
    start: np.ndarray
    anchor: np.ndarray
    key: np.ndarray
    """What a clip's augmentation is drawn from."""


def as_pictures(pixels: UInt8[np.ndarray, "N H W 3"]) -> Pictures:
    """uint8 pixels as float in [0, 1], in `channels_last` memory order (the order they already have)."""
    owned = torch.from_numpy(np.array(pixels))  # a copy: the source may be a read-only memory map
    return owned.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def as_clips(pixels: UInt8[np.ndarray, "B T H W 3"]) -> Float[Tensor, "B T 3 H W"]:
    """uint8 pixels of several clips as float in [0, 1]."""
    return as_pictures(pixels.reshape(-1, *pixels.shape[2:])).unflatten(0, pixels.shape[:2])


def as_pixels(pictures: Pictures) -> UInt8[np.ndarray, "N H W 3"]:
    """Floats as uint8 pixels: clamped to [0, 1] and rounded to the nearest of 256 values."""
    rounded = pictures.detach().float().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def pose_windows(
    poses: UInt8[np.ndarray, "T H W 3"], instants: np.ndarray, pose_window: int
) -> Float[Tensor, "N P H W"]:
    """For each instant t the pose maps of t - pose_window .. t + pose_window, stacked as channels.

    Beyond an end of the recording the end's own pose map is repeated.
    """
    return _stacked([poses[np.clip(instants + k, 0, len(poses) - 1)] for k in range(-pose_window, pose_window + 1)])


def _stacked(maps: Sequence[UInt8[np.ndarray, "*N H W 3"]]) -> Float[Tensor, "*N P H W"]:
    """Pose maps as channels of one window, float in [0, 1], in `channels_last` memory order."""
    return torch.cat([torch.from_numpy(one) for one in maps], -1).to(torch.float32).div_(255.0).movedim(-1, -3)


@dataclass(frozen=True)
class ClipCutter:
    """Cuts clips out of recordings of one size; overlapping starts are all as likely.

    Raises InputError if no recording is as long as a clip, or if sizes differ.
    """

    recordings: Sequence[Recording]
    clip_length: int
    pose_window: int
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        sizes = {recording.size for recording in self.recordings}
        if len(sizes) > 1:
            raise InputError(f"The recordings have sizes {sorted(sizes)}; a model is trained on one size.")
        longest = max((len(recording) for recording in self.recordings), default=0)
        if longest < self.clip_length:
            raise InputError(
                f"The longest recording has {longest} frames but clips have {self.clip_length}; "
                "give longer recordings or a smaller --clip-length."
            )

    @property
    def num_frames(self) -> int:
        return sum(len(recording) for recording in self.recordings)

    def first(self, share: float) -> ClipCutter:
        """A cutter that sees only the first share of the frames."""
        return dataclasses.replace(self, recordings=first_share(self.recordings, share))

    def of_length(self, clip_length: int) -> ClipCutter:
        """A cutter of the same footage into shorter clips."""
        return dataclasses.replace(self, clip_length=clip_length)

    def epoch(self, num_clips: int, batch_size: int, seed: int, epoch: int) -> Iterator[ClipPlan]:
        """The batches of one epoch: starts drawn without replacement until all are used, anchors anywhere.

        A pure function of its arguments, so an interrupted epoch can be entered at any batch.
        """
        generator = np.random.default_rng([seed, epoch])
        starts = [
            (index, start)
            for index, recording in enumerate(self.recordings)
            for start in range(len(recording) - self.clip_length + 1)
        ]
        rounds = -(-num_clips // len(starts))
        order = np.concatenate([generator.permutation(len(starts)) for _ in range(rounds)])[:num_clips]
        lengths = np.array([len(recording) for recording in self.recordings])
        chosen = np.array(starts)[order]  # [num_clips, 2]
        anchors = generator.integers(0, lengths[chosen[:, 0]])
        keys = generator.integers(0, 2**62, num_clips)
        for first in range(0, num_clips, batch_size):
            rows = slice(first, first + batch_size)
            yield ClipPlan(chosen[rows, 0], chosen[rows, 1], anchors[rows], keys[rows])

    def cut(self, plan: ClipPlan) -> Clip:
        """The clips of a plan as float tensors on the CPU."""
        clips = self._raw_clips(plan.recording, plan.start)
        chosen = [(self.recordings[index], at) for index, at in zip(plan.recording, plan.anchor, strict=True)]
        anchor_frames = np.stack([one.frames[[at]] for one, at in chosen])
        anchor_poses = np.stack([one.poses[[at]] for one, at in chosen])
        anchors = RawClips(as_clips(anchor_frames), anchor_poses, plan.recording)
        if self.augmentation is not None:
            clips, anchors = augment(self.augmentation, clips, anchors, plan.key)
        offsets = range(2 * self.pose_window + 1)
        windows = _stacked([clips.poses[:, k : k + self.clip_length] for k in offsets])
        return Clip(clips.frames, windows, anchors.frames[:, 0], as_clips(anchors.poses)[:, 0])

    def _raw_clips(self, recordings: np.ndarray, starts: np.ndarray) -> RawClips:
        """Clips as they were filmed."""
        frames, poses = [], []
        for index, start in zip(recordings, starts, strict=True):
            recording, stop = self.recordings[index], start + self.clip_length
            around = np.clip(np.arange(start - self.pose_window, stop + self.pose_window), 0, len(recording) - 1)
            frames.append(recording.frames[start:stop])
            poses.append(recording.poses[around])
        return RawClips(as_clips(np.stack(frames)), np.stack(poses), recordings)
