"""Tests of refusals: keypoint files that are damaged, of several clips, of another video or of unknown formats."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posecast.errors import InputError
from posecast.video import keypoint_people
from posecast.video.keypoint_files import Imported

from . import keypoint_writers as write

OPENPOSE, MMPOSE, RESULTS, ANNOTATIONS = (
    write.openpose(),
    write.mmpose(),
    write.coco_results(),
    write.coco_annotations(),
)
UNNAMED = write.coco_annotations(file_name=None)


def changed(writer: write.Writer, change: Callable[[Any], object]) -> write.Writer:
    """Write with a change of the content of one JSON file: of the clip, or of frame 3."""

    def written(folder: Path, frames: write.Frames) -> Path:
        path = writer(folder, frames)
        file = sorted(path.iterdir())[3] if path.is_dir() else path
        content = json.loads(file.read_text())
        change(content)
        write.dump(file, content)
        return path

    return written


def moved(writer: write.Writer, function: Callable[[np.ndarray], Any]) -> write.Writer:
    """Write with other positions of all joints."""
    return lambda folder, frames: writer(
        folder, [[np.column_stack([function(joints[:, :2]), joints[:, 2]]) for joints in people] for people in frames]
    )


def both(first: write.Writer, second: write.Writer) -> write.Writer:
    def written(folder: Path, frames: write.Frames) -> Path:
        first(folder, frames)
        return second(folder, frames)

    return written


def content(value: bytes, name: str = "keypoints.json") -> write.Writer:
    def written(folder: Path, frames: write.Frames) -> Path:
        folder.mkdir()
        (folder / name).write_bytes(value)
        return folder / name

    return written


REFUSED: dict[str, tuple[write.Writer, str]] = {
    "two clips of OpenPose": (both(OPENPOSE, write.openpose(name="other_{:012d}_keypoints.json")), "2 clips"),
    "two clips of YOLO": (both(write.yolo(), write.yolo("other_{}.txt")), "2 clips"),
    "two clips of MMPose": (
        both(write.mmpose_images, lambda f, p: write.per_frame(f, p, lambda _: [], "b{:05d}.json")),
        "2 clips",
    ),
    "two clips of COCO": (
        changed(
            ANNOTATIONS,
            lambda c: [image.update(file_name=f"c{k % 2}_{k // 2}") for k, image in enumerate(c["images"])],
        ),
        "2 clips",
    ),
    "a number twice": (both(write.yolo("a_{}.txt"), write.yolo("a_{:06d}.txt")), "two frames with the number 1"),
    "an image twice": (
        changed(write.alphapose(), lambda c: c[1].update(image_id="other_0.jpg")),
        "two frames with the number 0",
    ),
    "a frame_id twice": (changed(MMPOSE, lambda c: c[1].update(frame_id=0)), "two frames with the number 0"),
    "14 points": (write.coco_results(write.COCO[:14]), "14 points per person"),
    "5 points of a face": (write.coco_results(write.COCO[:5]), "5 points per person"),
    "21 points of a hand": (write.mmpose(write.HANDS[:21]), "21 points per person"),
    "17 points of Human3.6M": (write.mmpose(write.H36M_17), "not in the usual order"),
    "points in 3D": (
        changed(MMPOSE, lambda c: [p.append(1.0) for p in c[3]["instances"][0]["keypoints"]]),
        "not 3D",
    ),
    "another number of points": (
        changed(OPENPOSE, lambda c: c["people"][0].update(pose_keypoints_2d=[0.5] * 54)),
        "18 points, others have 25",
    ),
    "a pair of numbers": (
        changed(OPENPOSE, lambda c: c["people"][0].update(pose_keypoints_2d=[1, 2])),
        "no triples of numbers",
    ),
    "words": (changed(OPENPOSE, lambda c: c["people"][0].update(pose_keypoints_2d=["a", 2, 3])), "no triples"),
    "a word as points": (changed(RESULTS, lambda c: c[0].update(keypoints="abc")), "no triples"),
    "objects as points": (changed(RESULTS, lambda c: c[0].update(keypoints=[{}, {}, {}])), "no triples"),
    "lists of different lengths": (
        changed(write.ultralytics(), lambda c: c[3][0]["keypoints"]["x"].pop()),
        "no triples",
    ),
    "scores of another length": (
        changed(MMPOSE, lambda c: c[3]["instances"][0]["keypoint_scores"].pop()),
        "no triples",
    ),
    "people that are a number": (changed(OPENPOSE, lambda c: c.update(people=3)), "without a list of people"),
    "a person without keypoints": (changed(OPENPOSE, lambda c: c.update(people=[{}])), "without keypoints"),
    "boxes of Ultralytics": (
        changed(write.ultralytics(), lambda c: [d.pop("keypoints") for frame in c for d in frame]),
        "without keypoints",
    ),
    "boxes of YOLO": (content(b"0 0.5 0.5 0.2 0.4 0.9\n", "clip_1.txt"), "cannot be read as JSON"),
    "people of one frame": (
        lambda folder, frames: min(write.mmpose_images(folder, frames).iterdir()),
        "the people of one frame",
    ),
    "one file of OpenPose": (
        lambda folder, frames: min(OPENPOSE(folder, frames).iterdir()),
        "not the file of a clip",
    ),
    "an unknown image": (
        changed(ANNOTATIONS, lambda c: c["annotations"][0].update(image_id=99)),
        "without a known image_id",
    ),
    "an image without a number": (
        changed(RESULTS, lambda c: c[0].update(image_id="x")),
        "without a number",
    ),
    "a negative number": (changed(RESULTS, lambda c: c[0].update(image_id=-1)), "without a number"),
    "half a number": (changed(MMPOSE, lambda c: c[0].update(frame_id=0.5)), "without a number"),
    "a gigantic number": (changed(RESULTS, lambda c: c[0].update(image_id=10**40)), "without a number"),
    "a list as id": (
        changed(ANNOTATIONS, lambda c: c["annotations"][0].update(image_id=[1])),
        "unexpected",
    ),
    "images of two sizes": (
        changed(ANNOTATIONS, lambda c: c["images"][0].update(width=99)),
        "different sizes",
    ),
    "images of other proportions": (
        changed(ANNOTATIONS, lambda c: [image.update(width=96) for image in c["images"]]),
        "expected the same proportions",
    ),
    "images turned": (
        changed(ANNOTATIONS, lambda c: [i.update(width=96, height=160) for i in c["images"]]),
        "expected the same proportions",
    ),
    "frames of another video": (
        write.coco_results(number=lambda k: k + 5000),
        "5000 to 5011, but the video has 12",
    ),
    "keypoints of a larger video": (moved(OPENPOSE, lambda p: 4 * p), "outside the video's frame of 160 x 96"),
    "a shifted scale": (moved(MMPOSE, lambda p: p / (160, 96) - 0.35), "0 to 1 or of -1 to 1"),
    "confidences above 100": (write.coco_results(score=lambda value: 1000 * value), "out of range"),
    "coordinates out of range": (
        changed(RESULTS, lambda c: c[0]["keypoints"].insert(0, 1e30) or c[0]["keypoints"].pop()),
        "out of range",
    ),
    "nobody": (changed(RESULTS, list.clear), "no people with keypoints"),
    "empty frames only": (
        lambda folder, frames: OPENPOSE(folder, [[] for _ in frames]),
        "no people with keypoints",
    ),
    "unsure confidences": (write.coco_results(score=lambda value: 0.3 * value), "up to 0.27 only; expected 0.5"),
    "unsure confidences of OpenPose": (
        lambda folder, frames: write.openpose()(folder, write.dancer(confidence=0.06)),
        "up to 0.06 only; expected 0.1",
    ),
    "confidences of 0 only": (
        write.coco_results(score=lambda value: 0.0),
        "confidences up to 0 only; expected 0.5 and more",
    ),
    "an empty file": (content(b""), "cannot be read as JSON"),
    "half a file": (content(b'[{"image_id": 1, "keyp'), "cannot be read as JSON"),
    "deep nesting": (content(b"[" * 100_000), "cannot be read as JSON"),
    "deep nesting of points": (
        content(b'[{"image_id": 0, "keypoints": ' + b"[" * 90 + b"]" * 90 + b"}]"),
        "no triples|not 3D",
    ),
    "a number of 5000 digits": (content(b"[" + b"9" * 5000 + b"]"), "cannot be read as JSON"),
    "a pickle": (content(b"\x80\x04\x95\x1a\x00\x00", "poses.pkl"), "cannot be read as JSON"),
    "an archive": (content(b"PK\x03\x04\x14\x00\x00", "poses.npz"), "cannot be read as JSON"),
    "a table": (content(b"frame,nose_x,nose_y\n0,1,2\n", "poses.csv"), "cannot be read as JSON"),
    "a number": (content(b"3"), "not the file of a clip"),
    "an empty object": (content(b"{}"), "not the file of a clip"),
    "a list of numbers": (content(b"[3]"), "without a list of people"),
    "annotations that are a number": (content(b'{"annotations": 3}'), "unexpected values"),
    "categories that are words": (
        changed(ANNOTATIONS, lambda c: c.update(categories=["person"])),
        "unexpected values",
    ),
    "ids of different kinds": (
        changed(UNNAMED, lambda c: c["images"][0].update(id="a")),
        "unexpected",
    ),
    "nothing": (lambda folder, frames: folder / "none.json", "There is no file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals_name_the_file_and_the_reason(kind: str, dancer_clip: Path, tmp_path: Path) -> None:
    writer, reason = REFUSED[kind]
    with pytest.raises(InputError, match=reason) as caught:
        Imported(writer(tmp_path / "keypoints", write.dancer()), dancer_clip)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value)) < 900


def test_folder_without_keypoints_and_labels_without_points(dancer_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no files such as"):
        Imported(tmp_path, dancer_clip)
    (tmp_path / "clip_1.txt").write_text("0 0.5 0.5 0.2 0.4 0.9\n")
    with pytest.raises(InputError, match=r"Line 1 of .*clip_1\.txt has 6 values; expected those of a YOLO pose model"):
        Imported(tmp_path, dancer_clip)


def test_too_large_files_are_refused(dancer_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = RESULTS(tmp_path, write.dancer())
    monkeypatch.setattr(keypoint_people, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="Split the video"):
        Imported(path, dancer_clip)
