"""Output that a screen, a file or a pipe cannot show or take, and terminals of odd sizes."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from posecast.cli import tables
from posecast.cli.main import app
from posecast.cli.options import print_note
from posecast.cli.progress_bars import live_console
from posecast.data.dancer.dataset import Choreography, write_synthetic
from posecast.system import output
from posecast.system.output import TolerantStream, lost_output, protect_output

COMMANDS = [name for name in app if not name.startswith("-")]
PROGRAM = [sys.executable, "-m", "posecast"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a data set, whose name no character set of one byte holds."""
    folder = tmp_path_factory.mktemp("out put")
    write_synthetic(folder / "影片 data", Choreography(sequences=1, frames=4, size=(16, 16)))
    return folder


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line in which `posecast` is the program; its last line of stdout is the program's exit status."""
    words = f'posecast() {{ {sys.executable} -m posecast "$@"; }}\n{line}\necho ${{PIPESTATUS[0]}}'
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), **variables}
    return subprocess.run(
        ["bash", "-c", words], cwd=folder, env=environment, capture_output=True, text=True, errors="replace"
    )


# Streams that fail


class Failing(io.RawIOBase):
    """Stream that takes three bytes at a time, and fails from a position on."""

    def __init__(self, number: int, position: int) -> None:
        self.number, self.position, self.content = number, position, b""

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        if len(self.content) >= self.position:
            raise OSError(self.number, os.strerror(self.number))
        taken = bytes(content)[:3]  # type: ignore[arg-type]
        self.content += taken
        return len(taken)


FAILURES = [errno.ENOSPC, errno.EIO, errno.EBADF, errno.EPIPE, errno.EDQUOT, errno.EFBIG, errno.ECONNRESET, errno.ENXIO]


