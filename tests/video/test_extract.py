"""Tests of extraction: frames and keypoints, splits, exact continuation, remarks, refusals, interruptions."""

import errno
import hashlib
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from posecast.data.cache import load_recordings
from posecast.data.check import check
from posecast.data.dancer.dance import dance
from posecast.data.pose_maps import JOINT_INDEX, SKELETON
from posecast.errors import InputError
from posecast.files import read_json
from posecast.video import tracking
from posecast.video.extract import Extraction, extract
from posecast.video.extracted_poses import read_poses
from posecast.video.pose_estimation import Person, Region, box_of
from posecast.video.writer import open_writer

from ..videos import read_video

SIZE = (96, 160)
DANCE = dance(60, seed=1, size=SIZE)
FPS = 20.0


class Truth:
    """Estimator that returns the dancer's true keypoints.

    Args:
        nobody: Frames in which it finds nobody.
        stop_at: Frame at which it raises KeyboardInterrupt.
    """

    name = "truth"

    def __init__(self, nobody: Collection[int] = (), stop_at: int = -1) -> None:
        self.nobody, self.stop_at = nobody, stop_at

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        if number == self.stop_at:
            raise KeyboardInterrupt
        if number in self.nobody:
            return []
        points = DANCE.keypoints[number % len(DANCE.keypoints), :, :2]
        keypoints = np.concatenate([points, np.ones((len(SKELETON), 1))], axis=1).astype(np.float32)
        return [Person(keypoints, Region(0, 0, 0, 0))]

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        return next(iter(self.everybody(frame, number, closely=False)), None)


def write_video(path: Path, frames: np.ndarray, fps: float = FPS) -> Path:
    with open_writer(path, fps=fps) as video:
        for frame in frames:
            video.write(frame)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "dancer.mp4", DANCE.recording.frames)


def bytes_below(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_video_becomes_a_data_set(video: Path, tmp_path: Path) -> None:
    extracted = extract([video], tmp_path / "out", Extraction(size=(32, 32), preview=True), estimator=Truth())
    assert (extracted.num_train, extracted.num_val) == (51, 9)
    assert not check(tmp_path / "out").errors
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "extract.json",
        "poses.npz",
        "preview.mp4",
        "train",
        "val",
    ]
    (train,) = load_recordings(tmp_path / "out", "train", (32, 32))
    (val,) = load_recordings(tmp_path / "out", "val", (32, 32))
    assert (len(train), len(val)) == (51, 9)
    preview = list(read_video(tmp_path / "out" / "preview.mp4"))
    assert len(preview) == 60
    assert preview[0].shape == (360, 600 + 360, 3)
    facts = read_json(tmp_path / "out" / "extract.json", "facts")
    assert facts["videos"][0]["file"] == "dancer.mp4"
    assert [recording["frames"] for recording in facts["recordings"]] == [[["seen", 51]], [["seen", 9]]]
    assert facts["asked"]["fps"] == FPS


def test_frames_and_keypoints_have_the_same_window(video: Path, tmp_path: Path) -> None:
    extract([video], tmp_path / "out", Extraction(size=(48, 48)), estimator=Truth())
    poses = read_poses(tmp_path / "out" / "poses.npz")
    assert poses.names[0] == "train/frame000001"
    assert poses.names[-1] == "val/frame000061"  # a gap of one number between the two
    np.testing.assert_allclose(poses.in_source()[..., :2], DANCE.keypoints[..., :2], atol=1e-2)
    for k, name in enumerate(poses.names):
        split, frame = name.split("/")
        image = np.asarray(Image.open(tmp_path / "out" / split / f"{split}_img" / f"{frame}.png"), float)
        left, top, width, height = poses.windows[k]
        source = Image.fromarray(DANCE.recording.frames[k])
        box = (left, top, left + width, top + height)
        expected = np.asarray(source.resize((48, 48), Image.Resampling.BICUBIC, box), float)
        assert np.abs(image - expected).mean() < 3, name
    pose_map = np.asarray(Image.open(tmp_path / "out" / "train" / "train_label" / "frame000001.png"))
    x, y = poses.keypoints[0, JOINT_INDEX["mid_hip"], :2].astype(int)
    assert (pose_map[y - 1 : y + 2, x - 1 : x + 2] < 250).any()


