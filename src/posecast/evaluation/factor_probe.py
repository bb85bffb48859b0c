"""What the poses do not tell, read off frames: the hidden factors of a data set that has recorded them.

In: frames and pose maps; `hidden.npz`. Out: factors as they are read, and how their paths move.
Knows no predictor: true and generated frames are read alike. Next: `evaluate.py`, which has both read.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from posecast.data.background import near_limbs
from posecast.data.pose_map_colours import limb_shown
from posecast.data.pose_maps import JOINT_INDEX
from posecast.data.recordings import Recording
from posecast.errors import InputError

TRUNK = [JOINT_INDEX[name] for name in ("right_shoulder", "left_shoulder", "nose", "mid_hip")]
"""The limbs that meet at the neck."""
WIDTHS, RIDGES = (0.5, 1.0, 2.0, 4.0), (1e-3, 1e-2, 1e-1)
"""Tried for each factor: widths of the kernel, in typical distances of two crops, and weights of the ridge."""
FIT_FRAMES = 3000
"""A reader is fitted to at most so many frames: its cost grows with their cube."""


def recorded_factors(data: Path, split: str, recordings: Sequence[Recording]) -> list[dict[str, np.ndarray]] | None:
    """Each recording's hidden factors `[T]` by name, out of DATA/hidden.npz; None where there is no such file.

    Raises InputError where the file is damaged or does not fit the recordings.
    """
    path = data / "hidden.npz"
    if not path.exists():
        return None
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
        raise InputError(f"{path} cannot be read ({problem}); write the data set anew, or remove the file.") from None
    found = []
    for number, recording in enumerate(recordings):
        prefix = f"{split}{number}_"
        own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix) and a.ndim == 1}
        if not own or any(len(values) != len(recording) for values in own.values()):
            raise InputError(
                f"{path} has no factors of {len(recording)} frames for recording {number} of {split!r}; "
                "write the data set anew, or remove the file."
            )
        found.append(own)
    return found


@dataclass(frozen=True)
class FactorProbe:
    """Reads factors off a frame and its pose map, by kernel ridge regression on frames whose factors are known.

    A frame is seen twice: by the mean colour of the room, linearly, and by a crop around the neck, in the room's
    light, through a Gaussian kernel. Width and ridge are chosen for each factor on a recording left out.
    """

    names: tuple[str, ...]
    crops: np.ndarray = field(repr=False)
    rooms: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    """`[frames, F]`."""
    widths: tuple[float, ...]
    means: np.ndarray
    centre: np.ndarray = field(repr=False)
    scale: float
    """Mean and root mean square deviation of the rooms' colours."""

    def read(self, frames: np.ndarray, poses: np.ndarray) -> np.ndarray:
        """Factors `[N, F]` of frames `[N, H, W, 3]`; NaN where the pose map does not show the neck."""
        seen, rooms, crops = features(frames, poses)
        values = np.full((len(frames), len(self.names)), np.nan)
        if seen.any():
            distances = squared_distances(crops, self.crops)
            linear = (rooms - self.centre) @ (self.rooms - self.centre).T / self.scale**2
            for number, width in enumerate(self.widths):
                kernel = np.exp(-0.5 * distances / width**2) + linear
                values[seen, number] = kernel @ self.weights[:, number] + self.means[number]
        return values


