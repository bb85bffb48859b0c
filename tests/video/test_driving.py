"""Tests of reading poses to follow and photos: sources, fitting, windows, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from posecast.data.dancer.dance import dance
from posecast.data.images import write_png
from posecast.data.pose_maps import JOINT_INDEX, SKELETON, draw_pose_maps
from posecast.data.recordings import Recording
from posecast.errors import InputError
from posecast.video.driving import TRANSITION_FRAMES, photo_window, pose_map_beside, read_drive
from posecast.video.extract import Extraction, extract
from posecast.video.extracted_poses import read_poses
from posecast.video.generate_request import GenerateRequest
from posecast.video.pose_estimation import Person, Region
from posecast.video.retargeting import BodyProportions, body_of_footage, measure_body
from posecast.video.writer import open_writer

DRIVER = dance(24, seed=2, size=(96, 160))
SIZE = (32, 64)


class Truth:
    """Estimator that returns the driver's true keypoints, scaled to the height of the frame."""

    name = "truth"

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        scale = frame.shape[0] / 96
        points = DRIVER.keypoints[number, :, :2] * scale
        return [Person(np.concatenate([points, np.ones((25, 1))], 1).astype(np.float32), Region(0, 0, 0, 0))]

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        return self.everybody(frame, number, closely=False)[0]


def body() -> BodyProportions:
    trained = dance(60, seed=5, size=SIZE)
    points = np.concatenate([trained.keypoints[..., :2] / SIZE[0], np.ones((60, 25, 1))], axis=2)
    return measure_body(points)


def unneeded_body() -> BodyProportions:
    raise AssertionError("the proportions are not needed")


def request(first_frame: Path, poses: Path, **options: Any) -> GenerateRequest:
    return GenerateRequest(first_frame=first_frame, poses=poses, out=Path("unused.gif"), **options)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    with open_writer(tmp_path / "driver.mp4", fps=12.0) as writer:
        for frame in DRIVER.recording.frames:
            writer.write(frame)
    return tmp_path / "driver.mp4"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a frame of a data set, which has a pose map beside it."""
    trained = dance(4, seed=5, size=SIZE).recording
    write_png(tmp_path / "data" / "val" / "val_img" / "frame000007.png", trained.frames[0])
    write_png(tmp_path / "data" / "val" / "val_label" / "frame000007.png", trained.poses[0])
    return tmp_path / "data" / "val" / "val_img" / "frame000007.png"


def heights(maps: np.ndarray) -> np.ndarray:
    """Return the height of the drawing on each map, as a share of the image's height."""
    rows = [np.flatnonzero((pose_map < 200).any((1, 2))) for pose_map in maps]
    return np.array([(drawn[-1] + 1 - drawn[0]) / maps.shape[1] for drawn in rows])


def test_folder_of_pose_maps_is_used_unchanged(photo: Path) -> None:
    for k, pose in enumerate(dance(4, seed=5, size=SIZE).recording.poses):
        write_png(photo.parents[1] / "val_label" / f"frame{7 + k:06d}.png", pose)
    drive = read_drive(request(photo, photo.parents[1] / "val_label"), SIZE, unneeded_body)
    assert list(drive.names) == ["frame000007", "frame000008", "frame000009", "frame000010"]
    np.testing.assert_array_equal(drive.poses, dance(4, seed=5, size=SIZE).recording.poses)
    assert drive.fps is None
    with pytest.raises(InputError, match="--first-pose"):
        read_drive(request(photo, photo.parents[1] / "val_label", first_pose=photo), SIZE, unneeded_body)


def test_driver_of_a_video_gets_the_trained_persons_size(video: Path, photo: Path) -> None:
    drive = read_drive(request(photo, video), SIZE, body, estimator=Truth())
    assert drive.poses.shape == (1 + TRANSITION_FRAMES + 24, *SIZE, 3)
    assert (len(drive.names), drive.num_unseen) == (24, 1 + TRANSITION_FRAMES)
    assert (drive.poses[1 : 2 + TRANSITION_FRAMES] == drive.poses[1]).all()
    assert (drive.fps, drive.starts_s) == (12.0, 0.0)
    own = np.asarray(Image.open(photo.parents[1] / "val_label" / "frame000007.png"))
    np.testing.assert_array_equal(drive.poses[0], own)
    usual = heights(dance(60, seed=5, size=SIZE).recording.poses)
    assert np.median(heights(drive.poses[1:])) == pytest.approx(np.median(usual), abs=0.12)


def test_extracted_recording_gives_the_poses_of_its_video(video: Path, photo: Path, tmp_path: Path) -> None:
    extract([video], tmp_path / "out", Extraction(size=(64, 64)), estimator=Truth())
    from_video = read_drive(request(photo, video), SIZE, body, estimator=Truth())
    for source in (tmp_path / "out", tmp_path / "out" / "poses.npz"):
        from_folder = read_drive(request(photo, source), SIZE, body)
        assert np.abs(from_folder.poses.astype(int) - from_video.poses).mean() < 0.5


def test_path_is_restored_if_windows_followed_the_person(photo: Path, tmp_path: Path) -> None:
    """The person is in the middle of every extracted frame, but moved through the source."""
    keypoints = np.concatenate([DRIVER.keypoints[0, :, :2], np.ones((25, 1))], axis=1).astype(np.float32)
    keypoints[:, 0] += 48 - keypoints[:, 0].mean()
    lefts = np.linspace(0, 60, 24)
    np.savez(
        tmp_path / "poses.npz",
        names=np.array([f"train/frame{k:06d}" for k in range(24)]),
        keypoints=np.repeat(keypoints[None], 24, 0),
        windows=np.stack([lefts, 0 * lefts, 0 * lefts + 96, 0 * lefts + 96], axis=1),
        frame_sizes=np.tile([96, 160], (24, 1)),
        joints=np.array([joint.name for joint in SKELETON]),
        size=np.array([96, 96]),
        fps=np.array(25.0),
    )
    drive = read_drive(request(photo, tmp_path / "poses.npz"), SIZE, body)
    first, last = (np.flatnonzero((drive.poses[k] < 200).any((0, 2))).mean() for k in (1, -1))
    assert last - first > 8


