"""A kernel that refuses: from now on this process and all its threads may not write, or may not change any folder.

Every writer meets it, Python's, torch's and FFmpeg's alike, as a failing or read-only disk would have it: the system
call itself returns the error (seccomp, BPF). There is no way back; so only in a child. Linux on x86-64 and arm64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

ARMED_BY = {"x86_64": 317, "aarch64": 277}
"""The number of seccomp(2)."""
WRITES = {"x86_64": (1, 18, 20, 296), "aarch64": (64, 68, 66, 70)}
"""write, pwrite64, writev, pwritev."""
FLUSHES = {"x86_64": (74, 75), "aarch64": (82, 83)}
"""fsync, fdatasync."""
CHANGES = {"x86_64": (85, 83, 84, 82, 87, 88, 86, 258, 263, 264, 316, 76, 90), "aarch64": (34, 35, 36, 38, 276, 53)}
"""creat, mkdir, rmdir, rename, unlink, symlink, link, mkdirat, unlinkat, renameat, renameat2, truncate, chmod; arm64
has only mkdirat, unlinkat, symlinkat, renameat, renameat2, fchmodat."""
OPENS = {"x86_64": {2: 1, 257: 2}, "aarch64": {56: 2}}
"""open and openat, and which argument holds the flags."""

LOAD, EQUALS, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def can_refuse() -> bool:
    """Whether this kernel can be told to."""
    return sys.platform == "linux" and platform.machine() in ARMED_BY


def fail_writes() -> None:
    """EIO for every byte and every flush, but to stdin, stdout and stderr."""
    machine = platform.machine()
    program = []
    for number in WRITES[machine]:
        program += [load_number(), jump(EQUALS, number, 0, 3), load_argument(0), jump(AT_LEAST, 3, 0, 1)]
        program += [refuse(errno.EIO)]
    for number in FLUSHES[machine]:
        program += [load_number(), jump(EQUALS, number, 0, 1), refuse(errno.EIO)]
    arm(program)


def forbid_changes() -> None:
    """EROFS for whatever makes, opens for writing, renames or removes a file."""
    machine = platform.machine()
    program = []
    for number, argument in OPENS[machine].items():
        program += [load_number(), jump(EQUALS, number, 0, 3), load_argument(argument)]
        program += [jump(ANY_BIT, os.O_WRONLY | os.O_RDWR | os.O_CREAT, 0, 1), refuse(errno.EROFS)]
    for number in CHANGES[machine]:
        program += [load_number(), jump(EQUALS, number, 0, 1), refuse(errno.EROFS)]
    arm(program)


def load_number() -> bytes:
    return instruction(LOAD, 0, 0, 0)


def load_argument(index: int) -> bytes:
    """Its lower half, which is where small numbers are."""
    return instruction(LOAD, 0, 0, 16 + 8 * index)


def jump(kind: int, value: int, if_true: int, if_false: int) -> bytes:
    return instruction(kind, if_true, if_false, value)


def refuse(error: int) -> bytes:
    return instruction(RETURN, 0, 0, REFUSE | error)


def instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    """One of classic BPF's (struct sock_filter)."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def arm(instructions: list[bytes]) -> None:
    """Have the kernel ask the program about every system call of every thread; what it does not refuse is allowed."""
    instructions = [*instructions, instruction(RETURN, 0, 0, ALLOW)]
    content = ctypes.create_string_buffer(b"".join(instructions))
    program = Program(len(instructions), ctypes.addressof(content))
    libc = ctypes.CDLL(None, use_errno=True)
    set_no_new_privileges, set_filter, all_threads = 38, 1, 1
    if libc.prctl(set_no_new_privileges, 1, 0, 0, 0) or libc.syscall(
        ARMED_BY[platform.machine()], set_filter, all_threads, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "seccomp")
