"""The cache of recordings: equal to the folder byte for byte, rebuilt when stale or damaged, never incomplete."""

from __future__ import annotations

import errno
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

from posecast.data import cache
from posecast.data.cache import load_recordings
from posecast.data.folder_dataset import list_recordings, write_recordings
from posecast.errors import InputError

from .conftest import image, label, recording

SIZE = (8, 16)


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "data"
    write_recordings(root, "train", [recording(5, 0), recording(3, 1)])
    return root


def pack_of(root: Path) -> Path:
    return root / ".posecast" / "train-8x16"


def replace_pixels(path: Path, value: int) -> None:
    Image.new("RGB", (16, 8), (value, value, value)).save(path)


def count_frames_packed(root: Path) -> int:
    """Return how many frames are decoded to load the recordings: 0 if the pack is up to date."""
    decoded = []
    load_recordings(root, "train", SIZE, progress=lambda done, total: decoded.append(done))
    return len(decoded)


def test_the_pack_is_the_folder_byte_for_byte(course: Path) -> None:
    reported = []
    loaded = load_recordings(course, "train", SIZE, progress=lambda done, total: reported.append((done, total)))
    assert reported == [(done, 8) for done in range(1, 9)]
    assert [len(packed) for packed in loaded] == [5, 3]
    for packed, files in zip(loaded, list_recordings(course, "train"), strict=True):
        assert packed.name == files.name
        for frame, pixels, pose in zip(files.frames, packed.frames, packed.poses, strict=True):
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(frame.image)))
            np.testing.assert_array_equal(pose, np.asarray(Image.open(frame.label)))


