"""Puppet page: one HTML file in which a person drives a trained puppet, without a network.

In: a run, and footage of its person. Out: the page that `web/` builds, filled with graphs, photo and recorded dances.
Next: `video/puppet_footage.py`, which reads the footage of a data set; `web/src/content.ts`, which reads the page.
"""

from __future__ import annotations

import base64
import gzip
import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import posecast
from posecast.config.schema import parse_size
from posecast.data.clips import as_images, pose_windows
from posecast.data.pose_maps import SKELETON
from posecast.errors import InputError, printable
from posecast.export.checked_graphs import metadata
from posecast.export.engine import check_installed, is_installed, keep_graphs
from posecast.export.parity import Parity
from posecast.files import claim_file, write_bytes
from posecast.model.checkpoint import load_run
from posecast.model.onnx_rollout import GRAPHS
from posecast.model.predictor import Predictor

MAX_BYTES = 40 * 10**6
"""Largest page that is written."""
MAX_NAME = 80
MAX_DANCES = 16
MAX_SLIDERS = 6
LEAST_EFFECT = 0.1
"""Smallest effect of a channel of z that has a slider, as a share of the largest."""
BUILT_PAGE = "page.html.gz"
CONTENT = "<!-- content -->"
PLAIN = ("size", "recipe")
FROM_JSON = (
    "pose_window",
    "latent_shape",
    "memory_shape",
    "reads_previous_frame",
    "memories_in_frames",
    "skeleton",
    "joint_radius",
    "limb_radius",
    "limb_opacity",
)


@dataclass(frozen=True)
class RecordedDance:
    """Poses to play, as keypoints or else as pose maps.

    Attributes:
        name: Name in the list of dances.
        keypoints: x, y in pixels of the run's size, float32 `[T, J, 2]`, NaN for joints that are not drawn; or None.
        maps: Pose maps, uint8 `[T, H, W, 3]`, where there are no keypoints.
    """

    name: str
    keypoints: np.ndarray | None = field(repr=False)
    maps: np.ndarray | None = field(repr=False, default=None)

    def __len__(self) -> int:
        poses = self.keypoints if self.keypoints is not None else self.maps
        return 0 if poses is None else len(poses)


@dataclass(frozen=True)
class PuppetFootage:
    """Photo of the puppet's person, and dances.

    Attributes:
        photo: RGB, uint8 `[H, W, 3]`, of the run's size.
        photo_pose: Its pose map, likewise.
        joints: x, y in pixels that a user drags first, float32 `[J, 2]`, NaN for missing ones.
        joints_are_of_photo: Whether these are the joints of the photo; else they are those of a standing person.
        dances: Dances. The first one continues from the photo.
        fps: Frames per second at which they are played.
    """

    photo: np.ndarray = field(repr=False)
    photo_pose: np.ndarray = field(repr=False)
    joints: np.ndarray = field(repr=False)
    joints_are_of_photo: bool
    dances: Sequence[RecordedDance]
    fps: float


def export_page(run: Path, out: Path, footage: PuppetFootage, *, name: str, force: bool = False) -> tuple[Parity, int]:
    """Write a run as a page that opens from disk.

    Args:
        run: Folder of the run.
        out: The file to write, NAME.html.
        footage: Photo and dances of the run's size.
        name: Name of the puppet, shown as text.
        force: Whether a file there may be replaced.

    Returns:
        The parity of the graphs in the page, and the size of the page in bytes.

    Raises:
        InputError: The run cannot be read, the file may not be written, the extra or the built page is missing, the
            footage does not fit the run, the graphs differ from torch, or the page would be too large.
    """
    check_installed()
    check_page(out, name=name, force=force)
    page = built_page()
    predictor = load_run(run)
    content = page_content(predictor, footage, name)
    folder, parity = keep_graphs(predictor)
    graphs = {graph: (folder / f"{graph}.onnx").read_bytes() for graph in content["graphs"]}
    document = filled(page, content, graphs).encode()
    if len(document) > MAX_BYTES:
        raise InputError(
            f"The page would have {len(document) / 1e6:.0f} MB; expected at most {MAX_BYTES / 1e6:.0f}: train smaller "
            "networks, or export with --format onnx."
        )
    write_bytes(out, document)
    return parity, len(document)


