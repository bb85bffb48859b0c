"""The packed store: the folder byte for byte, made once, made again when it must be, never half there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from posecast.data import cache as packed
from posecast.data.cache import fingerprint, load_recordings
from posecast.data.folder_dataset import list_recordings, write_recordings
from posecast.data.recordings import Recording
from posecast.errors import InputError

SIZE = (8, 16)


def recording(num_frames: int, seed: int) -> Recording:
    pixels = np.random.default_rng(seed).integers(0, 256, (2, num_frames, *SIZE, 3), np.uint8)
    return Recording(f"seed {seed}", frames=pixels[0], poses=pixels[1])


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "data"
    write_recordings(root, "train", [recording(5, 0), recording(3, 1)])
    return root


def pack_of(root: Path) -> Path:
    return root / ".posecast" / "train-8x16"


def picture(root: Path, number: int) -> Path:
    return root / "train" / "train_img" / f"frame{number:06d}.png"


def replace_pixels(path: Path, value: int) -> None:
    Image.new("RGB", (16, 8), (value, value, value)).save(path)


def count_frames_packed(root: Path) -> int:
    """How many frames are decoded to answer: 0 if the pack was good."""
    decoded = []
    load_recordings(root, "train", SIZE, progress=lambda done, total: decoded.append(done))
    return len(decoded)


def test_the_pack_is_the_folder_byte_for_byte(course: Path) -> None:
    seen = []
    loaded = load_recordings(course, "train", SIZE, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(1, 9)]
    assert [len(recording) for recording in loaded] == [5, 3]
    for recording, files in zip(loaded, list_recordings(course, "train"), strict=True):
        assert recording.name == files.name
        for frame, pixels, pose in zip(files.frames, recording.frames, recording.poses, strict=True):
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(frame.image)))
            np.testing.assert_array_equal(pose, np.asarray(Image.open(frame.label)))


def test_recordings_are_memory_mapped_and_cannot_be_written(course: Path) -> None:
    frames = load_recordings(course, "train", SIZE)[1].frames
    assert isinstance(frames, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 0


def test_resizing_is_pillows_bilinear(course: Path) -> None:
    loaded = load_recordings(course, "train", (5, 7))[0]
    for index in range(5):
        small = Image.open(picture(course, index + 1)).resize((7, 5), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(loaded.frames[index], np.asarray(small))


def test_a_good_pack_is_used_again_and_sizes_have_packs_of_their_own(course: Path) -> None:
    assert count_frames_packed(course) == 8
    load_recordings(course, "train", (4, 8))
    assert count_frames_packed(course) == 0
    packs = sorted(path.name for path in (course / ".posecast").iterdir() if path.is_dir())
    assert packs == ["train-4x8", "train-8x16"]


def touch(root: Path) -> None:
    os.utime(picture(root, 3), ns=(1, 1))


def shrink(root: Path) -> None:
    stat = picture(root, 3).stat()
    replace_pixels(picture(root, 3), 7)
    os.utime(picture(root, 3), ns=(stat.st_atime_ns, stat.st_mtime_ns))


def rename(root: Path) -> None:
    for folder in ("train_img", "train_label"):
        (root / "train" / folder / "frame000009.png").rename(root / "train" / folder / "frame000006.png")


@pytest.mark.parametrize("change", [touch, shrink, rename])
def test_a_changed_source_is_packed_again(course: Path, change) -> None:
    before = fingerprint(course, "train")
    assert count_frames_packed(course) == 8
    change(course)
    assert fingerprint(course, "train") != before
    assert count_frames_packed(course) == 8
    assert count_frames_packed(course) == 0


def test_the_fingerprint_is_that_of_pictures_only(course: Path) -> None:
    before = fingerprint(course, "train")
    (course / "train" / "train_img" / "notes.txt").write_text("no picture")
    (course / "train" / "hidden.npz").write_bytes(b"nor this")
    assert fingerprint(course, "train") == before
    os.utime(course / "train" / "train_label" / "frame000002.png", ns=(5, 5))
    assert fingerprint(course, "train") != before


def test_a_test_splits_fingerprint_sees_into_its_sequences(course: Path) -> None:
    for what in ("test_img", "test_label"):
        (course / "test" / what / "0").mkdir(parents=True)
        replace_pixels(course / "test" / what / "0" / "frame000001.png", 3)
    before = fingerprint(course, "test")
    os.utime(course / "test" / "test_label" / "0" / "frame000001.png", ns=(5, 5))
    assert fingerprint(course, "test") != before


def cut_frames(pack: Path) -> None:
    content = (pack / "frames.npy").read_bytes()
    (pack / "frames.npy").write_bytes(content[:-1])


def wrong_shape(pack: Path) -> None:
    np.save(pack / "poses.npy", np.zeros((7, *SIZE, 3), np.uint8))


def wrong_type(pack: Path) -> None:
    np.save(pack / "frames.npy", np.zeros((8, *SIZE, 3), np.float32))


def wrong_lengths(pack: Path) -> None:
    index = json.loads((pack / "index.json").read_text())
    index["recordings"][0]["length"] -= 1
    (pack / "index.json").write_text(json.dumps(index))


def older_format(pack: Path) -> None:
    index = json.loads((pack / "index.json").read_text())
    (pack / "index.json").write_text(json.dumps({**index, "format": 0}))


DAMAGE = {
    "cut frames": cut_frames,
    "empty frames": lambda pack: (pack / "frames.npy").write_bytes(b""),
    "no frames": lambda pack: (pack / "frames.npy").unlink(),
    "wrong shape": wrong_shape,
    "wrong type": wrong_type,
    "wrong lengths": wrong_lengths,
    "older format": older_format,
    "half an index": lambda pack: (pack / "index.json").write_text('{"format": 1, '),
    "another index": lambda pack: (pack / "index.json").write_text("[1, 2]"),
    "binary index": lambda pack: (pack / "index.json").write_bytes(b"\xff\xfe\x00"),
    "no index": lambda pack: (pack / "index.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_pack_is_made_again(course: Path, damage) -> None:
    load_recordings(course, "train", SIZE)
    damage(pack_of(course))
    assert count_frames_packed(course) == 8
    np.testing.assert_array_equal(load_recordings(course, "train", SIZE)[1].frames, recording(3, 1).frames)


def test_packing_again_leaves_a_mapped_pack_as_it_was(course: Path) -> None:
    mapped = load_recordings(course, "train", SIZE)[0].frames
    before = hashlib.sha256(mapped[0].tobytes()).hexdigest()
    for number in range(1, 6):
        replace_pixels(picture(course, number), 9)
    assert (load_recordings(course, "train", SIZE)[0].frames == 9).all()
    assert hashlib.sha256(mapped[0].tobytes()).hexdigest() == before
    np.testing.assert_array_equal(mapped, recording(5, 0).frames)


def names_beside(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".posecast").iterdir() if path.suffix != ".lock")


def test_a_damaged_picture_is_named_and_leaves_no_pack(course: Path) -> None:
    whole = picture(course, 7).read_bytes()
    picture(course, 7).write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"train_img/frame000007.png .*truncated"):
        load_recordings(course, "train", SIZE)
    assert names_beside(course) == []
    picture(course, 7).write_bytes(whole)
    assert count_frames_packed(course) == 8


def test_sizes_that_differ_within_a_recording_are_named(course: Path) -> None:
    Image.new("RGB", (16, 16)).save(course / "train" / "train_label" / "frame000008.png")
    with pytest.raises(InputError, match=r"train_label/frame000008.png is 16x16 but \S*frame000007.png is 8x16"):
        load_recordings(course, "train", SIZE)
    assert names_beside(course) == []


def test_ctrl_c_leaves_the_old_pack_or_none(course: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_recordings(course, "train", SIZE, progress=interrupt)
    assert names_beside(course) == []
    assert count_frames_packed(course) == 8
    index = (pack_of(course) / "index.json").read_text()
    touch(course)
    with pytest.raises(KeyboardInterrupt):
        load_recordings(course, "train", SIZE, progress=interrupt)
    assert names_beside(course) == ["train-8x16"]
    assert (pack_of(course) / "index.json").read_text() == index


def test_what_a_killed_packer_left_is_cleaned_away(course: Path) -> None:
    for name in ("train-8x16.new", "train-8x16.old"):
        (course / ".posecast" / name).mkdir(parents=True)
        (course / ".posecast" / name / "frames.npy").write_bytes(b"half")
    load_recordings(course, "train", SIZE)
    assert names_beside(course) == ["train-8x16"]


def test_a_full_disk_is_a_sentence_and_leaves_no_pack(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed, "_make_durable", full)
    with pytest.raises(OSError, match=r"could not be written .*No space left on device.*make room"):
        load_recordings(course, "train", SIZE)
    assert names_beside(course) == []


PACK_AND_TELL = """
import hashlib, sys
from pathlib import Path
from posecast.data.cache import load_recordings

