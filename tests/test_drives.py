"""Drives that refuse an operation, and surroundings without a home."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

from posecast.cli.main import main
from posecast.data.cache import load_footage
from posecast.data.dancer.dataset import Choreography, write_synthetic
from posecast.files import write_text
from posecast.system import drives
from posecast.system.drives import (
    advice_on,
    cache_folder,
    flush_to_disk,
    is_wrong_name,
    locked,
    set_library_folders,
    user_cache,
)

from .conftest import TINY


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


LACKING = [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL]
NO_LOCKS = [errno.ENOLCK, *LACKING]
NO_CHMOD = [errno.EPERM, errno.EACCES, errno.EROFS, *LACKING]
NO_RENAME = [errno.EEXIST, errno.EPERM, errno.EACCES, *LACKING]
NO_MAPS = [errno.ENODEV, errno.EACCES, *LACKING]


def refusing(number: int, allowed: Callable[..., bool] = lambda *_: False, call: Any = None) -> Callable[..., Any]:
    """Return a function that raises an error, or calls another one where that is allowed."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        if allowed(*arguments):
            return call(*arguments, **options)
        raise OSError(number, os.strerror(number))

    return refuse


def refuse_chmod(patch: pytest.MonkeyPatch, number: int) -> None:
    for name in ("chmod", "fchmod"):
        patch.setattr(os, name, refusing(number))


def refuse_replacing(patch: pytest.MonkeyPatch, number: int) -> None:
    """Refuse to rename over an existing file."""
    for name in ("rename", "replace"):
        call = getattr(os, name)
        patch.setattr(os, name, refusing(number, lambda _, target, **__: not os.path.exists(target), call))


REFUSALS: dict[str, tuple[list[int], Callable[[pytest.MonkeyPatch, int], None]]] = {
    "chmod": (NO_CHMOD, refuse_chmod),
    "fsync": (LACKING, lambda patch, number: patch.setattr(os, "fsync", refusing(number))),
    "flock": (NO_LOCKS, lambda patch, number: patch.setattr(fcntl, "flock", refusing(number))),
    "mmap": (NO_MAPS, lambda patch, number: patch.setattr(mmap, "mmap", refusing(number))),
    "rename": (NO_RENAME, refuse_replacing),
}
CASES = [(name, number) for name, (numbers, _) in REFUSALS.items() for number in dict.fromkeys(numbers)]


def named(case: tuple[str, int]) -> str:
    return f"{case[0]} {errno.errorcode[case[1]]}"


@pytest.mark.parametrize("case", CASES, ids=named)
def test_files_are_written_and_replaced_where_a_drive_lacks_something(
    case: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    REFUSALS[case[0]][1](monkeypatch, case[1])
    for text in ("first", "second", "third"):
        write_text(tmp_path / "folder" / "a.txt", text)
        assert (tmp_path / "folder" / "a.txt").read_text() == text
    assert os.listdir(tmp_path / "folder") == ["a.txt"]


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "flock"], ids=named)
def test_a_data_set_is_packed_and_read_where_a_drive_lacks_something(
    case: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic(tmp_path / "data", Choreography(sequences=1, frames=4, size=(16, 16)))
    with monkeypatch.context() as patch:
        REFUSALS[case[0]][1](patch, case[1])
        footage = [load_footage(tmp_path / "data", (16, 16)) for _ in range(2)]
    expected = load_footage(tmp_path / "data", (16, 16))
    for loaded in footage:
        np.testing.assert_array_equal(loaded.train[0].frames, expected.train[0].frames)


def test_permissions_of_a_written_file_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_failing_flush_is_an_error(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refusing(number))
    with pytest.raises(OSError, match=os.strerror(number)), open(tmp_path / "a", "wb") as file:
        flush_to_disk(file)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENAMETOOLONG, errno.EROFS])
