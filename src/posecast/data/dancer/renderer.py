"""Appearance of the dancer and the background, and their rendering.

In: joints in statures, the scarf's angle, a look. Out: float32 images `[T, H, W, 3]` in [0, 1], evenly lit.
Next: `dance.py`, which adds the factors that poses do not determine.
"""

from __future__ import annotations

import colorsys
import dataclasses
from dataclasses import dataclass

import numpy as np

from posecast.data.dancer.kinematics import Build
from posecast.data.pose_maps import JOINT_INDEX
from posecast.data.rasterizer import Capsules, paint_capsules

Colour = tuple[int, int, int]

FLOOR = 0.87
"""Height of the feet, as a share of the image height from the top."""
SKIRTING = 0.755
"""Height of the edge between wall and floor, likewise."""
LOOKING_DOWN = 0.16
"""Downward shift of a point that is one stature nearer, in statures: the camera looks slightly down."""

SKINS: tuple[Colour, ...] = ((224, 172, 138), (141, 92, 62), (240, 200, 170), (104, 66, 46), (196, 140, 100))
HAIRS: tuple[Colour, ...] = ((58, 38, 30), (30, 26, 28), (186, 140, 78), (22, 20, 24), (120, 56, 32))
OUTFITS: tuple[tuple[Colour, Colour, Colour, Colour], ...] = (
    ((52, 96, 140), (44, 44, 58), (62, 46, 42), (222, 150, 62)),
    ((150, 58, 66), (52, 58, 84), (40, 40, 44), (232, 196, 130)),
    ((70, 122, 92), (84, 70, 60), (54, 40, 36), (226, 120, 92)),
    ((226, 216, 200), (60, 78, 110), (110, 66, 46), (190, 72, 72)),
    ((92, 72, 128), (42, 42, 50), (200, 196, 190), (236, 176, 90)),
    ((214, 170, 76), (70, 62, 72), (60, 48, 44), (88, 132, 150)),
)
"""Top, trousers, shoes, scarf."""
BACKGROUNDS: tuple[tuple[Colour, Colour], ...] = (
    ((176, 174, 168), (168, 156, 142)),
    ((164, 178, 184), (150, 146, 142)),
    ((190, 172, 152), (146, 126, 108)),
)
"""Wall, floor."""


@dataclass(frozen=True)
class Look:
    """Appearance of a dancer and their background, constant over all their dances."""

    skin: Colour
    hair: Colour
    outfit: tuple[Colour, Colour, Colour, Colour]
    background: tuple[Colour, Colour]
    long_hair: bool
    long_sleeves: bool
    girth: float
    stature: float
    """Height of the dancer, as a share of the image height."""
    build: Build


CHOSEN_LOOKS = 30
"""Number of looks that combine the colours above; further looks have random colours."""


def look_of(number: int) -> Look:
    """Return dancer `number`; among the first `CHOSEN_LOOKS`, consecutive numbers have different outfits."""
    rng = np.random.default_rng(number)
    look = Look(
        skin=SKINS[number % len(SKINS)],
        hair=HAIRS[number % len(HAIRS)],
        outfit=OUTFITS[number % len(OUTFITS)],
        background=BACKGROUNDS[number % len(BACKGROUNDS)],
        long_hair=number % 2 == 1,
        long_sleeves=number % 3 != 1,
        girth=float(rng.uniform(0.92, 1.14)),
        stature=float(rng.uniform(0.68, 0.74)),
        build=Build(shoulders=float(rng.uniform(0.098, 0.115)), hips=float(rng.uniform(0.052, 0.062))),
    )
    if number < CHOSEN_LOOKS:
        return look
    wall = _random_colour(rng, saturation=(0.05, 0.25), value=(0.6, 0.78))
    floor = _random_colour(rng, saturation=(0.05, 0.3), value=(0.45, 0.68))
    # Trousers and shoes are darker than top and scarf, as most people wear them.
    outfit = [_random_colour(rng, saturation=(0.2, 0.75), value=value) for value in ((0.35, 0.85), (0.18, 0.45))]
    outfit += [_random_colour(rng, saturation=(0.1, 0.6), value=(0.15, 0.8))]
    outfit += [_random_colour(rng, saturation=(0.4, 0.85), value=(0.6, 0.95))]
    return dataclasses.replace(look, outfit=tuple(outfit), background=(wall, floor))