def fit_probe(recordings: Sequence[Recording], factors: Sequence[dict[str, np.ndarray]]) -> FactorProbe | None:
    """A reader of the factors that move in these recordings; None where none does, or no pose shows the neck.

    The last recording chooses widths and ridges.
    """
    names = tuple(name for name in factors[0] if any(np.ptp(own[name]) > 0 for own in factors))
    if not names:
        return None
    every = max(1, -(-sum(len(one) for one in recordings) // FIT_FRAMES))
    parts = []
    for recording, own in zip(recordings, factors, strict=True):
        seen, rooms, crops = features(recording.frames[::every], recording.poses[::every])
        parts.append((rooms, crops, np.stack([own[name][::every] for name in names], 1)[seen]))
    if sum(len(rooms) for rooms, *_ in parts) < 4:
        return None
    if len(parts) == 1 or len(parts[-1][0]) < 2 or sum(len(rooms) for rooms, *_ in parts[:-1]) < 2:
        parts = [tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))]
        half = len(parts[0][0]) // 2
        parts = [tuple(a[:half] for a in parts[0]), tuple(a[half:] for a in parts[0])]
    rooms, crops, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    centre, means = rooms.mean(0), values.mean(0)
    scale = float(np.sqrt(np.square(rooms - centre).mean())) or 1.0
    distances = squared_distances(crops, crops)
    typical = float(np.sqrt(np.median(distances))) or 1.0
    linear = (rooms - centre) @ (rooms - centre).T / scale**2
    chosen = len(parts[-1][0])
    fitted, judged = slice(0, len(rooms) - chosen), slice(len(rooms) - chosen, None)
    errors = {}
    for width, ridge in itertools.product(WIDTHS, RIDGES):
        kernel = np.exp(-0.5 * distances / (width * typical) ** 2) + linear
        weights = solved(kernel[fitted, fitted], values[fitted] - means, ridge)
        errors[width, ridge] = np.square(kernel[judged, fitted] @ weights + means - values[judged]).mean(0)
    settings = [min(errors, key=lambda setting, n=number: errors[setting][n]) for number in range(len(names))]
    weights = np.stack(
        [
            solved(np.exp(-0.5 * distances / (width * typical) ** 2) + linear, values[:, number] - means[number], ridge)
            for number, (width, ridge) in enumerate(settings)
        ],
        1,
    )
    widths = tuple(width * typical for width, _ in settings)
    return FactorProbe(names, crops, rooms, weights, widths, means, centre, scale)


def solved(kernel: np.ndarray, values: np.ndarray, ridge: float) -> np.ndarray:
    """The weights of kernel ridge regression."""
    return np.linalg.solve(kernel + ridge * np.eye(len(kernel)), values)


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Between all rows of two matrices."""
    squares = np.square(one).sum(1)[:, None] + np.square(other).sum(1)[None] - 2.0 * one @ other.T
    return np.maximum(squares, 0.0)


def features(frames: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which frames have a neck, bool `[N]`; and of those the room's mean colour and a crop around the neck.

    The crop is half the picture's height on a side, frame (in units of the room's colour) and pose map.
    """
    height, width = frames.shape[1:3]
    away = ~near_limbs(poses)
    shown = np.isin(limb_shown(poses), TRUNK)
    seen = np.asarray(shown.any((1, 2)) & away.any((1, 2)))
    side = height // 2
    rooms, crops = [np.empty((0, 3))], [np.empty((0, 6 * side * side))]
    for number in np.flatnonzero(seen):
        colour = frames[number][away[number]].mean(0) / 255.0
        rows, columns = np.nonzero(shown[number])
        y, x = round(rows.mean()) - side // 2, round(columns.mean()) - side // 2
        y, x = np.clip(y, 0, height - side), np.clip(x, 0, width - side)
        window = (slice(y, y + side), slice(x, x + side))
        lit = frames[number][window] / 255.0 / np.maximum(colour, 1 / 255)
        crops.append(np.concatenate((lit, poses[number][window] / 255.0), -1).reshape(1, -1))
        rooms.append(colour[None])
    return seen, np.concatenate(rooms), np.concatenate(crops)


def r_squared(read: np.ndarray, truth: np.ndarray) -> float:
    """The share of the truth's variance that is read off rightly; NaN is left out, less than 0 is possible.

    NaN where the truth does not move, or nothing was read.
    """
    known = np.isfinite(read) & np.isfinite(truth)
    if not known.any() or not np.ptp(truth[known]):
        return float("nan")
    error = np.square(read[known] - truth[known]).mean()
    return float(1.0 - error / np.square(truth[known] - truth[known].mean()).mean())