def check_page(out: Path, *, name: str, force: bool) -> None:
    """Raise InputError if a page of this name cannot be written; for a refusal before long work."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"The page is called {printable(out.name)}; expected a file name that ends in .html.")
    if not 0 < len(name.strip()) <= MAX_NAME:
        raise InputError(f"The name has {len(name.strip())} characters; expected 1 to {MAX_NAME}: choose another.")
    claim_file(out, force=force)


def can_export_page() -> bool:
    """Return whether the extra `export` and the built page are there."""
    return is_installed() and importlib.resources.files("posecast.export").joinpath(BUILT_PAGE).is_file()


def built_page() -> str:
    """Return the page without content, as `web/` builds it.

    Raises:
        InputError: It was not built.
    """
    try:
        packed = importlib.resources.files("posecast.export").joinpath(BUILT_PAGE).read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            "The page is not built; run `make page` in a checkout of posecast (it needs Node 20), or install a wheel."
        ) from error
    return gzip.decompress(packed).decode()


def page_content(predictor: Predictor, footage: PuppetFootage, name: str) -> dict[str, Any]:
    """Return what a page shows as JSON values, but for the graphs themselves.

    Raises:
        InputError: The footage has another size than the run.
    """
    _check_footage(footage, parse_size(predictor.config.size))
    about = metadata(predictor)
    anchored = bool(predictor.networks.encode_anchor(*torch.zeros(2, 1, *_planes(predictor))))
    present = {"anchor": anchored, "begin": predictor.networks.memory_shape[0] > 0}
    return {
        "posecast": posecast.__version__,
        "name": printable(name.strip()),
        "about": {key: about[key] for key in PLAIN} | {key: json.loads(about[key]) for key in FROM_JSON},
        "fps": float(footage.fps),
        "photo": _packed(footage.photo, np.uint8),
        "photo_map": _packed(footage.photo_pose, np.uint8),
        "joints": _packed(footage.joints, np.float32),
        "joints_are_of_photo": footage.joints_are_of_photo,
        "dances": [_dance_content(dance) for dance in footage.dances],
        "channels": strongest_channels(predictor, footage.photo, footage.photo_pose),
        "graphs": [graph for graph in GRAPHS if present.get(graph, True)],
    }


def _check_footage(footage: PuppetFootage, size: tuple[int, int]) -> None:
    shapes = {footage.photo.shape, footage.photo_pose.shape}
    shapes |= {dance.maps.shape[1:] for dance in footage.dances if dance.maps is not None}
    if shapes != {(*size, 3)}:
        raise InputError(f"The footage has images of {sorted(shapes)}; expected {(*size, 3)}, the size of the run.")
    joints = {footage.joints.shape}
    joints |= {dance.keypoints.shape[1:] for dance in footage.dances if dance.keypoints is not None}
    if joints != {(len(SKELETON), 2)}:
        raise InputError(f"The footage has joints of {sorted(joints)}; expected {(len(SKELETON), 2)}.")
    if len(footage.dances) > MAX_DANCES or not all(len(dance) for dance in footage.dances):
        raise InputError(f"The footage has {len(footage.dances)} dances; expected at most {MAX_DANCES}, none empty.")
    if not 1 <= footage.fps <= 240:
        raise InputError(f"The footage has {footage.fps} frames per second; expected 1 to 240.")


def _dance_content(dance: RecordedDance) -> dict[str, Any]:
    return {
        "name": printable(dance.name),
        "frames": len(dance),
        "keypoints": None if dance.keypoints is None else _packed(dance.keypoints, np.float32),
        "maps": None if dance.keypoints is not None or dance.maps is None else _packed(dance.maps, np.uint8),
    }


@torch.no_grad()
def strongest_channels(predictor: Predictor, photo: np.ndarray, photo_pose: np.ndarray) -> list[int]:
    """Return the channels of z that change the picture of a photo's pose, the strongest first.

    Each channel is moved by one standard deviation of the prior in all its cells.

    Args:
        predictor: Predictor on the CPU.
        photo: RGB, uint8 `[H, W, 3]`.
        photo_pose: Its pose map, likewise.
    """
    networks, channels = predictor.networks, predictor.latent_shape[0]
    frame, pose = as_images(photo[None]), as_images(photo_pose[None])
    window = pose_windows(photo_pose[None], np.zeros(1, int), predictor.pose_window)
    condition = networks.encode_condition(window, networks.encode_anchor(frame, pose))
    previous = predictor.encode_previous(frame) if networks.feedback else ()
    prior, _ = networks.prior(previous, condition, networks.empty_memory(1, frame.device))
    moved = torch.zeros(channels + 1, channels)
    moved[1:] = torch.eye(channels)
    z = prior.mean + torch.exp(prior.log_variance / 2) * moved[:, :, None, None]
    rows = channels + 1
    frames = networks.decode(_repeated(previous, rows), _repeated(condition, rows), z)
    effects = (frames[1:] - frames[:1]).square().mean((1, 2, 3)).sqrt()
    order = effects.argsort(descending=True, stable=True).tolist()
    return [channel for channel in order if effects[channel] > LEAST_EFFECT * effects.max()][:MAX_SLIDERS]


def _repeated(features: tuple[torch.Tensor, ...], rows: int) -> tuple[torch.Tensor, ...]:
    return tuple(scale.expand(rows, -1, -1, -1).contiguous() for scale in features)


def _planes(predictor: Predictor) -> tuple[int, int, int]:
    return (3, *parse_size(predictor.config.size))


def filled(page: str, content: dict[str, Any], graphs: dict[str, bytes]) -> str:
    """Return a page with its content as JSON in which no text can end the block, and its graphs as base64 of gzip."""
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    blocks = [f'<script type="application/json" id="content">{text}</script>']
    blocks += [
        f'<script type="application/octet-stream" id="graph-{graph}">{_base64_of_gzip(values)}</script>'
        for graph, values in graphs.items()
    ]
    before, mark, after = page.partition(CONTENT)
    if not mark:
        raise InputError("The built page has no place for content; run `make page` again.")
    return before + "\n".join(blocks) + after


def _packed(values: np.ndarray, dtype: type[np.generic]) -> str:
    return _base64_of_gzip(np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<")).tobytes())


def _base64_of_gzip(values: bytes) -> str:
    return base64.b64encode(gzip.compress(values, 6, mtime=0)).decode()