def _random_colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """Draw a colour of any hue, with saturation and value (HSV, in [0, 1]) between two limits each."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))
    return round(255 * red), round(255 * green), round(255 * blue)


def project(joints: np.ndarray, size: tuple[int, int], look: Look) -> np.ndarray:
    """Project joints in statures to x, y and depth (larger is nearer) in pixels, `[T, J, 3]`.

    The projection is parallel, from slightly above.
    """
    scale = look.stature * size[0]
    x = size[1] / 2 + scale * joints[..., 0]
    y = FLOOR * size[0] - scale * (joints[..., 1] - LOOKING_DOWN * joints[..., 2])
    return np.stack([x, y, scale * joints[..., 2]], axis=-1).astype(np.float32)


def render_person(points: np.ndarray, swing: np.ndarray, size: tuple[int, int], look: Look) -> np.ndarray:
    """Render the dancer in front of the background.

    Args:
        points: Joints `[T, J, 3]` from `project`.
        swing: Angle of the scarf in radians, `[T]`.
        size: Height and width in pixels.
        look: Appearance of dancer and background.

    Returns:
        float32 `[T, H, W, 3]`.
    """
    scale = look.stature * size[0]
    canvas = _render_background(size, look) * _shadow(points, scale, size)[..., None]
    paint_capsules(canvas, _Person(points, swing, scale, look).capsules())
    return canvas


def _render_background(size: tuple[int, int], look: Look) -> np.ndarray:
    """Render the background, float32 `[H, W, 3]`: a wall with two pools of light from above, and a floor."""
    v = ((np.arange(size[0]) + 0.5) / size[0])[:, None]
    u = ((np.arange(size[1]) + 0.5) / size[1])[None]
    pools = np.exp(-(((u[..., None] - np.array([0.27, 0.76])) / 0.2) ** 2)).sum(axis=2)
    wall = 0.56 + 0.38 * pools * np.exp(-(((v - 0.06) / 0.42) ** 2)) - 0.06 * v
    floor = 0.66 + 0.55 * (v - SKIRTING) - 0.25 * (u - 0.5) ** 2
    edge = np.clip((v - SKIRTING) * size[0] + 0.5, 0, 1)
    line = 1 - 0.16 * np.exp(-(((v - SKIRTING) / 0.012) ** 2))
    wall_colour, floor_colour = (np.array(colour) / 255 for colour in look.background)
    image = wall[..., None] * wall_colour * (1 - edge[..., None]) + floor[..., None] * floor_colour * edge[..., None]
    vignette = 1 - 0.35 * ((u - 0.5) ** 2 + (v - 0.5) ** 2)
    return np.clip(1.06 * image * (line * vignette)[..., None], 0, 1).astype(np.float32)


def _shadow(points: np.ndarray, scale: float, size: tuple[int, int]) -> np.ndarray:
    """Return the share of light that reaches each pixel, `[T, H, W]`: less under the feet and the trunk."""
    feet = [points[:, [JOINT_INDEX[f"{side}_{part}"] for part in ("heel", "toe")]] for side in ("left", "right")]
    spots = [(foot.mean(axis=1), 0.095, 0.024, 0.3) for foot in feet]
    spots.append((points[:, JOINT_INDEX["mid_hip"]] + np.array([0.07 * scale, 0, 0], np.float32), 0.24, 0.05, 0.26))
    x, y = np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5
    light = np.ones((len(points), *size), np.float32)
    for centre, width, height, darkness in spots:
        ground = FLOOR * size[0] + LOOKING_DOWN * centre[:, 2]
        across = np.exp(-(((x - centre[:, :1]) / (width * scale)) ** 2)).astype(np.float32)
        down = np.exp(-(((y - ground[:, None]) / (height * scale)) ** 2)).astype(np.float32)
        light *= 1 - (darkness * down)[:, :, None] * across[:, None]
    return light


class _Person:
    """The dancer as capsules; sizes are in statures, and depth decides which capsule hides another."""

    def __init__(self, points: np.ndarray, swing: np.ndarray, scale: float, look: Look) -> None:
        self.scale, self.look, self.swing = scale, look, swing
        self.joints = {name: points[:, index] for name, index in JOINT_INDEX.items()}
        self.rows: list[tuple[np.ndarray, ...]] = []

    def capsules(self) -> Capsules:
        """Return the capsules of the person, farthest first."""
        self._legs()
        self._trunk()
        self._arms()
        self._head()
        self._scarf()
        start, end, shape, paint, depth = (np.stack(a, axis=1) for a in zip(*self.rows, strict=True))
        return Capsules(start, end, shape, paint).ordered(depth)

    def _add(
        self,
        start: np.ndarray,
        end: np.ndarray,
        radii: tuple[np.ndarray | float, ...],
        colour: Colour,
        *,
        nearer: np.ndarray | float = 0.0,
        flatness: float = 1.0,
        roundness: float = 0.7,
    ) -> None:
        """Add a capsule; `radii` are at start, at end and added in the middle, `nearer` is added to its depth."""
        width = [np.broadcast_to(r * self.scale, len(start)) for r in (*radii, 0.0)[:3]]
        shape = np.stack([*width, np.full(len(start), flatness)], axis=1).astype(np.float32)
        row = [*(c / 255 for c in colour), 1.0, roundness]
        paint = np.broadcast_to(np.array(row, np.float32), (len(start), 5))
        depth = (start[:, 2] + end[:, 2]) / 2 + nearer * self.scale
        self.rows.append((start[:, :2], end[:, :2], shape, paint, depth))

    def _legs(self) -> None:
        _, trousers, shoes, _ = self.look.outfit
        j, girth = self.joints, self.look.girth
        for side in ("left", "right"):
            hip, knee, ankle = (j[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
            self._add(hip, knee, (0.051 * girth, 0.04 * girth), trousers, nearer=0.01)
            self._add(knee, ankle, (0.041 * girth, 0.03), trousers)
            self._add(j[f"{side}_heel"], j[f"{side}_toe"], (0.026, 0.022), shoes, nearer=-0.01)
        self._add(j["left_hip"], j["right_hip"], (0.05 * girth, 0.05 * girth), trousers)

    def _trunk(self) -> None:
        top, _, _, _ = self.look.outfit
        j, thickness = self.joints, 0.06 * self.look.girth * self.scale
        # The outline of a turning ellipse: width and thickness add in quadrature.
        shoulders, hips = (
            np.hypot(thickness, 0.5 * np.hypot(*(j[f"left_{part}"] - j[f"right_{part}"])[:, :2].T)) / self.scale
            for part in ("shoulder", "hip")
        )
        upwards = j["neck"] - j["mid_hip"]
        start, end = j["neck"] - 0.1 * upwards, j["mid_hip"] - 0.03 * upwards
        radii = (shoulders, 1.28 * hips, -0.014)
        self._add(start, end, radii, top, nearer=0.1, flatness=3.2, roundness=0.6)

    def _arms(self) -> None:
        top, skin, girth = self.look.outfit[0], self.look.skin, self.look.girth
        for side in ("left", "right"):
            names = ("shoulder", "elbow", "wrist", "hand")
            shoulder, elbow, wrist, hand = (self.joints[f"{side}_{part}"] for part in names)
            forearm = top if self.look.long_sleeves else skin
            self._add(shoulder, elbow, (0.04 * girth, 0.032 * girth), top, nearer=0.11)
            self._add(elbow, wrist, (0.029 * girth, 0.023), forearm, nearer=0.125)
            self._add(wrist, hand, (0.021, 0.022), skin, nearer=0.12)

    def _head(self) -> None:
        j, look = self.joints, self.look
        centre = (j["left_ear"] + j["right_ear"]) / 2
        front = j["nose"] - centre
        up = centre - j["neck"]
        up = up / np.linalg.norm(up, axis=1, keepdims=True) * self.scale
        self._add(j["neck"] - 0.02 * up, centre, (0.034, 0.03), look.skin, nearer=0.09)
        face = centre + 0.12 * front
        self._add(face - 0.04 * up, face + 0.03 * up, (0.043, 0.053), look.skin, nearer=0.12, roundness=0.5)
        crown = centre - 0.25 * front
        self._add(crown - 0.012 * up, crown + 0.045 * up, (0.056, 0.055), look.hair, nearer=0.12)
        fringe = centre + 0.2 * front + 0.066 * up
        self._add(fringe, crown + 0.06 * up, (0.034, 0.045), look.hair, nearer=0.18)
        if look.long_hair:
            tips = j["neck"] - 0.75 * front - 0.05 * up
            behind = 0.085 - front[:, 2] / self.scale  # over the back, but never in front of the chest
            self._add(centre - 0.45 * front, tips, (0.058, 0.045, 0.004), look.hair, nearer=behind)
        for side in ("left", "right"):
            eye = j[f"{side}_eye"]
            self._add(eye, eye, (0.0085, 0.0085), (44, 34, 34), nearer=0.1, roundness=0.0)

    def _scarf(self) -> None:
        """Add a wrap around the neck and two tails, front and back, that swing in the image plane."""
        colour, j = self.look.outfit[3], self.joints
        across = j["left_shoulder"] - j["right_shoulder"]
        across = across / np.linalg.norm(across, axis=1, keepdims=True) * self.scale
        upwards = (j["neck"] - j["mid_hip"]) / np.linalg.norm(j["neck"] - j["mid_hip"], axis=1, keepdims=True)
        forwards = np.cross(upwards, across)
        left, right = (j["neck"] + side * 0.03 * across for side in (1, -1))
        self._add(left, right, (0.032, 0.032), colour, nearer=0.155)
        for side, share in ((1, 1.0), (-1, 0.8)):
            knot = j["neck"] + side * (0.055 * forwards + 0.03 * across)
            middle = knot + 0.12 * self._hanging(0.6 * share * self.swing)
            self._add(knot, middle, (0.022, 0.024), colour, nearer=0.125)
            tip = middle + 0.12 * self._hanging(1.3 * share * self.swing)
            self._add(middle, tip, (0.024, 0.028), colour, nearer=0.125, flatness=1.5)

    def _hanging(self, angle: np.ndarray) -> np.ndarray:
        return self.scale * np.stack([np.sin(angle), np.cos(angle), 0 * angle], axis=1).astype(np.float32)