def test_recordings_are_memory_mapped_and_cannot_be_written(course: Path) -> None:
    frames = load_recordings(course, "train", SIZE)[1].frames
    assert isinstance(frames, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 0


def test_images_are_resized_by_pillow_bilinear(course: Path) -> None:
    loaded = load_recordings(course, "train", (5, 7))[0]
    for index in range(5):
        small = Image.open(image(course, index + 1)).resize((7, 5), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(loaded.frames[index], np.asarray(small))


def test_a_valid_pack_is_reused_and_each_size_has_its_own_pack(course: Path) -> None:
    assert count_frames_packed(course) == 8
    load_recordings(course, "train", (4, 8))
    assert count_frames_packed(course) == 0
    packs = sorted(path.name for path in (course / ".posecast").iterdir() if path.is_dir())
    assert packs == ["train-4x8", "train-8x16"]


def touch(root: Path) -> None:
    os.utime(image(root, 3), ns=(1, 1))


def shrink(root: Path) -> None:
    stat = image(root, 3).stat()
    replace_pixels(image(root, 3), 7)
    os.utime(image(root, 3), ns=(stat.st_atime_ns, stat.st_mtime_ns))


def rename(root: Path) -> None:
    for folder in ("train_img", "train_label"):
        (root / "train" / folder / "frame000009.png").rename(root / "train" / folder / "frame000006.png")


@pytest.mark.parametrize("change", [shrink, rename])
def test_a_changed_source_is_packed_again(course: Path, change) -> None:
    load_recordings(course, "train", SIZE)
    packed = (pack_of(course) / "frames.npy").stat().st_ino
    change(course)
    load_recordings(course, "train", SIZE)
    assert (pack_of(course) / "frames.npy").stat().st_ino != packed
    assert count_frames_packed(course) == 0


def test_contents_are_compared_once_where_only_times_differ(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_recordings(course, "train", SIZE)
    packed = (pack_of(course) / "frames.npy").stat().st_ino
    touch(course)
    compared = []
    compare = cache.content_fingerprint
    monkeypatch.setattr(cache, "content_fingerprint", lambda *files: compared.append(files) or compare(*files))
    for _ in range(3):
        load_recordings(course, "train", SIZE)
    assert len(compared) == 1
    assert (pack_of(course) / "frames.npy").stat().st_ino == packed


def test_a_pack_whose_times_cannot_be_updated_is_used(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_recordings(course, "train", SIZE)
    touch(course)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(cache, "write_json", refuse)
    np.testing.assert_array_equal(load_recordings(course, "train", SIZE)[0].frames, recording(5, 0).frames)


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


def another_format(pack: Path) -> None:
    index = json.loads((pack / "index.json").read_text())
    (pack / "index.json").write_text(json.dumps({**index, "format": 0}))


def drop_from_index(pack: Path, key: str) -> None:
    index = json.loads((pack / "index.json").read_text())
    (pack / "index.json").write_text(json.dumps({name: value for name, value in index.items() if name != key}))


DAMAGE = {
    "cut frames": cut_frames,
    "empty frames": lambda pack: (pack / "frames.npy").write_bytes(b""),
    "no frames": lambda pack: (pack / "frames.npy").unlink(),
    "wrong shape": wrong_shape,
    "wrong type": wrong_type,
    "wrong lengths": wrong_lengths,
    "another format": another_format,
    "no stamp": lambda pack: drop_from_index(pack, "stamp"),
    "no fingerprint": lambda pack: drop_from_index(pack, "fingerprint"),
    "incomplete index": lambda pack: (pack / "index.json").write_text('{"format": 1, '),
    "index that is a list": lambda pack: (pack / "index.json").write_text("[1, 2]"),
    "binary index": lambda pack: (pack / "index.json").write_bytes(b"\xff\xfe\x00"),
    "no index": lambda pack: (pack / "index.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_pack_is_rebuilt(course: Path, damage) -> None:
    load_recordings(course, "train", SIZE)
    damage(pack_of(course))
    assert count_frames_packed(course) == 8
    np.testing.assert_array_equal(load_recordings(course, "train", SIZE)[1].frames, recording(3, 1).frames)


def test_rebuilding_does_not_change_a_mapped_pack(course: Path) -> None:
    mapped = load_recordings(course, "train", SIZE)[0].frames
    before = hashlib.sha256(mapped[0].tobytes()).hexdigest()
    for number in range(1, 6):
        replace_pixels(image(course, number), 9)
    assert (load_recordings(course, "train", SIZE)[0].frames == 9).all()
    assert hashlib.sha256(mapped[0].tobytes()).hexdigest() == before
    np.testing.assert_array_equal(mapped, recording(5, 0).frames)


def pack_names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".posecast").iterdir() if path.suffix != ".lock")


def test_a_damaged_image_is_named_and_leaves_no_pack(course: Path) -> None:
    content = image(course, 7).read_bytes()
    image(course, 7).write_bytes(content[:100])
    with pytest.raises(InputError, match=r"train_img/frame000007.png .*truncated"):
        load_recordings(course, "train", SIZE)
    assert pack_names(course) == []
    image(course, 7).write_bytes(content)
    assert count_frames_packed(course) == 8


def test_sizes_that_differ_within_a_recording_are_named(course: Path) -> None:
    Image.new("RGB", (16, 16)).save(label(course, 8))
    with pytest.raises(InputError, match=r"train_label/frame000008.png is 16x16 but \S*frame000007.png is 8x16"):
        load_recordings(course, "train", SIZE)
    assert pack_names(course) == []


def test_ctrl_c_keeps_the_old_pack_and_leaves_no_incomplete_one(course: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_recordings(course, "train", SIZE, progress=interrupt)
    assert pack_names(course) == []
    assert count_frames_packed(course) == 8
    index = (pack_of(course) / "index.json").read_text()
    shrink(course)
    with pytest.raises(KeyboardInterrupt):
        load_recordings(course, "train", SIZE, progress=interrupt)
    assert pack_names(course) == ["train-8x16"]
    assert (pack_of(course) / "index.json").read_text() == index


def test_leftovers_of_a_killed_process_are_removed(course: Path) -> None:
    for name in ("train-8x16.new", "train-8x16.old"):
        (course / ".posecast" / name).mkdir(parents=True)
        (course / ".posecast" / name / "frames.npy").write_bytes(b"half")
    load_recordings(course, "train", SIZE)
    assert pack_names(course) == ["train-8x16"]


def test_a_full_disk_gives_an_error_sentence_and_leaves_no_pack(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "flush_to_disk", full)
    with pytest.raises(OSError, match=r"could not be written .*No space left on device.*free disk space"):
        load_recordings(course, "train", SIZE)
    assert pack_names(course) == []


PACK_AND_REPORT = """
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
    command = [sys.executable, "-c", PACK_AND_REPORT, str(root), pace]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_concurrent_processes_build_one_valid_pack(course: Path) -> None:
    slow = start_packer(course, "slow")
    assert slow.stdout is not None
    assert slow.stdout.readline() == "packing\n"
    quick = start_packer(course, "quick")
    assert quick.stdout is not None
    assert quick.stdout.readline() == "loading\n"
    time.sleep(0.5)  # long enough for the second process to wait for the lock, or to pack if there were none
    answers = [packer.communicate("go on\n")[0].split() for packer in (slow, quick)]
    pixels = b"".join(a.tobytes() for r in (recording(5, 0), recording(3, 1)) for a in (r.frames, r.poses))
    expected = hashlib.sha256(pixels).hexdigest()
    assert answers == [[expected, "8"], [expected, "0"]]
    assert pack_names(course) == ["train-8x16"]


def in_cache(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "posecast").glob("*/train-8x16/index.json"))


def test_a_folder_marked_read_only_is_not_written_to(course: Path, tmp_path: Path) -> None:
    course.chmod(0o555)
    try:
        assert count_frames_packed(course) == 8
        assert count_frames_packed(course) == 0
    finally:
        course.chmod(0o755)
    assert not (course / ".posecast").exists()
    assert len(in_cache(tmp_path)) == 1


def test_on_a_read_only_disk_the_pack_is_in_the_user_cache(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_temporary = tempfile.NamedTemporaryFile

    def refuse(prefix: str, dir: Path):
        if course in Path(dir).parents:
            raise OSError(30, "Read-only file system")
        return make_temporary(prefix=prefix, dir=dir)

    monkeypatch.setattr(cache.tempfile, "NamedTemporaryFile", refuse)
    loaded = load_recordings(course, "train", SIZE)
    assert len(in_cache(tmp_path)) == 1
    np.testing.assert_array_equal(loaded[0].frames, recording(5, 0).frames)


def test_without_a_writable_folder_the_error_names_both(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (course / ".posecast").write_text("a file in the way")
    monkeypatch.setattr(cache, "cache_folder", lambda: course / ".posecast" / "posecast")
    with pytest.raises(InputError, match=r"Neither .* nor .* can be written; .*XDG_CACHE_HOME"):
        load_recordings(course, "train", SIZE)


def test_a_missing_split_is_an_error(course: Path) -> None:
    with pytest.raises(InputError, match="val_img is not a folder; expected images"):
        load_recordings(course, "val", SIZE)
    assert not (course / ".posecast").exists()


def test_loading_the_test_split_is_refused(course: Path) -> None:
    for what in ("test_img", "test_label"):
        (course / "test" / what / "0").mkdir(parents=True)
    with pytest.raises(InputError, match="choose 'train' or 'val'"):
        load_recordings(course, "test", SIZE)
