"""Graphs of a run with their description, checked against torch.

In: a predictor. Out: its graphs, whose metadata tell a program all that it needs, and parity.json beside them.
Next: `graphs.py` traces the networks, `parity.py` compares, `engine.py` keeps the graphs.
"""

from __future__ import annotations

import json
from pathlib import Path

import posecast
from posecast.data.pose_maps import JOINT_RADIUS, LIMB_OPACITY, LIMB_RADIUS, SKELETON
from posecast.export.graphs import write_graphs
from posecast.export.parity import Parity, measure_parity
from posecast.files import write_json
from posecast.model.checkpoint import digest_of
from posecast.model.onnx_rollout import PARITY, OnnxRollout
from posecast.model.predictor import Predictor
from posecast.model.priors import MOST_MEMORY, StationaryPrior

DRAWING = (
    "A pose map is white. First each limb is painted, in the order of the joints: a strip from parent to joint with "
    "the joint's colour, of the given opacity and radius. Then each joint is painted as an opaque disc. Radii are "
    "shares of the image height; edges are antialiased. Missing joints and their limbs are left out."
)


def write_checked(predictor: Predictor, folder: Path) -> Parity:
    """Write graphs and their parity into a folder that exists; the predictor computes in float32 from then on.

    Raises:
        InputError: The extra `export` is missing, or the graphs differ from torch by more than rounding.
    """
    predictor.in_bfloat16 = False
    write_graphs(predictor, folder, metadata(predictor))
    graphs = OnnxRollout(folder, predictor.latent_shape, predictor.pose_window, predictor.workers.count)
    parity = measure_parity(predictor, graphs)
    write_json(folder / PARITY, parity.as_json())
    return parity


def metadata(predictor: Predictor) -> dict[str, str]:
    """Return what a program needs to know about the graphs, as the metadata of an ONNX file: text, or JSON."""
    networks, prior = predictor.networks, predictor.networks.prior_of_z
    skeleton = [{"name": joint.name, "parent": joint.parent, "colour": joint.colour} for joint in SKELETON]
    content = {
        "posecast": posecast.__version__,
        "recipe": predictor.config.recipe,
        "weights": digest_of(predictor.state_dict()),
        "size": predictor.config.size,
        "pose_window": predictor.pose_window,
        "latent_shape": predictor.latent_shape,
        "memory_shape": networks.memory_shape,
        "reads_previous_frame": networks.feedback,
        "memories_in_frames": prior.memories().tolist() if isinstance(prior, StationaryPrior) else [],
        "longest_memory_in_frames": MOST_MEMORY,
        "skeleton": skeleton,
        "joint_radius": JOINT_RADIUS,
        "limb_radius": LIMB_RADIUS,
        "limb_opacity": LIMB_OPACITY,
        "drawing": DRAWING,
        "values": "images are float32 [rows, 3, H, W], RGB in [0, 1]; windows are the pose maps around a frame",
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}