@pytest.mark.parametrize("stop_at", [1, 30, 59])
def test_interrupted_extraction_continues_exactly(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    monkeypatch.setattr(tracking, "SAVE_EVERY_S", 0.0)
    settings = Extraction(size=(32, 32))
    extract([video], tmp_path / "complete", settings, estimator=Truth(nobody=range(20, 25)))
    with pytest.raises(KeyboardInterrupt):
        extract([video], tmp_path / "out", settings, estimator=Truth(nobody=range(20, 25), stop_at=stop_at))
    assert not (tmp_path / "out" / "train").exists()
    processed: list[int] = []

    class Recorder(Truth):
        def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
            processed.append(number)
            return super().everybody(frame, number, closely=closely)

    extract([video], tmp_path / "out", settings, estimator=Recorder(nobody=range(20, 25)))
    assert min(processed) == stop_at
    assert bytes_below(tmp_path / "out") == bytes_below(tmp_path / "complete")


def test_other_settings_do_not_continue_unfinished_work(video: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract([video], tmp_path / "out", Extraction(size=(32, 32)), estimator=Truth(stop_at=9))
    with pytest.raises(InputError, match="unfinished extraction"):
        extract([video], tmp_path / "out", Extraction(size=(48, 48)), estimator=Truth())
    extracted = extract([video], tmp_path / "out", Extraction(size=(48, 48)), estimator=Truth(), force=True)
    assert extracted.num_train == 51


def test_existing_files_are_kept_unless_forced(video: Path, tmp_path: Path) -> None:
    settings = Extraction(size=(32, 32))
    extract([video], tmp_path / "out", settings, estimator=Truth())
    before = bytes_below(tmp_path / "out")
    with pytest.raises(InputError, match="already holds something"):
        extract([video], tmp_path / "out", Extraction(size=(48, 48)), estimator=Truth())
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("notes")
    for force in (False, True):
        with pytest.raises(InputError):
            extract([video], tmp_path / "notes", settings, estimator=Truth(), force=force)
    extract([video], tmp_path / "out", settings, estimator=Truth(), force=True)
    assert bytes_below(tmp_path / "out") == before
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("content", [b"", b"this is a text", bytes(range(256)) * 64])
def test_other_files_than_videos_leave_no_output(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"clip\.mp4"):
        extract([tmp_path / "clip.mp4"], tmp_path / "out", estimator=Truth())
    assert not (tmp_path / "out").exists()


def test_video_without_a_person_leaves_no_output(video: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody was found"):
        extract([video], tmp_path / "out", estimator=Truth(nobody=range(60)))
    with pytest.raises(InputError, match="only 1 person was found, not 2"):
        extract([video], tmp_path / "out", Extraction(person=2), estimator=Truth())
    with pytest.raises(InputError, match="shows nothing between"):
        extract([video], tmp_path / "out", Extraction(start_s=50.0), estimator=Truth())
    assert not (tmp_path / "out").exists()


def test_full_disk_leaves_no_data_set_but_the_track(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Extraction(size=(32, 32))
    num_written = 0
    save = Image.Image.save

    def save_on_full_disk(self: Image.Image, *args: Any, **options: Any) -> None:
        nonlocal num_written
        num_written += 1
        if num_written > 70:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", save_on_full_disk)
        with pytest.raises(OSError, match="No space left"):
            extract([video], tmp_path / "out", settings, estimator=Truth())
    assert not (tmp_path / "out" / "train").exists()
    assert not (tmp_path / "out" / "extract.json").exists()
    extracted = extract([video], tmp_path / "out", settings, estimator=Truth(stop_at=0))  # the track is finished
    assert extracted.num_train == 51
    assert not (tmp_path / "out" / ".extract").exists()


def test_second_extraction_into_a_folder_is_refused(video: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / ".extract").mkdir(parents=True)
    (tmp_path / "out" / ".extract" / "track0.npz").write_bytes(b"track of the other process")
    for force in (False, True):
        with FileLock(tmp_path / "out" / ".extract" / "lock"), pytest.raises(InputError, match="Another posecast"):
            extract([video], tmp_path / "out", estimator=Truth(), force=force)
    assert (tmp_path / "out" / ".extract" / "track0.npz").read_bytes() == b"track of the other process"


@pytest.mark.parametrize("renames", range(4))
def test_extraction_killed_while_publishing_can_be_repeated(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    settings = Extraction(size=(32, 32))
    extract([video], tmp_path / "complete", settings, estimator=Truth())
    replace = Path.replace
    published: list[Path] = []

    def replace_until_killed(self: Path, target: Path) -> Path:
        if target.parent == tmp_path / "out":
            if len(published) == renames:
                raise KeyboardInterrupt
            published.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_until_killed)
        with pytest.raises(KeyboardInterrupt):
            extract([video], tmp_path / "out", settings, estimator=Truth())
    assert not (tmp_path / "out" / "train").exists()
    extract([video], tmp_path / "out", settings, estimator=Truth())
    assert bytes_below(tmp_path / "out") == bytes_below(tmp_path / "complete")


def test_extraction_killed_at_the_end_is_recognised_as_finished(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, out = Extraction(size=(32, 32)), tmp_path / "out"
    first = extract([video], out, settings, estimator=Truth())
    before = bytes_below(out)
    (out / ".extract").mkdir()
    (out / ".extract" / "track0.npz").touch()  # work that was not removed yet
    monkeypatch.setattr("posecast.video.extract.find_person", None)  # must not be called
    again = extract([video], out, settings, estimator=Truth())
    assert (again.num_train, again.num_val) == (first.num_train, first.num_val)
    assert again.facts == json.loads(json.dumps(first.facts))
    assert [finding.message for finding in again.remarks] == [finding.message for finding in first.remarks]
    assert bytes_below(out) == before
    next((out / "train" / "train_img").iterdir()).unlink()
    with pytest.raises(InputError, match="already holds something"):
        extract([video], out, settings, estimator=Truth())


def test_cut_ends_a_recording(tmp_path: Path) -> None:
    inverted = 255 - DANCE.recording.frames[:30]
    clip = write_video(tmp_path / "cut.mp4", np.concatenate([DANCE.recording.frames[:30], inverted]))
    extracted = extract([clip], tmp_path / "out", Extraction(size=(32, 32), val=0.0), estimator=Truth())
    assert [recording["first"] for recording in extracted.facts["recordings"]] == ["frame000001", "frame000032"]
    assert any("scene changes once" in finding.message for finding in extracted.remarks)
    assert len(load_recordings(tmp_path / "out", "train", (32, 32))) == 2


def test_gaps_are_interpolated_or_blank_and_counted(video: Path, tmp_path: Path) -> None:
    estimator = Truth(nobody=[*range(10, 14), *range(30, 45)])
    extracted = extract([video], tmp_path / "out", Extraction(size=(32, 32), val=0.0), estimator=estimator)
    runs = [["seen", 10], ["interpolated", 4], ["seen", 16], ["blank", 15], ["seen", 15]]
    assert extracted.facts["recordings"][0]["frames"] == runs
    counts = extracted.facts["videos"][0]
    assert (counts["found"], counts["interpolated"], counts["blank"]) == (41, 4, 15)
    (train,) = load_recordings(tmp_path / "out", "train", (32, 32))
    assert (train.poses[30:45] == 255).all()
    assert all((pose_map < 255).any() for pose_map in train.poses[10:14])


def test_several_videos_and_folders(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "notes.txt").write_text("no video")
    write_video(folder / "b.mp4", DANCE.recording.frames[:40])
    write_video(folder / "a.mp4", DANCE.recording.frames[:20])
    extracted = extract([video, folder], tmp_path / "out", Extraction(size=(32, 32)), estimator=Truth())
    assert [entry["file"] for entry in extracted.facts["videos"]] == ["dancer.mp4", "a.mp4", "b.mp4"]
    assert (extracted.num_train, extracted.num_val) == (102, 18)
    assert [recording["video"] for recording in extracted.facts["recordings"]] == [0, 1, 2, 2]
    with pytest.raises(InputError, match="has no videos"):
        extract([tmp_path], tmp_path / "none", estimator=Truth())


def test_part_of_a_video_at_another_rate(video: Path, tmp_path: Path) -> None:
    settings = Extraction(fps=10.0, size=(32, 32), start_s=0.5, end_s=2.0, val=0.0)
    extracted = extract([video], tmp_path / "out", settings, estimator=Truth())
    assert extracted.num_train == 16
    np.testing.assert_allclose(
        read_poses(tmp_path / "out" / "poses.npz").in_source()[..., :2], DANCE.keypoints[10:41:2, :, :2], atol=1e-2
    )


@pytest.mark.parametrize(
    "build",
    [
        lambda: Extraction(fps=0.0),
        lambda: Extraction(val=0.9),
        lambda: Extraction(person=0),
        lambda: Extraction(start_s=5.0, end_s=2.0),
    ],
)
def test_settings_out_of_range_are_refused(build: Callable[[], Extraction]) -> None:
    with pytest.raises(InputError, match="expected"):
        build()


def test_incomplete_file_is_used_with_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "broken.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=20)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p"
        for frame in DANCE.recording.frames[:40]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    extracted = extract([path], tmp_path / "out", Extraction(size=(32, 32)), estimator=Truth())
    assert 10 < extracted.num_train + extracted.num_val < 40
    assert any("breaks off" in finding.message for finding in extracted.remarks)


def test_extract_json_has_no_absolute_paths(video: Path, tmp_path: Path) -> None:
    extract([video], tmp_path / "out", Extraction(size=(32, 32)), estimator=Truth())
    text = (tmp_path / "out" / "extract.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["estimator"] == "truth"
    assert box_of(read_poses(tmp_path / "out" / "poses.npz").keypoints[0])[0] > 0
