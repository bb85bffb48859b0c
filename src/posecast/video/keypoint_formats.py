"""Frames of a clip in the keypoint files that other pose estimators and annotation tools write.

In: a JSON file of a whole clip, or a folder with a JSON file (OpenPose and others) or a text file (YOLO) per frame.
Out: `RawKeypoints`, with scale, confidences and numbering as in the files.
Next: `keypoint_people.py`, which reads one frame; `keypoint_files.py`, which interprets the result.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from posecast.errors import InputError
from posecast.video.keypoint_people import (
    EXPECTED,
    MAX_FRAME,
    POINT_KEYS,
    RawKeypoints,
    people_of,
    people_of_yolo,
    read_json,
)


def read_keypoints(path: Path) -> RawKeypoints:
    """Read the keypoints of a clip.

    Args:
        path: A folder with a file for each frame, or the JSON file of a clip.

    Raises:
        InputError: The files are missing, damaged, of several clips or of an unknown format.
    """
    raw = RawKeypoints(path)
    try:
        if path.is_dir():
            _read_folder(raw, path)
        else:
            _read_clip(raw, read_json(path), path)
    except (OSError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} holds unexpected values ({str(error)[:200]!r}); expected {EXPECTED}.") from error
    if not raw.people:
        raise InputError(f"{path} has no people with keypoints; expected {EXPECTED}.")
    return raw


# A folder with a file per frame -----------------------------------------------------------------------------------


def _read_folder(raw: RawKeypoints, folder: Path) -> None:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    openpose, jsons, texts = (
        [path for path in files if path.name.lower().endswith(suffix)]
        for suffix in ("_keypoints.json", ".json", ".txt")
    )
    if len(jsons) == 1 and not openpose:
        _read_clip(raw, read_json(jsons[0]), jsons[0])
    elif frames := _numbered(openpose) or _numbered(jsons):
        for number, path in frames:
            raw.add(number, people_of(raw, read_json(path), path), path, path.name)
    elif frames := _numbered(texts):
        for number, path in frames:
            raw.add(number, people_of_yolo(path), path, path.name)
        raw.is_complete = False  # without people there is no file
        if not any(re.search(r"(?<![0-9])0[0-9]*$", path.stem) for _, path in frames):
            raw.first = 1  # of a video YOLO counts frames from 1, without zeros before the number
    else:
        raise InputError(f"{folder} has no files such as clip_000000000000_keypoints.json; expected {EXPECTED}.")


def _numbered(files: list[Path]) -> list[tuple[int, Path]]:
    """Return frame numbers and files in order, without files that have no number; InputError if of several clips."""
    frames = [(number, path) for path in files if (number := frame_number(path.name)) is not None]
    clips = {_text_before_number(path.name): path.name for _, path in frames}
    if len(clips) > 1:
        raise InputError(
            f"{files[0].parent} holds files of {len(clips)} clips, such as {' and '.join(list(clips.values())[:2])}; "
            "expected one clip. Move the files of each clip to a folder of their own."
        )
    return sorted(frames)


def frame_number(name: Any) -> int | None:
    """Return the number of a frame: a whole number, or the last number in a name; None if there is none.

    >>> frame_number("clip_720p_000012_keypoints.json"), frame_number(7.0), frame_number("first.jpg")
    (12, 7, None)
    """
    if isinstance(name, str):
        digits = re.findall(r"[0-9]+", _stem(name))
        name = int(digits[-1]) if digits and len(digits[-1]) < 20 else None
    is_whole = isinstance(name, int | float) and not isinstance(name, bool) and name == name // 1
    return int(name) if is_whole and 0 <= name <= MAX_FRAME else None


def _text_before_number(name: str) -> str:
    return re.sub(r"[0-9]+[^0-9]*$", "", _stem(name))


def _stem(name: str) -> str:
    """Return a name without its ending, and without the digest that Roboflow appends."""
    return re.sub(r"\.[A-Za-z][A-Za-z0-9]*$", "", name.split(".rf.")[0])


# A JSON file of a clip --------------------------------------------------------------------------------------------


def _read_clip(raw: RawKeypoints, content: Any, path: Path) -> None:
    if isinstance(content, dict) and "annotations" in content:
        _read_coco(raw, content, path)
    elif isinstance(content, dict) and isinstance(content.get("instance_info"), list):  # MMPose's demonstrations
        _read_frames(raw, content["instance_info"], path)
        names = content.get("meta_info", {}).get("keypoint_id2name", {})
        raw.names = [names[index] for index in sorted(names, key=int)]
    elif isinstance(content, dict) and content and all(isinstance(frame, dict) for frame in content.values()):
        raw.is_complete = False  # AlphaPose with --format open or cmu
        for name, frame in content.items():
            raw.add(_known_number(name, path), people_of(raw, frame, path), path, name)
    elif isinstance(content, list):
        _read_frames(raw, content, path)
    else:
        raise InputError(f"{path} is not the file of a clip; expected {EXPECTED}.")


def _read_frames(raw: RawKeypoints, frames: list[Any], path: Path) -> None:
    """Read a list of people with image_id, of frames with frame_id, or of all frames in their order."""
    entries = [entry for entry in frames if isinstance(entry, dict)]
    if entries and all("image_id" in entry for entry in entries):  # results of COCO, AlphaPose
        raw.is_complete = False
        for entry in entries:
            raw.add(_known_number(entry["image_id"], path), people_of(raw, [entry], path), path, entry["image_id"])
    elif entries and all("frame_id" in entry for entry in entries):  # MMPose
        for index, entry in enumerate(entries):
            raw.add(_known_number(entry["frame_id"], path), people_of(raw, entry, path), path, f"entry {index}")
    elif any(set(entry) & set(POINT_KEYS) for entry in entries):
        raise InputError(f"{path} holds the people of one frame; expected {EXPECTED}.")
    else:  # DWPose, Ultralytics
        for number, frame in enumerate(frames):
            raw.add(number, people_of(raw, frame, path), path, number)


def _read_coco(raw: RawKeypoints, content: dict[str, Any], path: Path) -> None:
    """Read annotations; frames are numbered by the images' names, or by the order of their ids."""
    annotations = [entry for entry in content["annotations"] if isinstance(entry, dict) and "keypoints" in entry]
    images = content.get("images") or []
    numbers = _numbers_of_images(images, path)
    for image in images:
        raw.set_size(image.get("height"), image.get("width"), path)
    raw.is_complete = bool(images)
    raw.listed.update({number: image_id for image_id, number in numbers.items()})
    for annotation in annotations:
        image_id = annotation.get("image_id")
        number = numbers.get(image_id) if images else frame_number(image_id)
        if number is None:
            raise InputError(f"{path} has an annotation without a known image_id ({str(image_id)[:100]!r}).")
        feet = annotation.get("foot_kpts")  # COCO-WholeBody
        person = {"keypoints": [*annotation["keypoints"], *feet]} if feet and annotation["keypoints"] else annotation
        raw.add(number, people_of(raw, [person], path), path, image_id)
    categories = content.get("categories") or []
    names = [category["keypoints"] for category in categories if category.get("keypoints")]
    raw.names = names[0] if len(names) == 1 else []


def _numbers_of_images(images: list[dict[str, Any]], path: Path) -> dict[Any, int]:
    """Return the number of each image's frame by its id: of the names if each has its own, else the rank of the id."""
    names = {image["id"]: str(image.get("file_name")) for image in images}
    numbers = {image_id: number for image_id in names if (number := frame_number(names[image_id])) is not None}
    if len(set(numbers.values())) == len(names):
        return numbers
    clips = {_text_before_number(names[image_id]): names[image_id] for image_id in numbers}
    if len(numbers) == len(names) and len(clips) > 1:
        raise InputError(
            f"{path} has images of {len(clips)} clips, such as {' and '.join(list(clips.values())[:2])}; expected one."
        )
    return {image_id: rank for rank, image_id in enumerate(sorted(names))}


def _known_number(name: Any, path: Path) -> int:
    number = frame_number(name)
    if number is None:
        raise InputError(f"{path} has a frame without a number ({str(name)[:100]!r}); expected 12 or clip_12.jpg.")
    return number
