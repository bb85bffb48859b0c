"""Probe that reads hidden factors, which the poses do not determine, off frames.

In: frames and pose maps; hidden.npz with the factors of training recordings. Out: a fitted `FactorProbe`.
Next: `factor_evidence.py`, which compares readings of true and of generated frames.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from posecast.data.background import near_limbs
from posecast.data.limb_recognition import limb_shown
from posecast.data.pose_maps import JOINT_INDEX
from posecast.data.recordings import Recording
from posecast.errors import InputError

TRUNK = [JOINT_INDEX[name] for name in ("right_shoulder", "left_shoulder", "nose", "mid_hip")]
"""Limbs that meet at the neck."""
WIDTHS = (0.5, 1.0, 2.0, 4.0)
"""Candidate widths of the Gaussian kernel, in units of the median distance of two crops."""
RIDGES = (1e-3, 1e-2, 1e-1)
"""Candidate weights of the ridge penalty."""
FIT_FRAMES = 3000
"""Largest number of frames that a probe is fitted to; the cost is cubic in it."""
MIN_FIT_FRAMES = 4


def recorded_factors(data: Path, split: str, recordings: Sequence[Recording]) -> list[dict[str, np.ndarray]] | None:
    """Read each recording's hidden factors `[T]`, by name, from DATA/hidden.npz.

    Args:
        data: Data folder.
        split: Split of the recordings, "train" or "val".
        recordings: All recordings of the split, in their order.

    Returns:
        None if the data set has no such file.

    Raises:
        InputError: The file is damaged or does not fit the recordings.
    """
    path = data / "hidden.npz"
    if not path.is_file():  # opening a pipe would block
        return None
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error}); write the data set again, or remove the file.") from None
    factors = []
    for index, recording in enumerate(recordings):
        prefix = f"{split}{index}_"
        own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix) and a.ndim == 1}
        if not own or any(len(values) != len(recording) for values in own.values()):
            raise InputError(
                f"{path} has no factors of {len(recording)} frames for recording {index} of {split!r}; "
                "write the data set again, or remove the file."
            )
        factors.append(own)
    return factors


@dataclass(frozen=True)
class FactorProbe:
    """Kernel ridge regression from a frame and its pose map to F hidden factors.

    The kernel is the sum of a linear kernel of the background's mean colour and a Gaussian kernel of a crop around the
    neck, divided by that colour. `fit_probe` selects width and ridge for each factor.
    """

    names: tuple[str, ...]
    crops: np.ndarray = field(repr=False)
    """Crops of the fitted frames, `[N, 6 side side]`."""
    backgrounds: np.ndarray = field(repr=False)
    """Mean background colours of the fitted frames, `[N, 3]`."""
    weights: np.ndarray = field(repr=False)
    """Regression weights, `[N, F]`."""
    widths: tuple[float, ...]
    """Width of the Gaussian kernel of each factor."""
    means: np.ndarray
    """Mean of each factor, `[F]`."""
    centre: np.ndarray = field(repr=False)
    """Mean of the background colours, `[3]`."""
    scale: float
    """Root mean square deviation of the background colours."""

    def read(self, frames: np.ndarray, poses: np.ndarray) -> np.ndarray:
        """Estimate the factors of frames.

        Args:
            frames: uint8 `[N, H, W, 3]`.
            poses: Their pose maps, uint8 `[N, H, W, 3]`.

        Returns:
            Factors `[N, F]`; NaN where the pose map does not show the neck.
        """
        readable, backgrounds, crops = features(frames, poses)
        values = np.full((len(frames), len(self.names)), np.nan)
        if readable.any():
            distances = _squared_distances(crops, self.crops)
            linear = (backgrounds - self.centre) @ (self.backgrounds - self.centre).T / self.scale**2
            for factor, width in enumerate(self.widths):
                kernel = _kernel(distances, width, linear)
                values[readable, factor] = kernel @ self.weights[:, factor] + self.means[factor]
        return values


def fit_probe(recordings: Sequence[Recording], factors: Sequence[dict[str, np.ndarray]]) -> FactorProbe | None:
    """Fit a probe of the factors that vary in these recordings.

    The last recording selects kernel widths and ridges; a single recording is split in half.

    Args:
        recordings: Training recordings.
        factors: Their factors `[T]`, by name.

    Returns:
        None if no factor varies, or the neck is visible in fewer than four pose maps.
    """
    names = tuple(name for name in factors[0] if any(np.ptp(own[name]) > 0 for own in factors))
    if not names:
        return None
    parts = _training_parts(recordings, factors, names)
    if sum(len(part[0]) for part in parts) < MIN_FIT_FRAMES:
        return None
    if len(parts) == 1 or len(parts[-1][0]) < 2 or sum(len(part[0]) for part in parts[:-1]) < 2:
        whole = _concatenated(parts)
        half = len(whole[0]) // 2
        parts = [tuple(array[:half] for array in whole), tuple(array[half:] for array in whole)]
    backgrounds, crops, values = _concatenated(parts)
    centre, means = backgrounds.mean(0), values.mean(0)
    scale = float(np.sqrt(np.square(backgrounds - centre).mean())) or 1.0
    linear = (backgrounds - centre) @ (backgrounds - centre).T / scale**2
    distances = _squared_distances(crops, crops)
    typical = float(np.sqrt(np.median(distances))) or 1.0
    num_fitted = len(backgrounds) - len(parts[-1][0])
    settings = _select_settings(distances, linear, values, num_fitted, typical)
    columns = [
        _ridge_weights(_kernel(distances, width, linear), values[:, factor] - means[factor], ridge)
        for factor, (width, ridge) in enumerate(settings)
    ]
    widths = tuple(width for width, _ in settings)
    return FactorProbe(names, crops, backgrounds, np.stack(columns, 1), widths, means, centre, scale)


def _training_parts(
    recordings: Sequence[Recording], factors: Sequence[dict[str, np.ndarray]], names: tuple[str, ...]
) -> list[tuple[np.ndarray, ...]]:
    """Return background colours, crops and factors of each recording's readable frames, thinned to `FIT_FRAMES`."""
    every = max(1, -(-sum(len(recording) for recording in recordings) // FIT_FRAMES))
    parts = []
    for recording, own in zip(recordings, factors, strict=True):
        readable, backgrounds, crops = features(recording.frames[::every], recording.poses[::every])
        parts.append((backgrounds, crops, np.stack([own[name][::every] for name in names], 1)[readable]))
    return parts


def _concatenated(parts: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _select_settings(
    distances: np.ndarray, linear: np.ndarray, values: np.ndarray, num_fitted: int, typical: float
) -> list[tuple[float, float]]:
    """Return width and ridge of each factor with the smallest error on the frames after the first `num_fitted`.

    Args:
        distances: Squared distances of all crops, `[N, N]`.
        linear: Linear kernel of the background colours, `[N, N]`.
        values: Factors, `[N, F]`.
        num_fitted: Number of frames that candidates are fitted to.
        typical: Median distance of two crops.
    """
    means = values.mean(0)
    fitted, held_out = slice(0, num_fitted), slice(num_fitted, None)
    errors = {}
    for width, ridge in itertools.product(WIDTHS, RIDGES):
        kernel = _kernel(distances, width * typical, linear)
        weights = _ridge_weights(kernel[fitted, fitted], values[fitted] - means, ridge)
        residuals = kernel[held_out, fitted] @ weights + means - values[held_out]
        errors[width * typical, ridge] = np.square(residuals).mean(0)
    return [min(errors, key=lambda setting, f=factor: errors[setting][f]) for factor in range(values.shape[1])]


def _kernel(distances: np.ndarray, width: float, linear: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * distances / width**2) + linear


def _ridge_weights(kernel: np.ndarray, values: np.ndarray, ridge: float) -> np.ndarray:
    return np.linalg.solve(kernel + ridge * np.eye(len(kernel)), values)


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances between all rows of two matrices."""
    squares = np.square(first).sum(1)[:, None] + np.square(second).sum(1)[None] - 2.0 * first @ second.T
    return np.maximum(squares, 0.0)


def features(frames: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Extract the probe's input from frames `[N, H, W, 3]` and their pose maps.

    Returns:
        Which frames show a neck, bool `[N]`; of those M frames, the background's mean colour `[M, 3]`, and a crop
        around the neck `[M, 6 side side]`, where the side is half the frame's height. A crop has the frame, divided by
        the background's colour, and the pose map.
    """
    height, width = frames.shape[1:3]
    background = ~near_limbs(poses)
    trunk = np.isin(limb_shown(poses), TRUNK)
    readable = np.asarray(trunk.any((1, 2)) & background.any((1, 2)))
    side = height // 2
    colours, crops = [np.empty((0, 3))], [np.empty((0, 6 * side * side))]
    for index in np.flatnonzero(readable):
        colour = frames[index][background[index]].mean(0) / 255.0
        rows, columns = np.nonzero(trunk[index])
        y, x = round(rows.mean()) - side // 2, round(columns.mean()) - side // 2
        y, x = np.clip(y, 0, height - side), np.clip(x, 0, width - side)
        window = (slice(y, y + side), slice(x, x + side))
        lit = frames[index][window] / 255.0 / np.maximum(colour, 1 / 255)
        crops.append(np.concatenate((lit, poses[index][window] / 255.0), -1).reshape(1, -1))
        colours.append(colour[None])
    return readable, np.concatenate(colours), np.concatenate(crops)