@pytest.mark.parametrize("number", FAILURES)
@pytest.mark.parametrize("position", [0, 4])
def test_a_failing_stream_is_written_to_as_far_as_possible(
    number: int, position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(number, position)
    stream = io.TextIOWrapper(io.BufferedWriter(TolerantStream(failing)), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    assert lost_output() is None
    for _ in range(3):
        print("first and more", flush=True)
    error = lost_output()
    assert failing.content == b"first and more"[: 6 if position else 0]
    is_read = number not in (errno.EPIPE, errno.ECONNRESET)
    assert (error.errno if error else None) == (number if is_read else None)


def test_a_pipe_that_would_block_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    content = os.urandom(2**18)  # more than a pipe holds
    received = bytearray()
    raw = io.FileIO(writer, "w")

    def read() -> None:
        while chunk := os.read(reader, 4096):
            received.extend(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    assert TolerantStream(raw).write(content) == len(content)
    raw.close()
    thread.join()
    os.close(reader)
    assert bytes(received) == content


def test_streams_of_a_notebook_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp950")
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", shown)
    protect_output()
    assert (sys.stdout, sys.stderr) == (stream, shown)
    print("R² \udcff 影片", flush=True)
    assert stream.buffer.getvalue().decode("cp950") == "R? ? 影片\n"  # type: ignore[attr-defined]
    assert lost_output() is None


CHECK = "posecast check '影片 data'"
REDIRECTED = {
    # Line, exit status, whether stderr has a sentence, whether a result is still seen.
    "help to a pipe that closes": ("posecast --help | head -1", 0, False, True),
    "help of a command to a pipe that closes": ("posecast train --help | head -1", 0, False, True),
    "help to nobody": ("posecast --help | true", 0, False, False),
    "help to a full disk": ("posecast --help > /dev/full", 1, True, False),
    "help to a closed stream": ("posecast --help >&-", 0, False, False),
    "version to a full disk": ("posecast --version > /dev/full", 1, True, False),
    "plan to a pipe that closes": ("posecast train --data x --out y --dry-run | head -1", 0, False, True),
    "plan to a full disk": ("posecast train --data x --out y --dry-run > /dev/full", 1, True, False),
    "findings to nobody": (f"{CHECK} | true", 0, False, False),
    "findings to a full disk": (f"{CHECK} > /dev/full", 1, True, False),
    "findings to a closed stream": (f"{CHECK} >&-", 0, False, False),
    "findings, nothing on stderr": (f"{CHECK} 2>&-", 0, False, True),
    "findings, stderr on a full disk": (f"{CHECK} 2> /dev/full", 0, False, True),
    "findings, nothing on stdin": (f"{CHECK} <&-", 0, False, True),
    "findings, unbuffered, to a full disk": (f"PYTHONUNBUFFERED=1 {CHECK} > /dev/full", 1, True, False),
    "an error to a closed stream": ("posecast check nothing 2>&-", 2, False, False),
    "an error to a full disk": ("posecast check nothing 2> /dev/full", 2, False, False),
    "an error and all streams closed": ("posecast check nothing <&- >&- 2>&-", 2, False, False),
    "an error, and stdout on a full disk": ("posecast check nothing > /dev/full", 2, True, False),
    "an error to nobody": ("posecast check nothing 2>&1 | true", 2, False, False),
}


@pytest.mark.parametrize("case", REDIRECTED)
def test_output_that_cannot_be_written_ends_nothing(case: str, folder: Path) -> None:
    line, status, has_sentence, has_result = REDIRECTED[case]
    done = shell(line, folder)
    assert done.stdout.splitlines()[-1] == str(status), done.stderr
    assert len(done.stderr.splitlines()) == has_sentence, done.stderr
    assert not done.stderr or done.stderr.startswith("posecast: ")
    assert (len(done.stdout.splitlines()) > 1) == has_result


def test_no_file_gets_the_number_of_a_closed_stream(folder: Path) -> None:
    code = """
import os, sys
for descriptor in (0, 1, 2):
    os.close(descriptor)
sys.stdin = sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None
from posecast.system.output import protect_output
protect_output()
with open("file", "w") as file:
    os.write(1, b"C code writes"), os.write(2, b"C code writes")
    print("printed", flush=True), print("printed", file=sys.stderr, flush=True)
    file.write(str(file.fileno()))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=folder).returncode == 0
    assert (folder / "file").read_text() == "3"


# Letters that an encoding lacks

ENCODINGS = (
    *("cp950", "ascii:strict", "utf-8:strict", "utf-16", "big5", "ascii", "utf-8", "latin-1", "cp1252", "cp437"),
    *("gbk", "shift_jis", "euc-kr", "koi8-r", "utf-8:surrogateescape", "ascii:xmlcharrefreplace"),
)
LOCALES = (
    "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0",
    "FORCE_COLOR=1",
    *("LANG=C", "LC_ALL=C", "LC_ALL=zh_TW.BIG5", "PYTHONUTF8=1", "PYTHONLEGACYWINDOWSSTDIO=1"),
    *("NO_COLOR=1", "TTY_COMPATIBLE=1", "TERM=dumb", "TERM=", "TERM=nonsense"),
)


def first_short(cases: Sequence[str], count: int) -> list[Any]:
    """Return cases of which all but the first `count` are tested only with those that take long."""
    return [pytest.param(case, marks=[pytest.mark.long] if k >= count else []) for k, case in enumerate(cases)]


@pytest.mark.parametrize(
    "setting", [*first_short([f"PYTHONIOENCODING={name}" for name in ENCODINGS], 4), *first_short(LOCALES, 2)]
)
def test_letters_that_an_encoding_lacks_are_replaced(setting: str, folder: Path) -> None:
    variables = dict(word.split("=") for word in setting.split(" "))
    if variables.get("PYTHONUTF8") == "0" and not __file__.isascii():
        pytest.skip("Python cannot read the path of an editable installation there")
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), **variables}
    encoding = variables.get("PYTHONIOENCODING", "utf-8").partition(":")[0]
    for name, status in (("影片 data", 0), (b"R\xc2\xb2 \xff\n\x1b[31m", 2)):
        done = subprocess.run([*PROGRAM, "check", name], cwd=folder, env=environment, capture_output=True)
        stdout, stderr = (stream.decode(encoding, "replace") for stream in (done.stdout, done.stderr))
        assert done.returncode == status, stderr
        assert len(stderr.splitlines()) == (status == 2)
        assert "Traceback" not in stderr
        assert "\x1b" not in stdout + stderr


# Terminals

SIZES = (
    "0",
    "1",
    "2",
    "3",
    "5",
    "10",
    "19",
    "20",
    "41",
    "-3",
    "",
    "x",
    "²",
    "٣",
    "3.5",
    "100000",
    "9" * 30,
    "9" * 5000,
)


@pytest.mark.parametrize("name", ["COLUMNS", "LINES"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: size[:30])
def test_size_of_the_terminal_is_bounded(size: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("COLUMNS", "LINES"):
        monkeypatch.setenv(variable, size if variable == name else "80")
    protect_output()
    least, most = getattr(output, name)
    assert least <= int(os.environ[name]) <= most
    console = Console()
    assert (console.width if name == "COLUMNS" else console.height) == int(os.environ[name])


EVERY_HELP = f"""
from posecast.cli.main import main
assert not any([main(["--help"]), *(main([name, "--help"]) for name in {COMMANDS})])
"""


@pytest.mark.parametrize("columns", first_short(("2", "0", "1", "20", "²", "x", ""), 1))
def test_help_of_every_command_is_shown_at_every_width(columns: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EVERY_HELP],
        env={**os.environ, "COLUMNS": columns, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    width = max(map(len, done.stdout.splitlines()))
    assert width <= 80
    assert width > 70 or columns in ("0", "1", "2", "20")


def on_terminal(columns: int, words: list[str], folder: Path, **variables: str) -> tuple[int, str]:
    """Run a command on a terminal, and return its exit status and what it printed."""
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "TERM")}
    environment |= {"XDG_CACHE_HOME": str(folder / "cache"), **variables}
    process = subprocess.Popen(
        [*PROGRAM, *words], cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(control, 65536):
            shown += chunk
    except OSError:  # Linux says so when the terminal's other end is closed
        pass
    finally:
        os.close(control)
    return process.wait(), shown.decode(errors="replace")


@pytest.mark.parametrize(
    "columns", [20, pytest.param(0, marks=pytest.mark.long), pytest.param(1, marks=pytest.mark.long)]
)
@pytest.mark.parametrize("term", first_short(("", "dumb", "xterm", "xterm-256color", "nonsense"), 3))
def test_commands_run_on_odd_terminals(term: str, columns: int, folder: Path) -> None:
    variables = {} if not term else {"TERM": term}
    status, shown = on_terminal(columns, ["check", "影片 data"], folder, **variables)
    assert status == 0, shown
    assert "No errors" in shown
    assert "Traceback" not in shown
    assert term != "dumb" or "\x1b" not in shown


def test_a_terminal_that_is_closed_ends_nothing(folder: Path) -> None:
    control, terminal = pty.openpty()
    words = ["synth", "far", "--sequences", "1", "--frames", "4", "--size", "16x16"]
    process = subprocess.Popen([*PROGRAM, *words], cwd=folder, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    os.close(control)
    process.wait()
    assert len(list((folder / "far").rglob("*.png"))) > 4


def test_a_file_gets_no_bars(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.setenv(name, "1")
        assert live_console() is None


def test_a_file_gets_whole_sentences(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    sentence = "words " * 60 + "end"
    print_note(sentence)
    tables._console().print(sentence)
    output = capsys.readouterr()
    assert (output.out, output.err) == (f"{sentence}\n", f"{sentence}\n")