def test_an_error_names_the_file_and_not_the_temporary_one(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        write_text(tmp_path / "a.txt", "text")
    assert raised.value.filename == str(tmp_path / "a.txt")


def test_a_file_survives_if_nothing_can_be_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "before")
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, refusing(errno.EPERM))
    with pytest.raises(PermissionError, match=r"not permitted"):
        write_text(tmp_path / "a.txt", "after")
    assert (tmp_path / "a.txt").read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_earlier_file_returns_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a.txt", "before")
    rename = os.rename
    monkeypatch.setattr(os, "replace", refusing(errno.EEXIST))
    monkeypatch.setattr(os, "rename", refusing(errno.EPERM, lambda source, _: ".writing" not in str(source), rename))
    with pytest.raises(OSError, match="not permitted"):
        write_text(tmp_path / "a.txt", "after")
    assert (tmp_path / "a.txt").read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


# Locks


def refuse_locks_outside(patch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Refuse locks of files that do not lie below a folder."""
    flock = fcntl.flock

    def is_inside(descriptor: int, _: int) -> bool:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(folder)

    patch.setattr(fcntl, "flock", refusing(number, is_inside, flock))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("number", dict.fromkeys(NO_LOCKS).keys())
@pytest.mark.parametrize("place", ["cache", "temporary"])
def test_a_lock_on_a_drive_without_locks_still_excludes_others(
    place: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    drives._temporary_folder.cache_clear()
    (tmp_path / "temporary").mkdir()
    refuse_locks_outside(monkeypatch, tmp_path / place, number)
    (tmp_path / "link").symlink_to(tmp_path)
    with locked(tmp_path / "a.lock"), locked(tmp_path / "b.lock"):
        for path in (tmp_path / "a.lock", tmp_path / "link" / "a.lock"):
            with pytest.raises(filelock.Timeout), locked(path, timeout=0):
                pass
    with locked(tmp_path / "a.lock", timeout=0):
        pass
    drives._temporary_folder.cache_clear()


def test_without_any_locks_the_error_names_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    with pytest.raises(OSError, match=r"a\.lock"), locked(tmp_path / "a.lock"):
        pass


def test_a_lock_in_a_file_instead_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file" / "a.lock"):
        pass


# Advice

ADVICE = {
    errno.ENOSPC: (1, "Free some space"),
    errno.EDQUOT: (1, "Free some space"),
    errno.EIO: (1, "failing"),
    errno.ENAMETOOLONG: (2, "does not take this name"),
    errno.EILSEQ: (2, "does not take this name"),
    errno.EINVAL: (2, "does not take this name"),
    errno.ENOTSUP: (1, "lacks an operation"),
    errno.ENOSYS: (1, "lacks an operation"),
    errno.ENOLCK: (1, "lacks an operation"),
    errno.ENODEV: (1, "lacks an operation"),
    errno.EPERM: (1, "change the permissions"),
    errno.EACCES: (1, "change the permissions"),
}


@pytest.mark.parametrize("number", ADVICE)
def test_the_sentence_names_the_file_and_says_what_helps(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, advice = ADVICE[number]
    error = OSError(number, os.strerror(number), str(tmp_path / "a:b"))
    assert advice in advice_on(error)
    assert is_wrong_name(error) == (status == 2)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["synth", str(tmp_path / "a:b"), "--sequences", "1", "--frames", "4", "--size", "16x16"]) == status
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a:b" in said
    assert advice in said


def test_a_name_that_is_too_long_is_the_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / ("long" * 100))
    assert main(["synth", out, "--sequences", "1", "--frames", "4", "--size", "16x16"]) == 2
    assert "expected a shorter one" in capsys.readouterr().err


# Surroundings


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Take the home away, and return the system's temporary folder."""
    for name in ("XDG_CACHE_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/no-home")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    drives._temporary_folder.cache_clear()
    yield tmp_path
    drives._temporary_folder.cache_clear()


def test_without_a_home_the_cache_is_a_private_temporary_folder(no_home: Path) -> None:
    assert user_cache() is None
    folder = cache_folder()
    assert folder == cache_folder() == no_home / f"posecast-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    set_library_folders()
    assert os.environ["MPLCONFIGDIR"] == str(folder / "matplotlib")


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_a_temporary_folder_of_someone_else_is_not_used(no_home: Path, kind: str) -> None:
    taken = no_home / f"posecast-{os.getuid()}"
    if kind == "open to others":
        taken.mkdir()
        taken.chmod(0o777)
    elif kind == "a link":
        (no_home / "theirs").mkdir()
        taken.symlink_to(no_home / "theirs")
    else:
        taken.touch()
    folder = cache_folder()
    assert folder == cache_folder() != taken
    assert folder.stat().st_mode & 0o777 == 0o700


def test_with_nowhere_to_write_the_cache_folder_is_no_error(no_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    assert not cache_folder().is_relative_to(no_home)


@pytest.mark.parametrize("has_memory", [True, False])
def test_without_a_disk_temporary_files_lie_in_memory(
    has_memory: bool, no_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    def gettempdir() -> str:
        if tempfile.tempdir is None:
            raise error
        return tempfile.tempdir

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "gettempdir", gettempdir)
    monkeypatch.setattr(drives, "MEMORY", str(tmp_path if has_memory else tmp_path / "missing"))
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    set_library_folders()
    assert (cache_folder().parent == tmp_path) == has_memory
    assert (os.environ["TMPDIR"] == str(tmp_path)) == has_memory
    assert ("set TMPDIR" in advice_on(error)) != has_memory


AS_USER = """
import os
from pathlib import Path
from posecast.system import drives
from posecast.data.cache import load_recordings
from posecast.data.dancer.dataset import Choreography, write_synthetic
from posecast.files import write_text

def work(data):
    write_text(drives.cache_folder() / "a", "text")
    write_synthetic(data, Choreography(sequences=1, frames=4, size=(16, 16)))
    return len(load_recordings(data, "train", (16, 16)))

os.environ["XDG_CACHE_HOME"] = os.path.abspath("cache")
work(Path("first"))  # imports everything, which the other user may not read
del os.environ["XDG_CACHE_HOME"]
os.setgroups([])
os.setgid(12345)
os.setuid(12345)
print(work(Path("second")))
"""


@pytest.mark.parametrize("home", [None, "", "/proc/no-home", "/dev/null", "relative"])
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become another user")
def test_a_user_without_a_name_needs_no_home(home: str | None) -> None:
    environment = {"PATH": os.environ["PATH"]} | ({} if home is None else {"HOME": home})
    with tempfile.TemporaryDirectory() as work:  # unlike pytest's, in a folder that is open to all users
        os.chmod(work, 0o777)
        done = subprocess.run(
            [sys.executable, "-c", AS_USER],
            capture_output=True,
            text=True,
            env=environment | {"TMPDIR": work},
            cwd=work,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_run_is_trained_where_a_drive_lacks_something(
    case: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Locks are refused everywhere but in the cache, as where only DATA and RUN lie on such a drive."""
    data, run = tmp_path / "data", tmp_path / "run"
    write_synthetic(data, Choreography(sequences=1, frames=20, size=(16, 16)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if case[0] == "flock":
        refuse_locks_outside(monkeypatch, tmp_path / "cache", case[1])
    else:
        REFUSALS[case[0]][1](monkeypatch, case[1])
    settings = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", *as_words(value))]
    train = ["train", "--data", str(data), "--out", str(run), *settings]
    for words in (
        [*train, "--steps", "2"],
        [*train, "--steps", "2", "--resume"],
        ["evaluate", str(run), "--data", str(data), "--futures", "1"],
        ["evaluate", str(run), "--data", str(data), "--futures", "1"],
        ["report", str(run), "--out", str(tmp_path / "page.html")],
        ["report", str(run), "--out", str(tmp_path / "page.html"), "--force"],
        ["submit", str(run), "--data", str(data), "--out", str(tmp_path / "submission")],
    ):
        assert main(words) == 0, capsys.readouterr().err
    assert not list(tmp_path.rglob(".writing-*"))


def as_words(value: object) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]