def deviation(paths: np.ndarray, mean: float) -> float:
    """Root mean square about a known mean, over paths `[N, T]`: short paths' own means would hide slow motion."""
    known = paths[np.isfinite(paths)]
    return float(np.sqrt(np.square(known - mean).mean())) if known.size else float("nan")


def time_constant(paths: np.ndarray, mean: float) -> float:
    """Frames until the autocorrelation about a known mean falls below 1/e, over paths `[N, T]`, interpolated.

    The longest lag tried is half a path; a slower one counts as that.
    """
    away = np.where(np.isfinite(paths), paths - mean, 0.0)
    variance = np.square(away).mean()
    last = 1.0
    for lag in range(1, paths.shape[1] // 2):
        now = float((away[:, lag:] * away[:, :-lag]).mean() / variance) if variance > 0 else 0.0
        if now < 1.0 / np.e:
            return lag - 1 + (last - 1.0 / np.e) / (last - now)
        last = now
    return paths.shape[1] / 2


@dataclass(frozen=True)
class Motion:
    """How a factor's paths move about its mean."""

    deviation: float
    time_constant: float
    """Frames."""


@dataclass(frozen=True)
class FactorEvidence:
    """One hidden factor, as it is read off true and off generated frames of some recordings."""

    name: str
    reader_r2: float
    """Read off the true frames: no frame can be read better."""
    posterior_r2: float
    """Read off frames painted with z from the posterior."""
    truth: Motion
    prior: Motion
    """Read off futures, z from the prior. What the poses do to a reading moves all futures alike, and counts here."""
    apart: float
    """How far futures lie from each other: their standard deviation at an instant, root mean square over instants. Only
    z moves this; futures that have forgotten their first frame are as far apart as the truth deviates."""
    recorded: np.ndarray = field(repr=False)
    """The first recording's true path, frames 2 and on: `[T-1]`."""
    futures: np.ndarray = field(repr=False)
    """The first recording's futures: `[N, T-1]`."""


def factor_evidence(
    reader: FactorProbe,
    recorded: Sequence[dict[str, np.ndarray]],
    true: Sequence[np.ndarray],
    posterior: Sequence[np.ndarray],
    futures: Sequence[np.ndarray],
) -> list[FactorEvidence]:
    """Every factor's evidence; `true` and `posterior` are readings `[T-1, F]`, `futures` `[N, T-1, F]` a recording.

    Motion is measured on readings, true ones too, so that the reader's own errors are on both sides.
    """
    found = []
    for number, name in enumerate(reader.names):
        paths = [own[name][1:] for own in recorded]
        mean = float(reader.means[number])
        truth_motions = [motion(one[None, :, number], mean) for one in true]
        prior_motions = [motion(one[:, :, number], mean) for one in futures]
        found.append(
            FactorEvidence(
                name,
                r_squared(np.concatenate([one[:, number] for one in true]), np.concatenate(paths)),
                r_squared(np.concatenate([one[:, number] for one in posterior]), np.concatenate(paths)),
                averaged(truth_motions),
                averaged(prior_motions),
                float(np.sqrt(np.mean([apart(one[:, :, number]) ** 2 for one in futures]))),
                paths[0],
                futures[0][:, :, number],
            )
        )
    return found


def apart(paths: np.ndarray) -> float:
    """Standard deviation between paths `[N, T]` at an instant, root mean square over instants; NaN of one path."""
    known = paths[:, np.isfinite(paths).all(0)]
    return float(np.sqrt(known.var(0, ddof=1).mean())) if known.size and len(known) > 1 else float("nan")


def motion(paths: np.ndarray, mean: float) -> Motion:
    return Motion(deviation(paths, mean), time_constant(paths, mean))


def averaged(motions: Sequence[Motion]) -> Motion:
    """Over recordings: the root mean square of deviations, the mean of time constants."""
    return Motion(
        float(np.sqrt(np.mean([one.deviation**2 for one in motions]))),
        float(np.mean([one.time_constant for one in motions])),
    )
