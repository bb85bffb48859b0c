"""Synthetic articulated dancer: a data source that needs no files.

In: a number of frames, a size, a seed. Out: `Dance`s: a recording, its keypoints, and the factors that poses do not
determine. Next: `choreography.py` (motion), `renderer.py` (images), `dataset.py` (files).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from posecast.data.dancer.choreography import choreograph
from posecast.data.dancer.renderer import look_of, project, render_person
from posecast.data.pose_maps import JOINT_INDEX, draw_pose_maps
from posecast.data.recordings import Recording
from posecast.errors import InputError, counted

FACTORS = ("brightness", "warmth", "breeze", "swing")
"""Relative brightness; ratio of red to blue, minus 1; rest angle and angle of the scarf, in radians."""

LIGHT_DEVIATION, LIGHT_MEMORY = 0.026, 150.0
BREEZE_DEVIATION, BREEZE_MEMORY = 0.10, 90.0
SWAY_DEVIATION, SWAY_PERIOD, SWAY_DAMPING = 0.08, 26.0, 0.12
"""Standard deviations; correlation times and period in frames. The scarf is a damped oscillator about the breeze."""

FRAMES_PER_BLANK = 340
"""Frames for each gap of one to four frames without keypoints, which makes 0.75 % of the frames."""

SMALLEST_MSE = 1 / (12 * 255**2)
"""Variance of the rounding to 8 bits, the lower limit of the mean squared error in scores."""


@dataclass(frozen=True)
class HiddenFactors:
    """Factors that the poses do not determine: `values` is float32 `[T, F]`, a column for each name; 0 is neutral."""

    names: tuple[str, ...]
    values: np.ndarray = field(repr=False)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[:, self.names.index(name)]


@dataclass(frozen=True)
class Dance:
    """Recording of the dancer, with everything its pixels were computed from."""

    recording: Recording
    keypoints: np.ndarray = field(repr=False)
    """Keypoints of the pose maps: x, y in pixels and confidence (0 or 1), float32 `[T, J, 3]`."""
    hidden: HiddenFactors
    points: np.ndarray = field(repr=False)
    """True x, y and depth (larger is nearer) of every joint in pixels, also of those that the keypoints lack."""
    look: int
    strength: float
    """Scale of the hidden factors: 0 for none, 1 for the default."""


def dance(
    num_frames: int, *, size: tuple[int, int] = (32, 64), seed: int = 0, look: int = 0, hidden: float = 1.0
) -> Dance:
    """Render a dance at about 28 frames per second; equal arguments give equal bytes.

    Args:
        num_frames: Length of the dance, at least 2.
        size: Height and width in pixels, at least 16 each.
        seed: Seed of the motions and of the hidden factors.
        look: Number of the dancer, with their background.
        hidden: Scale of the factors that poses do not determine: brightness and warmth of the light, and the motion of
            a scarf.

    Raises:
        InputError: An argument is out of range.

    >>> dance(10, seed=3).recording.frames.shape
    (10, 32, 64, 3)
    """
    _check(num_frames, size, seed, look, hidden)
    appearance = look_of(look)
    half_width = size[1] / size[0] / (2 * appearance.stature)
    joints = choreograph(num_frames, np.random.default_rng([seed, 0]), half_width, appearance.build)
    points = project(joints, size, appearance)
    factors = hidden_factors(num_frames, np.random.default_rng([seed, 1]), hidden)
    keypoints = estimated_keypoints(points, size, np.random.default_rng([seed, 2]))
    frames, poses = render_frames(points, factors, size, look), draw_pose_maps(keypoints, size)
    recording = Recording(f"dance-{seed}", frames, poses)
    return Dance(recording, keypoints, factors, points, look, hidden)


def synthesise(
    num_recordings: int,
    num_frames: int,
    size: tuple[int, int] = (32, 64),
    seed: int = 0,
    look: int = 0,
    hidden: float = 1.0,
    looks: int = 1,
) -> tuple[list[Dance], Dance]:
    """Render dances for training and one for validation, all with different choreographies.

    Args:
        num_recordings: Number of training dances.
        num_frames: Length of each dance.
        size: Height and width in pixels.
        seed: Seed from which the seeds of the dances are derived.
        look: Number of the first dancer.
        hidden: Scale of the hidden factors.
        looks: Number of dancers, who take turns in training. With more than one, validation shows the next dancer,
            who is in no training dance.

    Returns:
        The training dances, and the one for validation.
    """
    seeds = [int(state) for state in np.random.SeedSequence(seed).generate_state(num_recordings + 1)]
    dancers = [look + looks if looks > 1 else look, *(look + k % looks for k in range(num_recordings))]
    dances = [
        dance(num_frames, size=size, seed=dance_seed, look=dancer, hidden=hidden)
        for dance_seed, dancer in zip(seeds, dancers, strict=True)
    ]
    return dances[1:], dances[0]


def hidden_arrays(dance: Dance) -> dict[str, np.ndarray]:
    """Return the arrays of hidden.npz for a dance: each factor `[T]` by name, and the number `ceiling_psnr_db`."""
    factors = {name: dance.hidden[name] for name in dance.hidden.names}
    return factors | {"ceiling_psnr_db": np.array(ceiling_psnr_db(dance))}


def ceiling_psnr_db(dance: Dance, num_frames: int = 32, num_renderings: int = 32) -> float:
    """Estimate the PSNR in dB of the best prediction from poses alone: the expectation over the hidden factors.

    PSNR is 10 log10(1/MSE) per frame, the MSE being over colours and pixels in [0, 1] and at least 1/(12 * 255^2); the
    result is its mean over frames. A prediction that uses more than the poses, such as the light of the first frame,
    can score higher for as long as that is informative.

    Args:
        dance: The dance; images more than 64 pixels high are rendered at 64 for the estimate.
        num_frames: Number of frames, spread over the dance, to average over.
        num_renderings: Renderings of each frame with independent factors, whose mean estimates the expectation.
    """
    height, width = dance.recording.size
    shrink = min(1.0, 64 / height)
    size, points = (round(height * shrink), round(width * shrink)), dance.points * np.float32(shrink)
    rng = np.random.default_rng(0)
    scores = []
    for t in np.linspace(0, len(points) - 1, min(num_frames, len(points))).round().astype(int):
        fresh = hidden_factors(1, rng, dance.strength, num_renderings)
        factors = HiddenFactors(FACTORS, np.concatenate([dance.hidden.values[t : t + 1], fresh.values]))
        repeated = np.repeat(points[t : t + 1], num_renderings + 1, axis=0)
        images = render_frames(repeated, factors, size, dance.look) / 255
        mse = np.square(images[0] - images[1:].mean(axis=0)).mean()
        mse /= 1 + 1 / num_renderings  # removes the error of the estimated expectation
        scores.append(10 * np.log10(1 / max(mse, SMALLEST_MSE)))
    return float(np.mean(scores))


def hidden_factors(num_frames: int, rng: np.random.Generator, strength: float, num_paths: int = 1) -> HiddenFactors:
    """Sample independent paths of the hidden factors.

    Light and breeze are Ornstein-Uhlenbeck processes, stationary from the first frame. The scarf's angle is an
    oscillator driven by noise; its transient ends before the first frame.

    Args:
        num_frames: Length of a path.
        rng: Generator of all noise.
        strength: Scale of the factors.
        num_paths: Number of paths.

    Returns:
        The paths one after the other: `values` is `[num_paths * num_frames, F]`.
    """
    warm_up = 120
    brightness, warmth = (_mean_reverting(num_frames, num_paths, LIGHT_MEMORY, rng) for _ in range(2))
    breeze = BREEZE_DEVIATION * _mean_reverting(warm_up + num_frames, num_paths, BREEZE_MEMORY, rng)
    swing = _swaying(breeze, rng)
    columns = (LIGHT_DEVIATION * brightness, LIGHT_DEVIATION * warmth, breeze[warm_up:], swing[warm_up:])
    values = strength * np.stack([column.T.ravel() for column in columns], axis=1)
    return HiddenFactors(FACTORS, values.astype(np.float32))


def _mean_reverting(num_frames: int, num_paths: int, memory: float, rng: np.random.Generator) -> np.ndarray:
    """Sample Ornstein-Uhlenbeck processes exactly: `[num_frames, num_paths]`, mean 0, standard deviation 1."""
    keep = np.exp(-1 / memory)
    noise = rng.standard_normal((num_frames, num_paths))
    noise[1:] *= np.sqrt(1 - keep**2)
    for t in range(1, num_frames):
        noise[t] += keep * noise[t - 1]
    return noise


def _swaying(rest: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate a damped oscillator about the moving `rest` `[T, paths]`, driven by noise."""
    stiffness, friction = (2 * np.pi / SWAY_PERIOD) ** 2, 2 * SWAY_DAMPING * 2 * np.pi / SWAY_PERIOD
    push = SWAY_DEVIATION * np.sqrt(2 * friction * stiffness) * rng.standard_normal(rest.shape)
    angle, speed = np.zeros_like(rest), np.zeros(rest.shape[1])
    angle[0] = rest[0]
    for t in range(1, len(rest)):
        speed = speed + stiffness * (rest[t] - angle[t - 1]) - friction * speed + push[t]
        angle[t] = angle[t - 1] + speed
    return angle


