"""Tests of imported keypoints: scales, confidences, frame numbers, and remarks on assumptions."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from posecast.data.dancer.dance import dance
from posecast.data.pose_maps import JOINT_INDEX
from posecast.video.extract import Extraction, extract
from posecast.video.keypoint_files import MAX_PEOPLE, Imported
from posecast.video.writer import open_writer

from . import keypoint_writers as write

FRAME = np.zeros((*write.SIZE, 3), np.uint8)


def test_middle_joints_are_interpolated_and_missing_ones_are_unsure(dancer_clip: Path, tmp_path: Path) -> None:
    path = write.coco_annotations()(tmp_path, write.dancer())
    (person,) = Imported(path, dancer_clip).everybody(FRAME, 0, closely=False)
    ends = person.keypoints[[JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]]
    np.testing.assert_allclose(person.keypoints[JOINT_INDEX["mid_hip"]], ends.mean(0), rtol=1e-6)
    assert person.keypoints[JOINT_INDEX["left_hand"], 2] == 0
    path = write.coco_results(write.WHOLEBODY_133)(tmp_path, write.dancer())
    (person,) = Imported(path, dancer_clip).everybody(FRAME, 0, closely=False)
    assert person.keypoints[JOINT_INDEX["left_hand"], 2] > 0.5


# Confidences ------------------------------------------------------------------------------------------------------


def with_nose(writer: write.Writer, confidence: float | None, others: float = 0.9) -> write.Writer:
    """Write with another confidence of one nose, in frame 3."""

    def written(folder: Path, frames: write.Frames) -> Path:
        changed = write.dancer(confidence=others)
        changed[3][0][JOINT_INDEX["nose"], 2] = confidence
        return writer(folder, changed)

    return written


@pytest.mark.parametrize(
    ("writer", "in_file", "others", "expected", "expected_others"),
    [
        (write.coco_results(), 1.02, 0.9, 1.0, 0.9),
        (write.coco_results(), -0.03, 0.9, 0.0, 0.9),
        (write.coco_results(), 2.0, 1.0, 1.0, 0.5),  # flags: visible and hidden
        (write.coco_results(), 0.0, 2.0, 0.0, 1.0),
        (write.coco_results(), 1.0, 2.0, 0.5, 1.0),
        (write.coco_results(), 2.0, 0.9, 1.0, 0.9),  # scores, since not all are 0, 1 or 2
        (write.coco_results(), 35.0, 90.0, 0.35, 0.9),
        (write.coco_results(), 100.4, 90.0, 1.0, 0.9),
        (write.coco_results(), 35.0, 0.9, 1.0, 0.9),
        (write.mmpose(), 1.09, 0.87, 1.0, 0.87),
        (write.mmpose(), 0.3, 6.0, 0.3, 1.0),
        (write.openpose(), 0.05, 0.4, 0.25, 1.0),
        (write.openpose(), 1.02, 0.08, 1.0, 0.4),
    ],
)
def test_confidences_are_interpreted_once_for_the_whole_file(
    writer: write.Writer,
    in_file: float,
    others: float,
    expected: float,
    expected_others: float,
    dancer_clip: Path,
    tmp_path: Path,
) -> None:
    estimator = Imported(with_nose(writer, in_file, others)(tmp_path, []), dancer_clip)
    for number in range(write.NUM):
        (person,) = estimator.everybody(FRAME, number, closely=False)
        nose, eye = person.keypoints[[JOINT_INDEX["nose"], JOINT_INDEX["left_eye"]], 2]
        assert nose == pytest.approx(expected if number == 3 else expected_others)
        assert eye == pytest.approx(expected_others)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "NaN"])
def test_values_that_are_no_numbers_are_missing_joints(value: object, dancer_clip: Path, tmp_path: Path) -> None:
    path = write.coco_results()(tmp_path, write.dancer())
    content = json.loads(path.read_text())
    content[2]["keypoints"][0] = value
    content[3]["keypoints"][2] = value
    write.dump(path, content)
    estimator = Imported(path, dancer_clip)
    for number, expected in ((1, 0.9), (2, 0), (3, 0), (4, 0.9)):
        (person,) = estimator.everybody(FRAME, number, closely=False)
        assert person.keypoints[JOINT_INDEX["nose"], 2] == pytest.approx(expected)


# People and frames -----------------------------------------------------------------------------------------------


def test_box_of_a_nearly_hidden_person_leaves_out_missing_joints(dancer_clip: Path, tmp_path: Path) -> None:
    frames = write.dancer()
    frames[4][0][[k for name, k in JOINT_INDEX.items() if name not in ("nose", "left_eye")], 2] = 0
    (person,) = Imported(write.openpose()(tmp_path, frames), dancer_clip).everybody(FRAME, 4, closely=False)
    assert (person.box[:2] > 10).all()


def test_the_most_confident_people_of_a_crowd_are_kept(dancer_clip: Path, tmp_path: Path) -> None:
    frames = write.dancer()
    grid = [(column, row, 0) for row in range(4, 84, 8) for column in range(5, 155, 5)]
    frames[0] = [frames[0][0] * [0.03, 0.05, 0.7 + 0.001 * k] + offset for k, offset in enumerate(grid)]
    people = Imported(write.coco_results()(tmp_path, frames), dancer_clip).everybody(FRAME, 0, closely=False)
    assert (len(grid), len(people)) == (300, MAX_PEOPLE)
    assert min(person.confidence for person in people) == pytest.approx(0.9 * 0.9, abs=1e-3)


def test_person_is_found_again_by_overlap(dancer_clip: Path, tmp_path: Path) -> None:
    frames = write.dancer()
    for people in frames:
        people.append(people[0] * [0.4, 0.4, 1])
    estimator = Imported(write.openpose()(tmp_path, frames), dancer_clip)
    small = min(estimator.everybody(FRAME, 0, closely=True), key=lambda person: person.height)
    again = estimator.again(FRAME, 1, small)
    assert again is not None
    assert again.height == pytest.approx(small.height, rel=0.3)
    assert estimator.again(FRAME, write.NUM, small) is None


def test_every_third_frame_keeps_its_number(dancer_clip: Path, tmp_path: Path) -> None:
    frames = [people if number % 3 == 0 else [] for number, people in enumerate(write.dancer())]
    for k, writer in enumerate((write.coco_results(), write.alphapose(), write.yolo())):
        estimator = Imported(writer(tmp_path / str(k), frames), dancer_clip)
        present = [bool(estimator.everybody(FRAME, number, closely=False)) for number in range(write.NUM)]
        assert present == [number % 3 == 0 for number in range(write.NUM)]
    path = write.coco_annotations()(tmp_path / "all", write.dancer())
    content = json.loads(path.read_text())
    content["images"], content["annotations"] = content["images"][::3], content["annotations"][::3]
    write.dump(path, content)
    estimator = Imported(path, dancer_clip)
    assert [number for number in range(write.NUM) if estimator.everybody(FRAME, number, closely=False)] == [0, 3, 6, 9]


def test_name_changes_with_the_content(dancer_clip: Path, tmp_path: Path) -> None:
    """An extraction that was interrupted, or is repeated, must not continue with other keypoints."""
    frames = write.dancer()
    names = {Imported(write.coco_results()(tmp_path, frames), dancer_clip).name for _ in range(2)}
    frames[0][0][JOINT_INDEX["nose"], 0] += 1
    names.add(Imported(write.coco_results()(tmp_path, frames), dancer_clip).name)
    assert len(names) == 2


# Remarks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("writer", "expected"),
    [
        (write.openpose(), []),
        (write.coco_annotations(), []),
        (write.coco_annotations(enlarged=2.0), []),
        (write.mmpose(factor=1.1), []),
        (write.alphapose(), []),
        (write.dwpose(), []),
        (write.yolo(), ["taken for 0 to 1"]),
        (write.openpose(scale=3), ["taken for 0 to 1"]),
        (write.openpose(scale=4), ["taken for -1 to 1"]),
        (write.openpose(first=1), ["numbered 1 to 12; 1 is taken for the first"]),
        (write.openpose(first=631), ["numbered 631 to 642; 631 is taken for the first"]),
        (
            write.coco_results(number=lambda k: k + 5),
            ["go up to 16, 5 beyond the end of the video, which has 12 frames"],
        ),
        (write.coco_results(number=lambda k: k + 1), ["numbered from 1; 1 is taken for the video's first frame"]),
        (write.coco_results(score=lambda value: 100 * value), ["go up to 90 and are taken for percentages"]),
        (write.mmpose(factor=8.0), ["go up to 7.2; joints of 0.5 and more are used"]),
        (with_nose(write.coco_results(), 0.9, others=0.3), ["only 0 % of the joints are sure"]),
    ],
)
def test_assumptions_are_stated(writer: write.Writer, expected: list[str], dancer_clip: Path, tmp_path: Path) -> None:
    remarks = Imported(writer(tmp_path / "keypoints", write.dancer()), dancer_clip).remarks
    assert len(remarks) == len(expected), remarks
    for remark, part in zip(remarks, expected, strict=True):
        assert part in remark


@pytest.mark.parametrize(
    ("kept", "writer", "expected"),
    [
        (slice(1, 9), write.coco_results(), "no frame has the number 0; numbers are taken to count from 0"),
        (slice(0, 8), write.openpose(), "the keypoints end with frame 7, but the video has 12 frames"),
        (slice(0, 8), write.openpose(first=1), "numbered from 1; 1 is taken for the video's first frame"),
        (slice(0, 8), write.mmpose_demo(), "numbered from 1; 1 is taken for the video's first frame"),
    ],
)
def test_missing_frames_are_stated(
    kept: slice, writer: write.Writer, expected: str, dancer_clip: Path, tmp_path: Path
) -> None:
    frames = [people if number in range(*kept.indices(99)) else [] for number, people in enumerate(write.dancer())]
    if kept.start == 0:
        frames = frames[kept]
    assert any(expected in remark for remark in Imported(writer(tmp_path / "keypoints", frames), dancer_clip).remarks)


def test_keypoints_of_a_smaller_video_are_noticed(dancer_clip: Path, tmp_path: Path) -> None:
    frames = [[people[0] * [0.5, 0.5, 1]] for people in write.dancer()]
    (remark,) = Imported(write.openpose()(tmp_path, frames), dancer_clip).remarks
    assert "upper left quarter" in remark


def test_remarks_reach_the_user(dancer_clip: Path, tmp_path: Path) -> None:
    estimator = Imported(write.openpose(scale=3)(tmp_path / "keypoints", write.dancer()), dancer_clip)
    extracted = extract([dancer_clip], tmp_path / "out", Extraction(size=(32, 32)), estimator=estimator)
    messages = {finding.kind: finding.message for finding in extracted.remarks}
    assert messages["keypoints"].startswith("clip.mp4: in the keypoints, the coordinates are taken for 0 to 1")
    assert "small person" not in messages


def wide_pixels(path: Path) -> None:
    """Write a video whose pixels are 4/3 as wide as high: 120 x 96 are stored, 160 x 96 shown."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 120, 96, "yuv420p"
        stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for frame in dance(write.NUM, seed=1, size=write.SIZE).recording.frames:
            narrow = np.asarray(Image.fromarray(frame).resize((120, 96)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(narrow, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("writer", [write.coco_results(), write.coco_annotations()])
def test_pixels_of_a_video_with_wide_pixels(writer: write.Writer, stored: bool, tmp_path: Path) -> None:
    """Other estimators see the pixels as stored; the size of COCO's images shows if they saw square ones."""
    wide_pixels(tmp_path / "wide.mp4")
    frames = write.dancer()
    path = writer(tmp_path, frames)
    if stored:
        path = writer(tmp_path, [[people[0] * [0.75, 1, 1]] for people in frames])
        content = json.loads(path.read_text())
        for image in content.get("images", []) if isinstance(content, dict) else []:
            image["width"] = 120
        write.dump(path, content)
    estimator = Imported(path, tmp_path / "wide.mp4")
    factor = 1 if stored or isinstance(json.loads(path.read_text()), dict) else 4 / 3
    nose = JOINT_INDEX["nose"]
    for number, people in enumerate(frames):
        (person,) = estimator.everybody(FRAME, number, closely=False)
        np.testing.assert_allclose(person.keypoints[nose, :2], people[0][nose, :2] * [factor, 1], atol=0.02)


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".avi", ".ts", ".gif"])
def test_frames_are_counted_in_all_containers(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip{suffix}"
    if suffix == ".gif":
        with open_writer(path, fps=20) as writer:
            for frame in dance(write.NUM, seed=1, size=write.SIZE).recording.frames:
                writer.write(frame)
    else:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libvpx" if suffix == ".webm" else "mpeg4", rate=20)
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            for frame in dance(write.NUM, seed=1, size=write.SIZE).recording.frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    results = write.coco_results(number=lambda k: k + 1)(tmp_path, write.dancer())
    (remark,) = Imported(results, path).remarks
    assert "1 is taken for the video's first frame" in remark


@pytest.mark.long
def test_a_hundred_thousand_frames(dancer_clip: Path, tmp_path: Path) -> None:
    frames = write.dancer() * 8334
    path = write.coco_results(write.HALPE_26)(tmp_path, frames)
    (remark,) = Imported(path, dancer_clip).remarks
    assert "99996 beyond the end" in remark
