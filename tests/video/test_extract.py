"""A video to a data set: right pictures, split by time, resumed exactly, honest about trouble, never half there."""

import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

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
from posecast.video import tracking as sighting
from posecast.video.extract import Extraction, extract
from posecast.video.keypoint_files import read_poses
from posecast.video.pose_estimation import Person, Region, box_of
from posecast.video.writer import open_writer

from ..videos import read_video

SIZE = (96, 160)
SHOWN = dance(60, seed=1, size=SIZE)
FPS = 20.0


class Truth:
    """An estimator that knows the dancer; `nobody` are frames in which it finds nobody, `stop_at` one that fails."""

    name = "truth"

    def __init__(self, nobody: range = range(0), stop_at: int = -1) -> None:
        self.nobody, self.stop_at = nobody, stop_at

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        if number == self.stop_at:
            raise KeyboardInterrupt
        if number in self.nobody:
            return []
        points = SHOWN.keypoints[number % len(SHOWN.keypoints), :, :2]
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
    return write_video(tmp_path_factory.mktemp("videos") / "dancer.mp4", SHOWN.recording.frames)


def bytes_below(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_video_becomes_a_data_set(video: Path, tmp_path: Path) -> None:
    found = extract([video], tmp_path / "out", Extraction(size=(32, 32), preview=True), estimator=Truth())
    assert (found.num_train, found.num_val) == (51, 9)
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
    assert [one["frames"] for one in facts["recordings"]] == [[["seen", 51]], [["seen", 9]]]
    assert facts["asked"]["fps"] == FPS


def test_pictures_and_keypoints_are_of_one_window(video: Path, tmp_path: Path) -> None:
    """Where the keypoints say the head is, there is the head, at the right moment."""
    extract([video], tmp_path / "out", Extraction(size=(48, 48)), estimator=Truth())
    poses = read_poses(tmp_path / "out" / "poses.npz")
    assert poses.names[0] == "train/frame000001"
    assert poses.names[-1] == "val/frame000061"  # a gap of one number between the two
    np.testing.assert_allclose(poses.in_source()[..., :2], SHOWN.keypoints[..., :2], atol=1e-2)
    for k, name in enumerate(poses.names):
        split, frame = name.split("/")
        picture = np.asarray(Image.open(tmp_path / "out" / split / f"{split}_img" / f"{frame}.png"), float)
        left, top, width, height = poses.windows[k]
        whole = Image.fromarray(SHOWN.recording.frames[k])
        box = (left, top, left + width, top + height)
        expected = np.asarray(whole.resize((48, 48), Image.Resampling.BICUBIC, box), float)
        assert np.abs(picture - expected).mean() < 3, name
    drawn = np.asarray(Image.open(tmp_path / "out" / "train" / "train_label" / "frame000001.png"))
    x, y = poses.keypoints[0, JOINT_INDEX["mid_hip"], :2].astype(int)
    assert (drawn[y - 1 : y + 2, x - 1 : x + 2] < 250).any()


@pytest.mark.parametrize("stop_at", [1, 30, 59])
def test_an_interrupted_extraction_goes_on_exactly(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    monkeypatch.setattr(sighting, "SAVE_EVERY_S", 0.0)
    asked = Extraction(size=(32, 32))
    extract([video], tmp_path / "whole", asked, estimator=Truth(nobody=range(20, 25)))
    with pytest.raises(KeyboardInterrupt):
        extract([video], tmp_path / "out", asked, estimator=Truth(nobody=range(20, 25), stop_at=stop_at))
    assert not (tmp_path / "out" / "train").exists()
    seen: list[int] = []

    class Rest(Truth):
        def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
            seen.append(number)
            return super().everybody(frame, number, closely=closely)

    extract([video], tmp_path / "out", asked, estimator=Rest(nobody=range(20, 25)))
    assert min(seen) == stop_at
    assert bytes_below(tmp_path / "out") == bytes_below(tmp_path / "whole")


def test_other_wishes_do_not_go_on_with_unfinished_work(video: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract([video], tmp_path / "out", Extraction(size=(32, 32)), estimator=Truth(stop_at=9))
    with pytest.raises(InputError, match="unfinished extraction"):
        extract([video], tmp_path / "out", Extraction(size=(48, 48)), estimator=Truth())
    found = extract([video], tmp_path / "out", Extraction(size=(48, 48)), estimator=Truth(), force=True)
    assert found.num_train == 51


def test_what_is_there_is_kept_unless_forced(video: Path, tmp_path: Path) -> None:
    asked = Extraction(size=(32, 32))
    extract([video], tmp_path / "out", asked, estimator=Truth())
    before = bytes_below(tmp_path / "out")
    with pytest.raises(InputError, match="already holds something"):
        extract([video], tmp_path / "out", Extraction(size=(48, 48)), estimator=Truth())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(InputError):
            extract([video], tmp_path / "mine", asked, estimator=Truth(), force=force)
    extract([video], tmp_path / "out", asked, estimator=Truth(), force=True)
    assert bytes_below(tmp_path / "out") == before
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("content", [b"", b"this is a text", bytes(range(256)) * 64])
def test_what_is_no_video_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"clip\.mp4"):
        extract([tmp_path / "clip.mp4"], tmp_path / "out", estimator=Truth())
    assert not (tmp_path / "out").exists()


def test_nobody_in_the_video_leaves_nothing(video: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody was found"):
        extract([video], tmp_path / "out", estimator=Truth(nobody=range(60)))
    with pytest.raises(InputError, match="only 1 people were found, not 2"):
        extract([video], tmp_path / "out", Extraction(person=2), estimator=Truth())
    with pytest.raises(InputError, match="shows nothing between"):
        extract([video], tmp_path / "out", Extraction(start_s=50.0), estimator=Truth())
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_data_set_and_work_goes_on(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Extraction(size=(32, 32))
    written = []
    save = Image.Image.save

    def full(self: Image.Image, *args: object, **options: object) -> None:
        written.append(1)
        if len(written) > 70:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, *args, **options)  # pyright: ignore

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(OSError, match="No space left"):
            extract([video], tmp_path / "out", asked, estimator=Truth())
    assert not (tmp_path / "out" / "train").exists()
    assert not (tmp_path / "out" / "extract.json").exists()
    found = extract([video], tmp_path / "out", asked, estimator=Truth(stop_at=0))  # the poses are known already
    assert found.num_train == 51
    assert not (tmp_path / "out" / ".extract").exists()


def test_two_extractions_into_one_folder(video: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / ".extract").mkdir(parents=True)
    (tmp_path / "out" / ".extract" / "track0.npz").write_bytes(b"the other's")
    for force in (False, True):
        with FileLock(tmp_path / "out" / ".extract" / "lock"), pytest.raises(InputError, match="Another posecast"):
            extract([video], tmp_path / "out", estimator=Truth(), force=force)
    assert (tmp_path / "out" / ".extract" / "track0.npz").read_bytes() == b"the other's"


@pytest.mark.parametrize("renames", range(4))
def test_killed_while_all_is_given_its_name(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    asked = Extraction(size=(32, 32))
    extract([video], tmp_path / "whole", asked, estimator=Truth())
    replace, done = Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        if target.parent == tmp_path / "out":
            if len(done) == renames:
                raise KeyboardInterrupt
            done.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            extract([video], tmp_path / "out", asked, estimator=Truth())
    assert not (tmp_path / "out" / "train").exists()
    extract([video], tmp_path / "out", asked, estimator=Truth())
    assert bytes_below(tmp_path / "out") == bytes_below(tmp_path / "whole")


def test_killed_at_the_very_end_it_has_nothing_left_to_do(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, out = Extraction(size=(32, 32)), tmp_path / "out"
    whole = extract([video], out, asked, estimator=Truth())
    before = bytes_below(out)
    (out / ".extract").mkdir()
    (out / ".extract" / "track0.npz").touch()  # what was still to be removed, its note gone
    monkeypatch.setattr("posecast.video.extract.find_person", None)  # nobody looks for anybody again
    again = extract([video], out, asked, estimator=Truth())
    assert (again.num_train, again.num_val) == (whole.num_train, whole.num_val)
    assert again.facts == json.loads(json.dumps(whole.facts))
    assert [one.message for one in again.remarks] == [one.message for one in whole.remarks]
    assert bytes_below(out) == before
    next((out / "train" / "train_img").iterdir()).unlink()
    with pytest.raises(InputError, match="already holds something"):
        extract([video], out, asked, estimator=Truth())


def test_a_cut_ends_a_recording(tmp_path: Path) -> None:
    other = 255 - SHOWN.recording.frames[:30]
    clip = write_video(tmp_path / "cut.mp4", np.concatenate([SHOWN.recording.frames[:30], other]))
    found = extract([clip], tmp_path / "out", Extraction(size=(32, 32), val=0.0), estimator=Truth())
    assert [one["first"] for one in found.facts["recordings"]] == ["frame000001", "frame000032"]
    assert any("scene changes 1 times" in finding.message for finding in found.remarks)
    assert len(load_recordings(tmp_path / "out", "train", (32, 32))) == 2


def test_gaps_are_bridged_or_blank_and_counted(video: Path, tmp_path: Path) -> None:
    nobody = [*range(10, 14), *range(30, 45)]
    estimator = Truth(nobody=nobody)  # pyright: ignore
    found = extract([video], tmp_path / "out", Extraction(size=(32, 32), val=0.0), estimator=estimator)
    runs = [["seen", 10], ["interpolated", 4], ["seen", 16], ["blank", 15], ["seen", 15]]
    assert found.facts["recordings"][0]["frames"] == runs
    counts = found.facts["videos"][0]
    assert (counts["found"], counts["interpolated"], counts["blank"]) == (41, 4, 15)
    (train,) = load_recordings(tmp_path / "out", "train", (32, 32))
    assert (train.poses[30:45] == 255).all()
    assert all((one < 255).any() for one in train.poses[10:14])


def test_several_videos_and_folders(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "notes.txt").write_text("no video")
    write_video(folder / "b.mp4", SHOWN.recording.frames[:40])
    write_video(folder / "a.mp4", SHOWN.recording.frames[:20])
    found = extract([video, folder], tmp_path / "out", Extraction(size=(32, 32)), estimator=Truth())
    assert [one["file"] for one in found.facts["videos"]] == ["dancer.mp4", "a.mp4", "b.mp4"]
    assert (found.num_train, found.num_val) == (102, 18)
    assert [one["video"] for one in found.facts["recordings"]] == [0, 1, 2, 2]
    with pytest.raises(InputError, match="has no videos"):
        extract([tmp_path], tmp_path / "none", estimator=Truth())


def test_a_part_of_the_video_at_another_rate(video: Path, tmp_path: Path) -> None:
    asked = Extraction(fps=10.0, size=(32, 32), start_s=0.5, end_s=2.0, val=0.0)
    found = extract([video], tmp_path / "out", asked, estimator=Truth())
    assert found.num_train == 16
    np.testing.assert_allclose(
        read_poses(tmp_path / "out" / "poses.npz").in_source()[..., :2], SHOWN.keypoints[10:41:2, :, :2], atol=1e-2
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
def test_impossible_wishes_are_named(build: Callable[[], Extraction]) -> None:
    with pytest.raises(InputError, match="expected"):
        build()


def test_a_file_that_breaks_off_is_said_to(video: Path, tmp_path: Path) -> None:
    """A recording phone that died: what came before is used, and that is said."""
    path = tmp_path / "broken.avi"
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=20)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p"
        for frame in SHOWN.recording.frames[:40]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    found = extract([path], tmp_path / "out", Extraction(size=(32, 32)), estimator=Truth())
    assert 10 < found.num_train + found.num_val < 40
    assert any("breaks off" in finding.message for finding in found.remarks)


def test_extract_json_is_plain(video: Path, tmp_path: Path) -> None:
    extract([video], tmp_path / "out", Extraction(size=(32, 32)), estimator=Truth())
    text = (tmp_path / "out" / "extract.json").read_text()
    assert str(tmp_path) not in text  # nothing of this machine
    assert json.loads(text)["estimator"] == "truth"
    assert box_of(read_poses(tmp_path / "out" / "poses.npz").keypoints[0])[0] > 0
