# SPDX-License-Identifier: Apache-2.0
"""Binding in a container that forbids it: a seccomp filter answers for the kernel."""

import ctypes
import errno
import platform
import struct

import pytest

SYSCALLS = {
    "x86_64": (0xC000003E, {"set_mempolicy": 238, "sched_setaffinity": 203, "pipe2": 293}),
    "aarch64": (0xC00000B7, {"set_mempolicy": 237, "sched_setaffinity": 122, "pipe2": 59}),
}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

pytestmark = pytest.mark.skipif(platform.machine() not in SYSCALLS, reason="no system call numbers for this CPU")


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


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_memory_that_cannot_be_bound_is_one_line(launcher, code):
    result = launcher.run("-n", "2", "echo", "hi", preexec_fn=forbidding("set_mempolicy", code))
    assert result.returncode == 0
    assert sorted(result.stdout.splitlines()) == ["[0] hi", "[1] hi"]
    lines = [line for line in result.stderr.splitlines() if "memory" in line]
    assert len(lines) == 1
    assert "first touched" in lines[0]
    assert ("CAP_SYS_NICE" in lines[0]) == (code == errno.EPERM)


@pytest.mark.parametrize("name", ["set_mempolicy", "sched_setaffinity"])
def test_strict_starts_nothing(launcher, name):
    result = launcher.run("-n", "2", "--strict", "echo", "hi", preexec_fn=forbidding(name, errno.EPERM))
    assert result.returncode == 125
    assert "hi" not in result.stdout
    assert "--strict" in result.stderr.splitlines()[-1]


def test_cpus_that_cannot_be_bound_are_one_line(launcher):
    result = launcher.run("-n", "2", "echo", "hi", preexec_fn=forbidding("sched_setaffinity", errno.EPERM))
    assert result.returncode == 0
    assert result.stderr.count("cannot be bound to their CPUs") == 1


def test_without_binding_nothing_is_asked_for(launcher):
    result = launcher.run("-n", "2", "--no-bind", "true", preexec_fn=forbidding("set_mempolicy", errno.EPERM))
    assert result.returncode == 0
    assert "memory" not in result.stderr


def test_what_we_cannot_do_is_our_trouble(launcher):
    """No pipes: the launcher fails before it starts anything, and says so."""
    result = launcher.run("-n", "2", "echo", "hi", preexec_fn=forbidding("pipe2", errno.EMFILE))
    assert result.returncode == 125
    assert result.stdout == ""
    assert "Too many open files" in result.stderr.splitlines()[-1]
    result = launcher.run("-n", "1", "echo", "hi", preexec_fn=forbidding("pipe2", errno.EMFILE))
    assert result.returncode == 125
    assert "rank 0 cannot be started: Too many open files" in result.stderr
