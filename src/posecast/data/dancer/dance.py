"""A synthetic articulated dancer, drawn by us: the data set that comes with the package.

In: a number of frames, a size, a seed. Out: `Dance`s: a recording, its keypoints, and what poses do not tell.
Knows no files and no torch. Next: `choreography.py` (the moves), `renderer.py` (the painting), `pose_maps.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from posecast.data.dancer.choreography import choreograph
from posecast.data.dancer.renderer import look_of, paint_figure, project
from posecast.data.pose_maps import JOINT_INDEX, draw_pose_maps
from posecast.data.recordings import Recording
from posecast.errors import InputError

FACTORS = ("brightness", "warmth", "breeze", "swing")
"""Relative brightness; the ratio of red to blue less 1; where the scarf is blown to and its angle now, in radians."""

LIGHT_DEVIATION, LIGHT_MEMORY = 0.026, 150.0
BREEZE_DEVIATION, BREEZE_MEMORY = 0.10, 90.0
SWAY_DEVIATION, SWAY_PERIOD, SWAY_DAMPING = 0.08, 26.0, 0.12
"""Standard deviations; memories and period in frames; the scarf is a damped oscillator about the breeze."""

FRAMES_PER_BLANK = 340
"""One stretch of one to four frames without keypoints in so many frames: 0.75 % of them."""

SMALLEST_MSE = 1 / (12 * 255**2)
"""The rounding error of 8 bits: no score counts a smaller one."""


@dataclass(frozen=True)
class Hidden:
    """What the poses do not tell: `values` float32 `[T, F]`, one column per name. All 0 when nothing is hidden."""

    names: tuple[str, ...]
    values: np.ndarray = field(repr=False)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[:, self.names.index(name)]


@dataclass(frozen=True)
class Dance:
    """A recording of the dancer, with all that its pixels were made from."""

    recording: Recording
    keypoints: np.ndarray = field(repr=False)
    """What the pose maps show: x, y in pixels and confidence (0 or 1), float32 `[T, J, 3]`."""
    hidden: Hidden
    points: np.ndarray = field(repr=False)
    """Every joint's true x, y and nearness in pixels, also where the keypoints miss it."""
    look: int
    strength: float
    """`hidden` as it was asked for: 0 nothing, 1 the usual."""


def dance(
    num_frames: int, *, size: tuple[int, int] = (32, 64), seed: int = 0, look: int = 0, hidden: float = 1.0
) -> Dance:
    """A dance of `num_frames` frames at about 28 frames per second, the same bytes for the same arguments.

    `seed` chooses moves and hidden factors, `look` the dancer and the room, `hidden` scales what poses do not
    tell: the light's brightness and warmth, and a scarf with a life of its own.

    >>> dance(10, seed=3).recording.frames.shape
    (10, 32, 64, 3)
    """
    _check(num_frames, size, seed, look, hidden)
    wearing = look_of(look)
    half_width = size[1] / size[0] / (2 * wearing.stature)
    joints = choreograph(num_frames, np.random.default_rng([seed, 0]), half_width, wearing.build)
    points = project(joints, size, wearing)
    factors = hidden_factors(num_frames, np.random.default_rng([seed, 1]), hidden)
    keypoints = estimated_keypoints(points, size, np.random.default_rng([seed, 2]))
    recording = Recording(
        f"dance-{seed}", frames=paint(points, factors, size, look), poses=draw_pose_maps(keypoints, size)
    )
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
    """Training dances and one for validation: the same repertoire, another choreography each.

    One dancer; or `looks` of them in turn, from `look` on, and then the one for validation is the next, whom no
    training dance shows.
    """
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(num_recordings + 1)]
    numbers = [look + looks if looks > 1 else look, *(look + k % looks for k in range(num_recordings))]
    dances = [
        dance(num_frames, size=size, seed=s, look=number, hidden=hidden)
        for s, number in zip(seeds, numbers, strict=True)
    ]
    return dances[1:], dances[0]


def hidden_arrays(dance: Dance) -> dict[str, np.ndarray]:
    """What hidden.npz holds for one dance: each factor `[T]` by name, and `ceiling_psnr_db`, a number."""
    factors = {name: dance.hidden[name] for name in dance.hidden.names}
    return factors | {"ceiling_psnr_db": np.array(ceiling_psnr_db(dance))}


def ceiling_psnr_db(dance: Dance, num_frames: int = 32, num_renderings: int = 32) -> float:
    """What the best possible prediction from poses alone would score: PSNR of the expected frame, in dB.

    The expectation over the hidden factors is estimated, at `num_frames` frames spread over the dance, by
    `num_renderings` renderings with fresh independent factors; pictures more than 64 pixels high are redrawn at
    64 for it. PSNR is 10 log10(1/MSE) per frame, MSE over colours and pixels in [0, 1] and not under
    1/(12 * 255^2), then the mean over frames. Who knows more than the poses, such as the light of the first
    frame, can score more for as long as that still holds.
    """
    height, width = dance.recording.size
    shrink = min(1.0, 64 / height)
    size, points = (round(height * shrink), round(width * shrink)), dance.points * np.float32(shrink)
    rng = np.random.default_rng(0)
    scores = []
    for t in np.linspace(0, len(points) - 1, min(num_frames, len(points))).round().astype(int):
        fresh = hidden_factors(1, rng, dance.strength, num_renderings)
        factors = Hidden(FACTORS, np.concatenate([dance.hidden.values[t : t + 1], fresh.values]))
        pictures = paint(np.repeat(points[t : t + 1], num_renderings + 1, axis=0), factors, size, dance.look) / 255
        mse = np.square(pictures[0] - pictures[1:].mean(axis=0)).mean()
        mse /= 1 + 1 / num_renderings  # without the estimate's own error, which the true expectation lacks
        scores.append(10 * np.log10(1 / max(mse, SMALLEST_MSE)))
    return float(np.mean(scores))