def estimated_keypoints(points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Simulate a pose estimator on `points` `[T, J, 3]`: x, y and confidence 0 or 1.

    It misses joints outside the image, the half of the face that is turned away and, occasionally, for one to four
    frames but never in the first frame, the complete dancer.
    """
    height, width = size
    x, y = points[:, :, 0], points[:, :, 1]
    detected = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    detected &= ~_turned_away(points)
    for first in range(0, len(points), FRAMES_PER_BLANK):
        start = first + rng.integers(1, FRAMES_PER_BLANK - 4)
        detected[start : start + rng.integers(1, 5)] = False
    return np.stack([x, y, detected], axis=2).astype(np.float32)


def _turned_away(points: np.ndarray) -> np.ndarray:
    """Mark joints hidden by the head, `[T, J]`: nose or eyes behind the line of the ears, the far ear in profile."""
    left, right = points[:, JOINT_INDEX["left_ear"]], points[:, JOINT_INDEX["right_ear"]]
    width = np.linalg.norm(left - right, axis=1, keepdims=True)
    nearness = points[:, :, 2] - (left[:, 2:] + right[:, 2:]) / 2
    hidden = np.zeros(points.shape[:2], bool)
    for names, limit in ((("nose", "left_eye", "right_eye"), -0.1), (("left_ear", "right_ear"), -0.35)):
        rows = [JOINT_INDEX[name] for name in names]
        hidden[:, rows] = nearness[:, rows] < limit * width
    return hidden


def render_frames(points: np.ndarray, factors: HiddenFactors, size: tuple[int, int], look: int) -> np.ndarray:
    """Render frames, uint8 `[T, H, W, 3]`, from joints `[T, J, 3]` in pixels and hidden factors of length T."""
    brightness, warmth = factors["brightness"], factors["warmth"]
    light = (1 + brightness)[:, None] * np.stack([1 + warmth / 2, np.ones_like(warmth), 1 - warmth / 2], axis=1)
    frames = np.empty((len(points), *size, 3), np.uint8)
    chunk = max(1, 2**17 // (size[0] * size[1]))  # bounds memory to a few tens of megabytes at any size
    for first in range(0, len(points), chunk):
        rows = slice(first, first + chunk)
        evenly_lit = render_person(points[rows], factors["swing"][rows], size, look_of(look))
        frames[rows] = np.rint(np.clip(evenly_lit * light[rows, None, None], 0, 1) * 255)
    return frames


def _check(num_frames: int, size: tuple[int, int], seed: int, look: int, hidden: float) -> None:
    if num_frames < 2:
        raise InputError(f"A dance of {counted(num_frames, 'frame')} was requested; request at least 2.")
    if min(size) < 16:
        raise InputError(f"The size is {size[0]}x{size[1]}; a dancer needs at least 16 pixels each way.")
    if seed < 0 or look < 0 or not 0 <= hidden < np.inf:
        raise InputError(
            f"The seed is {seed}, the look {look}, hidden {hidden}; none of them may be negative or infinite."
        )
