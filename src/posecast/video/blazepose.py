"""BlazePose, the estimator of `posecast extract`, by MediaPipe (the extra `posecast[video]`).

In: RGB frames, uint8 `[H, W, 3]`. Out: `Person`s. MediaPipe is imported when a `BlazePose` is made.
Next: `tracker.py`, which follows one person through a video.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from posecast.data.pose_maps import JOINT_INDEX, SKELETON
from posecast.errors import InputError
from posecast.video.pose_estimation import MIDDLE_JOINTS, Person, Region, midpoint, without_duplicates

_LANDMARKS_OF_JOINTS = {
    "nose": 0,
    **{f"{side}_{part}": index + (side == "right") * step
       for part, index, step in (
           ("eye", 2, 3), ("ear", 7, 1), ("shoulder", 11, 1), ("elbow", 13, 1), ("wrist", 15, 1), ("hand", 19, 1),
           ("hip", 23, 1), ("knee", 25, 1), ("ankle", 27, 1), ("heel", 29, 1), ("toe", 31, 1))
       for side in ("left", "right")},
}  # fmt: skip
"""Index of BlazePose's landmark for each joint; the hand is the index finger's first joint."""

_DETECTION_GRAPH = """
input_stream: "image"
output_stream: "detections"
node { calculator: "PoseDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:detections" }
"""
_LANDMARK_GRAPH = """
input_stream: "image"
input_stream: "region"
output_stream: "landmarks"
output_stream: "frame_of_body"
node {
  calculator: "ConstantSidePacketCalculator" output_side_packet: "PACKET:complexity"
  options: { [mediapipe.ConstantSidePacketCalculatorOptions.ext]: { packet { int_value: 1 } } }
}
node {
  calculator: "PoseLandmarkByRoiCpu" input_side_packet: "MODEL_COMPLEXITY:complexity"
  input_stream: "IMAGE:image" input_stream: "ROI:region"
  output_stream: "LANDMARKS:landmarks" output_stream: "AUXILIARY_LANDMARKS:frame_of_body"
}
"""
_REGION_PER_RADIUS = 2.5
"""Side of a region divided by the distance from mid-hip to the circle around the body, as in MediaPipe."""


class BlazePose:
    """BlazePose `full` (Bazarevsky et al. 2020, https://arxiv.org/abs/2006.10204).

    MediaPipe's `Pose` selects one person and tracks them with internal state. Here its two networks are called
    separately: the detector, which finds several people, and the landmark network for one region. So the caller
    selects the person, and the result for a frame depends only on the frame and the region.

    Raises:
        InputError: MediaPipe is not installed.
    """

    def __init__(self) -> None:
        library = _mediapipe()
        self.name = f"mediapipe {library.__version__} BlazePose full"
        self._getter, self._creator, self._formats = library.packet_getter, library.packet_creator, library.ImageFormat
        self._region_type = importlib.import_module("mediapipe.framework.formats.rect_pb2").NormalizedRect
        with _muted_stderr():
            self._detection = _Graph(library, _DETECTION_GRAPH, "detections")
            self._landmarks = _Graph(library, _LANDMARK_GRAPH, "landmarks", "frame_of_body")
            blank = np.zeros((8, 8, 3), np.uint8)  # the networks are loaded, and log, with the first frame
            self._detect(blank)
            self._pose(blank, Region(4, 4, 8, 0))

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        """Find all people; see `Estimator`.

        The detector's input has 224 x 224 pixels, so that small people are found only in parts of the frame.
        """
        people = []
        for left, top, width, height in _windows(frame.shape[0], frame.shape[1], closely):
            window = frame[top : top + height, left : left + width]
            for region in self._detect(window):
                person = self._pose(frame, region._replace(x=region.x + left, y=region.y + top))
                if person is not None:
                    people.append(person)
        return without_duplicates(people)

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        """Find a person in the region of the previous frame; see `Estimator`."""
        return self._pose(frame, last.region)

    def _detect(self, window: np.ndarray) -> list[Region]:
        """Return the regions of the people in a part of a frame, in its pixels."""
        (packet,) = self._detection(image=self._image(window))
        height, width = window.shape[:2]
        regions = []
        for detection in [] if packet.is_empty() else self._getter.get_proto_list(packet):
            points = detection.location_data.relative_keypoints
            regions.append(_region(points[0], points[1], width, height))
        return regions

    def _pose(self, frame: np.ndarray, region: Region) -> Person | None:
        """Return the person in a region, or None."""
        height, width = frame.shape[:2]
        rectangle = self._region_type(
            x_center=region.x / width,
            y_center=region.y / height,
            width=region.side / width,
            height=region.side / height,
            rotation=region.angle,
        )
        proto = self._creator.create_proto(rectangle)
        packet, body_packet = self._landmarks(image=self._image(frame), region=proto)
        if packet.is_empty():
            return None
        landmarks = self._getter.get_proto(packet).landmark
        points = np.array([(m.x * width, m.y * height, m.visibility) for m in landmarks], np.float32)
        outside = (points[:, :2] < 0).any(1) | (points[:, :2] > (width, height)).any(1)
        points[outside, 2] = 0.0  # joints outside the frame are guesses, whatever their confidence
        ends = self._getter.get_proto(body_packet).landmark
        return Person(_keypoints(points), _region(ends[0], ends[1], width, height))

    def _image(self, frame: np.ndarray) -> Any:
        return self._creator.create_image_frame(image_format=self._formats.SRGB, data=np.ascontiguousarray(frame))


class _Graph:
    """MediaPipe graph that is called with the packets of one frame and returns its output packets."""

    def __init__(self, library: Any, text: str, *outputs: str) -> None:
        self._graph = library.CalculatorGraph(graph_config=text)
        self._packets: dict[str, Any] = {}
        for name in outputs:
            self._graph.observe_output_stream(name, self._packets.__setitem__, True)
        self._outputs, self._time = outputs, 0
        self._graph.start_run()

    def __call__(self, **packets: Any) -> list[Any]:
        self._time += 1
        for name, packet in packets.items():
            self._graph.add_packet_to_input_stream(name, packet.at(self._time))
        self._graph.wait_until_idle()
        return [self._packets[name] for name in self._outputs]


def _mediapipe() -> Any:
    """Import MediaPipe, or raise InputError."""
    try:
        with warnings.catch_warnings(), _muted_stderr():
            warnings.simplefilter("ignore")  # its protobuf code is older than protobuf
            library = importlib.import_module("mediapipe")
            bindings = importlib.import_module("mediapipe.python._framework_bindings")
    except ImportError as error:
        if getattr(error, "name", None) != "mediapipe":
            raise InputError(
                f"MediaPipe is installed but cannot be loaded: {error}. Install what is missing (on Debian and Ubuntu, "
                "libGL.so.1 is in the package libgl1), or give keypoints of another estimator with --keypoints."
            ) from error
        raise InputError(
            f"Pose estimation needs MediaPipe, and this Python {platform.python_version()} has none: with Python 3.11 "
            "or 3.12, pip install 'posecast[video]' (MediaPipe 0.10.21 exists neither for newer versions nor for Linux "
            "on ARM); or give keypoints of another estimator with --keypoints."
        ) from error
    bindings.resource_util.set_resource_dir(str(Path(str(library.__file__)).parents[1]))
    return library


@contextlib.contextmanager
def _muted_stderr() -> Iterator[None]:
    """Discard stderr, to which MediaPipe's C++ code writes log messages directly."""
    sys.stderr.flush()
    original, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(null)


def _region(middle: Any, edge: Any, width: int, height: int) -> Region:
    """Return a region from mid-hip and a point above the head on the circle around the body, in shares of the frame."""
    x, y = middle.x * width, middle.y * height
    right, up = edge.x * width - x, y - edge.y * height
    return Region(x, y, _REGION_PER_RADIUS * math.hypot(right, up), math.atan2(right, up))


def _keypoints(points: np.ndarray) -> np.ndarray:
    """Convert BlazePose's landmarks `[33, 3]` to the joints of `SKELETON`, `[J, 3]`."""
    keypoints = np.empty((len(SKELETON), 3), np.float32)
    for joint, landmark in _LANDMARKS_OF_JOINTS.items():
        keypoints[JOINT_INDEX[joint]] = points[landmark]
    for joint, ends in MIDDLE_JOINTS.items():
        keypoints[JOINT_INDEX[joint]] = midpoint(keypoints[[JOINT_INDEX[end] for end in ends]])
    return keypoints


def _windows(height: int, width: int, closely: bool) -> list[tuple[int, int, int, int]]:
    """Return the parts of a frame to search, as left, top, width and height.

    The first is the whole frame; a close search adds overlapping squares of two sizes.
    """
    windows = [(0, 0, width, height)]
    short = min(height, width)
    for side in (short, short // 2) if closely else ():
        lefts, tops = (_starts(length, side) for length in (width, height))
        windows += [(left, top, side, side) for top in tops for left in lefts]
    return windows


def _starts(length: int, side: int) -> list[int]:
    """Return the positions of windows that cover a length and overlap by at least half."""
    count = 1 + math.ceil(max(0, length - side) / (side / 2))
    return np.linspace(0, length - side, count).round().astype(int).tolist()