def hidden_factors(num_frames: int, rng: np.random.Generator, strength: float, num_paths: int = 1) -> Hidden:
    """Independent paths of the hidden factors, one after the other: `values` `[num_paths * num_frames, F]`.

    Light and breeze are Ornstein-Uhlenbeck processes, stationary from the first frame; the scarf's angle
    is an oscillator driven by noise, which has swung itself in before the first frame.
    """
    warm_up = 120
    brightness, warmth = (_mean_reverting(num_frames, num_paths, LIGHT_MEMORY, rng) for _ in range(2))
    breeze = BREEZE_DEVIATION * _mean_reverting(warm_up + num_frames, num_paths, BREEZE_MEMORY, rng)
    swing = _swaying(breeze, rng)
    columns = (LIGHT_DEVIATION * brightness, LIGHT_DEVIATION * warmth, breeze[warm_up:], swing[warm_up:])
    values = strength * np.stack([column.T.ravel() for column in columns], axis=1)
    return Hidden(FACTORS, values.astype(np.float32))


def _mean_reverting(num_frames: int, num_paths: int, memory: float, rng: np.random.Generator) -> np.ndarray:
    """Ornstein-Uhlenbeck, sampled exactly: `[num_frames, num_paths]`, mean 0, standard deviation 1."""
    keep = np.exp(-1 / memory)
    noise = rng.standard_normal((num_frames, num_paths))
    noise[1:] *= np.sqrt(1 - keep**2)
    for t in range(1, num_frames):
        noise[t] += keep * noise[t - 1]
    return noise


def _swaying(rest: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A damped oscillator about the moving `rest` `[T, paths]`, pushed by noise."""
    stiffness, friction = (2 * np.pi / SWAY_PERIOD) ** 2, 2 * SWAY_DAMPING * 2 * np.pi / SWAY_PERIOD
    push = SWAY_DEVIATION * np.sqrt(2 * friction * stiffness) * rng.standard_normal(rest.shape)
    angle, speed = np.zeros_like(rest), np.zeros(rest.shape[1])
    angle[0] = rest[0]
    for t in range(1, len(rest)):
        speed = speed + stiffness * (rest[t] - angle[t - 1]) - friction * speed + push[t]
        angle[t] = angle[t - 1] + speed
    return angle


def estimated_keypoints(points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """What a pose estimator would report of `points` `[T, J, 3]`: x, y and confidence 0 or 1.

    It misses joints outside the picture, the half of the face that is turned away, and now and then, for one to
    four frames and never in the first, the dancer.
    """
    height, width = size
    x, y = points[:, :, 0], points[:, :, 1]
    seen = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    seen &= ~_turned_away(points)
    for first in range(0, len(points), FRAMES_PER_BLANK):
        start = first + rng.integers(1, FRAMES_PER_BLANK - 4)
        seen[start : start + rng.integers(1, 5)] = False
    return np.stack([x, y, seen], axis=2).astype(np.float32)


def _turned_away(points: np.ndarray) -> np.ndarray:
    """Which joints the head hides, `[T, J]`: a nose or eye behind the line of the ears, the farther ear in profile."""
    left, right = points[:, JOINT_INDEX["left_ear"]], points[:, JOINT_INDEX["right_ear"]]
    width = np.linalg.norm(left - right, axis=1, keepdims=True)
    nearness = points[:, :, 2] - (left[:, 2:] + right[:, 2:]) / 2
    hidden = np.zeros(points.shape[:2], bool)
    for names, limit in ((("nose", "left_eye", "right_eye"), -0.1), (("left_ear", "right_ear"), -0.35)):
        rows = [JOINT_INDEX[name] for name in names]
        hidden[:, rows] = nearness[:, rows] < limit * width
    return hidden


def paint(points: np.ndarray, factors: Hidden, size: tuple[int, int], look: int) -> np.ndarray:
    """Frames, uint8 `[T, H, W, 3]`, for joints in pixels and hidden factors of the same length."""
    brightness, warmth = factors["brightness"], factors["warmth"]
    light = (1 + brightness)[:, None] * np.stack([1 + warmth / 2, np.ones_like(warmth), 1 - warmth / 2], axis=1)
    frames = np.empty((len(points), *size, 3), np.uint8)
    chunk = max(1, 2**17 // (size[0] * size[1]))  # stays within a few tens of megabytes at any size
    for first in range(0, len(points), chunk):
        now = slice(first, first + chunk)
        evenly_lit = paint_figure(points[now], factors["swing"][now], size, look_of(look))
        frames[now] = np.rint(np.clip(evenly_lit * light[now, None, None], 0, 1) * 255)
    return frames


def _check(num_frames: int, size: tuple[int, int], seed: int, look: int, hidden: float) -> None:
    if num_frames < 2:
        raise InputError(f"A dance of {num_frames} frame(s) was asked for; ask for at least 2.")
    if min(size) < 16:
        raise InputError(f"The size is {size[0]}x{size[1]}; a dancer needs at least 16 pixels each way.")
    if seed < 0 or look < 0 or not 0 <= hidden < np.inf:
        raise InputError(
            f"The seed is {seed}, the look {look}, hidden {hidden}; none of them may be negative or infinite."
        )