decoded = []
def progress(done, total):
    decoded.append(done)
    if done == 1 and sys.argv[2] == "slow":
        print("packing", flush=True)
        sys.stdin.readline()

if sys.argv[2] == "quick":
    print("loading", flush=True)
recordings = load_recordings(Path(sys.argv[1]), "train", (8, 16), progress=progress)
pixels = b"".join(array.tobytes() for recording in recordings for array in (recording.frames, recording.poses))
print(hashlib.sha256(pixels).hexdigest(), len(decoded))
"""


def start_packer(root: Path, pace: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PACK_AND_TELL, str(root), pace]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_packers_at_once_make_one_good_pack(course: Path) -> None:
    slow = start_packer(course, "slow")
    assert slow.stdout is not None
    assert slow.stdout.readline() == "packing\n"
    quick = start_packer(course, "quick")
    assert quick.stdout is not None
    assert quick.stdout.readline() == "loading\n"
    time.sleep(0.5)  # long enough for the second to meet the lock, or, were there none, to pack as well
    answers = [packer.communicate("go on\n")[0].split() for packer in (slow, quick)]
    pixels = b"".join(a.tobytes() for r in (recording(5, 0), recording(3, 1)) for a in (r.frames, r.poses))
    expected = hashlib.sha256(pixels).hexdigest()
    assert answers == [[expected, "8"], [expected, "0"]]
    assert names_beside(course) == ["train-8x16"]


def in_cache(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "posecast").glob("*/train-8x16/index.json"))


def test_a_folder_marked_read_only_is_left_alone(course: Path, tmp_path: Path) -> None:
    course.chmod(0o555)
    try:
        assert count_frames_packed(course) == 8
        assert count_frames_packed(course) == 0
    finally:
        course.chmod(0o755)
    assert not (course / ".posecast").exists()
    assert len(in_cache(tmp_path)) == 1


def test_a_read_only_disk_falls_back_to_the_cache(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_temporary = tempfile.TemporaryFile

    def refuse(dir: Path):
        if course in Path(dir).parents:
            raise OSError(30, "Read-only file system")
        return make_temporary(dir=dir)

    monkeypatch.setattr(packed.tempfile, "TemporaryFile", refuse)
    loaded = load_recordings(course, "train", SIZE)
    assert len(in_cache(tmp_path)) == 1
    np.testing.assert_array_equal(loaded[0].frames, recording(5, 0).frames)


def test_no_place_for_a_pack_is_a_sentence(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (course / ".posecast").write_text("a file in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(course / ".posecast"))
    with pytest.raises(InputError, match=r"Neither .* nor .* can be written; .*XDG_CACHE_HOME"):
        load_recordings(course, "train", SIZE)


def test_a_missing_split_is_a_sentence(course: Path) -> None:
    with pytest.raises(InputError, match="val_img is not a folder; expected numbered pictures"):
        load_recordings(course, "val", SIZE)
    assert not (course / ".posecast").exists()


def test_the_test_split_has_nothing_to_load(course: Path) -> None:
    for what in ("test_img", "test_label"):
        (course / "test" / what / "0").mkdir(parents=True)
    with pytest.raises(InputError, match="choose 'train' or 'val'"):
        load_recordings(course, "test", SIZE)
