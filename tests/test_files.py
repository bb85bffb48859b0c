"""Atomic files, claimed folders, and JSON without NaN."""

import errno
import os
from pathlib import Path

import pytest

from posecast.errors import InputError
from posecast.files import WRITING, claim_folder, finite, read_json, read_json_lines, replacing, write_json, write_text


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "before")

    def interrupted_write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "before"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted_write()
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_failing_disk_names_the_file_and_keeps_the_old_one(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")

    def fail(*arguments: object, **more: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(*((os, "fsync", fail) if call == "fsync" else (Path, "write_text", fail)))
    with pytest.raises(OSError, match=r"a\.txt"):
        write_text(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_claimed_if_it_is_empty_or_marked(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    claim_folder(folder, marker="mark", ours=("mark", "more"), force=False)
    assert folder.is_dir()
    claim_folder(folder, marker="mark", ours=("mark", "more"), force=False)  # an empty folder can be claimed
    (folder / "theirs").touch()
    with pytest.raises(InputError, match="already holds something"):
        claim_folder(folder, marker="mark", ours=("mark", "more"), force=False)
    with pytest.raises(InputError, match="posecast did not fill it"):
        claim_folder(folder, marker="mark", ours=("mark", "more"), force=True)
    (folder / "mark").touch()
    (folder / "more").mkdir()
    claim_folder(folder, marker="mark", ours=("mark", "more"), force=True)
    assert [path.name for path in folder.iterdir()] == ["theirs"]


def test_leftovers_of_a_killed_process_do_not_occupy_a_folder(tmp_path: Path) -> None:
    (tmp_path / f"{WRITING}half.csv").touch()
    claim_folder(tmp_path, marker="mark", ours=("mark",), force=False)
    (tmp_path / "theirs").touch()
    with pytest.raises(InputError, match="already holds something"):
        claim_folder(tmp_path, marker="mark", ours=("mark",), force=False)


def test_an_interrupted_claim_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mark", "more"):
        (tmp_path / name).touch()

    def remove_and_fail(path: Path, missing_ok: bool = False) -> None:
        os.remove(path)
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", remove_and_fail)
        with pytest.raises(ZeroDivisionError):
            claim_folder(tmp_path, marker="mark", ours=("mark", "more"), force=True)
    claim_folder(tmp_path, marker="mark", ours=("mark", "more"), force=True)
    assert not list(tmp_path.iterdir())


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        claim_folder(tmp_path / "link", marker="mark", ours=(), force=True)


def test_json_has_null_for_nan_and_infinity(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [float("nan"), 1.0, (float("inf"),)]})
    assert read_json(tmp_path / "a.json", "numbers") == {"a": [None, 1.0, [None]]}
    assert finite({"b": -float("inf"), "c": "text"}) == {"b": None, "c": "text"}


def test_reading_a_log_stops_at_an_incomplete_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert read_json_lines(log) == []
    log.write_text('{"epoch": 1}\n7\n{"epoch": 2}\n{"epo')
    assert read_json_lines(log) == [{"epoch": 1}, {"epoch": 2}]
