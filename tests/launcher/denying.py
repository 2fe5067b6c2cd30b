# SPDX-License-Identifier: Apache-2.0
"""Binding in a container that forbids it: a seccomp filter answers for the kernel."""

import ctypes
import platform
import struct

import pytest

SYSCALLS = {
    "x86_64": (
        0xC000003E,
        {"set_mempolicy": 238, "mbind": 237, "sched_setaffinity": 203, "pipe2": 293, "move_pages": 279},
    ),
    "aarch64": (
        0xC00000B7,
        {"set_mempolicy": 237, "mbind": 235, "sched_setaffinity": 122, "pipe2": 59, "move_pages": 239},
    ),
}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

needs_numbers = pytest.mark.skipif(platform.machine() not in SYSCALLS, reason="no system call numbers for this CPU")


def forbidding(name: str, code: int):
    """A preexec_fn that makes one system call fail in the process and all that it starts."""
    audit, numbers = SYSCALLS[platform.machine()]

    def jump_unless(value, over):
        return struct.pack("HBBI", 0x15, 0, over, value)

    def load(offset):
        return struct.pack("HBBI", 0x20, 0, 0, offset)

    def answer(value):
        return struct.pack("HBBI", 0x06, 0, 0, value)

    program = b"".join(
        (
            load(4),
            jump_unless(audit, 3),
            load(0),
            jump_unless(numbers[name], 1),
            answer(0x00050000 | code),
            answer(0x7FFF0000),
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    code_buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code_buffer))
    header_buffer = ctypes.create_string_buffer(header, len(header))

    def install():
        assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(header_buffer), 0, 0) == 0
        assert code_buffer  # stays alive until here

    return install
