"""Clips for training: windows of recordings, and the only conversion between uint8 and float.

In: uint8 recordings. Out: `Clip`s, float in [0, 1]; pose windows; the deterministic plan of an epoch.
Next: `model/predictor.py`, which processes a clip over time. Shapes in the whole package: B clips, T time steps of a
clip, N images or latents of any origin, P = 3 (2 pose_window + 1) channels of a pose window, H W an image's height and
width, Z h w a latent's channels and grid.
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
from posecast.errors import InputError, counted

Images = Float[Tensor, "N 3 H W"]
PoseWindows = Float[Tensor, "N P H W"]


class Clip(NamedTuple):
    """Input of a model: B windows of T time steps, each with its anchor, the reference frame."""

    frames: Float[Tensor, "B T 3 H W"]
    poses: Float[Tensor, "B T P H W"]
    """Pose window of every time step."""
    anchor_frame: Float[Tensor, "B 3 H W"]
    """Real frame of the same recording."""
    anchor_pose: Float[Tensor, "B 3 H W"]
    """Pose map of the anchor."""


class ClipPlan(NamedTuple):
    """Positions of a batch of clips in the recordings; all int64 `[B]`."""

    recording: np.ndarray
    start: np.ndarray
    anchor: np.ndarray
    key: np.ndarray
    """Seed of each clip's augmentation."""


def as_images(pixels: UInt8[np.ndarray, "N H W 3"]) -> Images:
    """Convert uint8 pixels to float in [0, 1], in `channels_last` memory order, which they already have."""
    owned = torch.from_numpy(np.array(pixels))  # copied: the source may be a read-only memory map
    return owned.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def as_clips(pixels: UInt8[np.ndarray, "B T H W 3"]) -> Float[Tensor, "B T 3 H W"]:
    """Convert the uint8 pixels of several clips to float in [0, 1]."""
    return as_images(pixels.reshape(-1, *pixels.shape[2:])).unflatten(0, pixels.shape[:2])


def as_pixels(images: Images) -> UInt8[np.ndarray, "N H W 3"]:
    """Convert floats to uint8 pixels: clamp to [0, 1] and round to the nearest of 256 values."""
    rounded = images.detach().float().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def pose_windows(
    poses: UInt8[np.ndarray, "T H W 3"], instants: np.ndarray, pose_window: int
) -> Float[Tensor, "N P H W"]:
    """Stack the pose maps around each time step as channels.

    Args:
        poses: All pose maps of a recording.
        instants: Indices `[N]` of the time steps.
        pose_window: Pose maps on each side of a time step; the recording is extended by repeating its ends.

    Returns:
        Float pose windows in [0, 1].
    """
    return _stacked([poses[np.clip(instants + k, 0, len(poses) - 1)] for k in range(-pose_window, pose_window + 1)])


def _stacked(maps: Sequence[UInt8[np.ndarray, "*N H W 3"]]) -> Float[Tensor, "*N P H W"]:
    """Stack pose maps as channels of one window, float in [0, 1], in `channels_last` memory order."""
    return (
        torch.cat([torch.from_numpy(pose_map) for pose_map in maps], -1).to(torch.float32).div_(255.0).movedim(-1, -3)
    )


@dataclass(frozen=True)
class ClipCutter:
    """Cutter of clips from recordings of one size; all overlapping windows are equally likely.

    Raises:
        InputError: No recording is as long as a clip, or the recordings differ in size.
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
                f"The longest recording has {counted(longest, 'frame')} but clips have {self.clip_length}; "
                "give longer recordings or a smaller --clip-length."
            )

    @property
    def num_frames(self) -> int:
        return sum(len(recording) for recording in self.recordings)

    def first(self, share: float) -> ClipCutter:
        """Return a cutter for the first share of the frames."""
        return dataclasses.replace(self, recordings=first_share(self.recordings, share))

    def of_length(self, clip_length: int) -> ClipCutter:
        """Return a cutter of the same footage with another clip length."""
        return dataclasses.replace(self, clip_length=clip_length)

    def epoch(self, num_clips: int, batch_size: int, seed: int, epoch: int) -> Iterator[ClipPlan]:
        """Yield the plans of one epoch's batches, a pure function of the arguments.

        Starts are drawn without replacement until all are used; anchors are drawn from the whole recording. An
        interrupted epoch can be resumed at any batch.
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
        """Cut the clips of a plan as float tensors on the CPU."""
        clips = self._raw_clips(plan.recording, plan.start, self.clip_length, self.pose_window)
        anchors = self._raw_clips(plan.recording, plan.anchor, 1, 0)
        if self.augmentation is not None:
            clips, anchors = augment(self.augmentation, clips, anchors, plan.key)
        offsets = range(2 * self.pose_window + 1)
        windows = _stacked([clips.poses[:, k : k + self.clip_length] for k in offsets])
        return Clip(clips.frames, windows, anchors.frames[:, 0], as_clips(anchors.poses)[:, 0])

    def _raw_clips(self, recordings: np.ndarray, starts: np.ndarray, length: int, pose_window: int) -> RawClips:
        frames, poses = [], []
        for index, start in zip(recordings, starts, strict=True):
            recording, stop = self.recordings[index], start + length
            window = np.clip(np.arange(start - pose_window, stop + pose_window), 0, len(recording) - 1)
            frames.append(recording.frames[start:stop])
            poses.append(recording.poses[window])
        return RawClips(as_clips(np.stack(frames)), np.stack(poses), recordings)
