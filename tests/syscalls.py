"""System calls that fail, and system calls that are traced.

A failing or read-only disk is simulated for the calling process and all its threads: the system call itself returns the
error (seccomp, BPF), so that every writer is affected: Python, torch and FFmpeg. It cannot be undone and is therefore
used in child processes only. Linux on x86-64 and arm64. Sockets are traced by strace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

SECCOMP = {"x86_64": 317, "aarch64": 277}
"""System call number of seccomp(2)."""
WRITES = {"x86_64": (1, 18, 20, 296), "aarch64": (64, 68, 66, 70)}
"""write, pwrite64, writev, pwritev."""
FLUSHES = {"x86_64": (74, 75), "aarch64": (82, 83)}
"""fsync, fdatasync."""
CHANGES = {"x86_64": (85, 83, 84, 82, 87, 88, 86, 258, 263, 264, 316, 76, 90), "aarch64": (34, 35, 36, 38, 276, 53)}
"""creat, mkdir, rmdir, rename, unlink, symlink, link, mkdirat, unlinkat, renameat, renameat2, truncate, chmod; arm64
has only mkdirat, unlinkat, symlinkat, renameat, renameat2, fchmodat."""
PERMISSIONS = {"x86_64": (90, 91, 268, 452), "aarch64": (52, 53, 452)}
"""chmod, fchmod, fchmodat, fchmodat2; arm64 has no chmod."""
OPENS = {"x86_64": {2: 1, 257: 2}, "aarch64": {56: 2}}
"""open and openat, with the index of the argument that holds the flags."""

LOAD, EQUALS, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def can_refuse() -> bool:
    """Return whether this platform is supported."""
    return sys.platform == "linux" and platform.machine() in SECCOMP


def fail_writes() -> None:
    """Fail every write and flush with EIO, except to stdin, stdout and stderr."""
    machine = platform.machine()
    program = []
    for number in WRITES[machine]:
        program += [load_number(), jump(EQUALS, number, 0, 3), load_argument(0), jump(AT_LEAST, 3, 0, 1)]
        program += [refuse(errno.EIO)]
    for number in FLUSHES[machine]:
        program += [load_number(), jump(EQUALS, number, 0, 1), refuse(errno.EIO)]
    arm(program)


def forbid_changes() -> None:
    """Fail every system call that creates, opens for writing, renames or removes a file with EROFS."""
    machine = platform.machine()
    program = []
    for number, argument in OPENS[machine].items():
        program += [load_number(), jump(EQUALS, number, 0, 3), load_argument(argument)]
        program += [jump(ANY_BIT, os.O_WRONLY | os.O_RDWR | os.O_CREAT, 0, 1), refuse(errno.EROFS)]
    for number in CHANGES[machine]:
        program += [load_number(), jump(EQUALS, number, 0, 1), refuse(errno.EROFS)]
    arm(program)


def lack_operations() -> None:
    """Fail every change of permissions with EPERM and every flush with EINVAL, as some network drives do."""
    machine = platform.machine()
    program = []
    for number in PERMISSIONS[machine]:
        program += [load_number(), jump(EQUALS, number, 0, 1), refuse(errno.EPERM)]
    for number in FLUSHES[machine]:
        program += [load_number(), jump(EQUALS, number, 0, 1), refuse(errno.EINVAL)]
    arm(program)


def load_number() -> bytes:
    return instruction(LOAD, 0, 0, 0)


def load_argument(index: int) -> bytes:
    """Load the lower half of an argument, which holds small numbers."""
    return instruction(LOAD, 0, 0, 16 + 8 * index)


def jump(kind: int, value: int, if_true: int, if_false: int) -> bytes:
    return instruction(kind, if_true, if_false, value)


def refuse(error: int) -> bytes:
    return instruction(RETURN, 0, 0, REFUSE | error)


def instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    """Encode an instruction of classic BPF (struct sock_filter)."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


class Program(ctypes.Structure):
    """Program of classic BPF (struct sock_fprog)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def arm(instructions: list[bytes]) -> None:
    """Install the program as a filter of every system call of all threads; other calls are allowed."""
    instructions = [*instructions, instruction(RETURN, 0, 0, ALLOW)]
    content = ctypes.create_string_buffer(b"".join(instructions))
    program = Program(len(instructions), ctypes.addressof(content))
    libc = ctypes.CDLL(None, use_errno=True)
    set_no_new_privileges, set_filter, all_threads = 38, 1, 1
    if libc.prctl(set_no_new_privileges, 1, 0, 0, 0) or libc.syscall(
        SECCOMP[platform.machine()], set_filter, all_threads, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


def can_trace() -> bool:
    """Return whether strace is installed and may trace processes here."""
    return shutil.which("strace") is not None and subprocess.run(["strace", "-o", "/dev/null", "true"]).returncode == 0


def network_calls(command: list[str], folder: Path) -> tuple[int, list[str]]:
    """Run a command under strace; return its exit status and its calls about sockets, of child processes too.

    Args:
        command: Program and arguments.
        folder: Folder in which it runs, and for the trace and its output.
    """
    trace = folder / "trace"
    with (folder / "output").open("wb") as output:
        words = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(trace), *command]
        done = subprocess.run(words, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
    return done.returncode, trace.read_text(errors="replace").splitlines()


def sockets_of(command: list[str], folder: Path) -> tuple[int, list[str]]:
    """Run a command as `network_calls` does; return its exit status and its calls that opened a socket to a network."""
    status, calls = network_calls(command, folder)
    return status, [call for call in calls if re.search(r"\bsocket\((?!AF_UNIX)", call)]


def addresses_of(command: list[str], folder: Path) -> tuple[int, set[str]]:
    """Run a command as `network_calls` does; return its exit status and the IP addresses that it used."""
    status, calls = network_calls(command, folder)
    addresses = r'(?<=sin_addr=inet_addr\(")[^"]+|(?<=inet_pton\(AF_INET6, ")[^"]+(?=", &sin6_addr)'
    return status, set(re.findall(addresses, "\n".join(calls)))