def test_poses_without_fit_are_drawn_unchanged(video: Path, photo: Path) -> None:
    drive = read_drive(request(photo, video, no_fit=True), (48, 80), unneeded_body, estimator=Truth())
    scaled = np.concatenate([DRIVER.keypoints[..., :2] / 2, np.ones((24, 25, 1))], axis=2)
    expected = draw_pose_maps(scaled, (48, 80))
    assert np.abs(drive.poses[1 + TRANSITION_FRAMES :].astype(int) - expected).mean() < 0.5


def test_photo_is_cut_to_the_trained_persons_position(video: Path, tmp_path: Path) -> None:
    frame = np.full((300, 300, 3), 127, np.uint8)
    frame[100:196, 60:220] = DRIVER.recording.frames[0]
    write_png(tmp_path / "me.png", frame)

    class Shifted(Truth):
        def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
            (person,) = super().everybody(np.zeros((96, 160, 3), np.uint8), 0, closely=closely)
            keypoints = person.keypoints + np.array([60, 100, 0], np.float32)
            scale = frame.shape[0] / 300
            return [Person(keypoints * np.array([scale, scale, 1], np.float32), person.region)]

    drive = read_drive(request(tmp_path / "me.png", video), SIZE, body, estimator=Shifted())
    assert drive.first_frame.shape == (*SIZE, 3)
    trained = body()
    feet = np.flatnonzero((drive.poses[0] < 200).any((1, 2)))[-1] / SIZE[0]
    assert feet == pytest.approx(trained.ground, abs=0.08)
    usual = heights(dance(60, seed=5, size=SIZE).recording.poses)
    assert heights(drive.poses[:1])[0] == pytest.approx(np.median(usual), abs=0.15)


def test_photo_with_the_models_aspect_ratio_is_used_whole() -> None:
    keypoints = np.zeros((25, 3), np.float32)
    np.testing.assert_array_equal(photo_window(SIZE, keypoints, SIZE, unneeded_body), [0, 0, 64, 32])
    np.testing.assert_array_equal(photo_window((200, 400), keypoints, SIZE, body), [0, 0, 400, 200])


def test_photo_by_the_same_camera_gets_the_window_of_the_footage(video: Path, tmp_path: Path) -> None:
    extract([video], tmp_path / "out", Extraction(size=(64, 64)), estimator=Truth())
    trained = body_of_footage([], {"path": str(tmp_path / "out")})
    restored = BodyProportions.from_json(trained.to_json())
    window = photo_window((192, 320), np.zeros((25, 3), np.float32), (64, 64), lambda: restored)
    expected = 2 * read_poses(tmp_path / "out" / "poses.npz").windows[0]
    np.testing.assert_allclose(window, expected, atol=1e-6)


def test_pose_map_beside_a_frame_is_found(photo: Path, tmp_path: Path) -> None:
    assert pose_map_beside(photo) == photo.parents[1] / "val_label" / "frame000007.png"
    write_png(tmp_path / "test" / "test_img" / "0" / "frame000001.png", np.zeros((4, 4, 3), np.uint8))
    assert pose_map_beside(tmp_path / "test" / "test_img" / "0" / "frame000001.png") is None
    write_png(tmp_path / "test" / "test_label" / "0" / "frame000001.png", np.zeros((4, 4, 3), np.uint8))
    expected = tmp_path / "test" / "test_label" / "0" / "frame000001.png"
    assert pose_map_beside(tmp_path / "test" / "test_img" / "0" / "frame000001.png") == expected
    assert pose_map_beside(Path("me.png")) is None


def test_sources_without_a_person_are_refused(photo: Path, video: Path, tmp_path: Path) -> None:
    class Nobody(Truth):
        def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
            return []

    write_png(tmp_path / "me.png", np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(InputError, match="Nobody to follow"):
        read_drive(request(photo, video), SIZE, body, estimator=Nobody())
    extract([video], tmp_path / "out", Extraction(size=(64, 64)), estimator=Truth())
    with pytest.raises(InputError, match="No person was found"):
        read_drive(request(tmp_path / "me.png", tmp_path / "out"), SIZE, body, estimator=Nobody())
    with pytest.raises(InputError, match="There is no video"):
        read_drive(request(photo, tmp_path / "none.mp4"), SIZE, body, estimator=Truth())


def test_proportions_are_measured_on_keypoints_if_there_are_any(video: Path, tmp_path: Path) -> None:
    extract([video], tmp_path / "out", Extraction(size=(64, 64)), estimator=Truth())
    blank = np.full((4, *SIZE, 3), 255, np.uint8)
    recordings = [Recording("a", blank, blank)]
    measured = body_of_footage(recordings, {"path": str(tmp_path / "out")})
    assert np.isfinite(measured.lengths[JOINT_INDEX["left_knee"]])
    (tmp_path / "out" / "poses.npz").write_bytes(b"something else")
    assert np.isnan(body_of_footage(recordings, {"path": str(tmp_path / "out")}).ground)
    assert np.isnan(body_of_footage(recordings, {}).ground)
