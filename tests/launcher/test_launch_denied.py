# SPDX-License-Identifier: Apache-2.0
"""Binding in a container that forbids it: a seccomp filter answers for the kernel."""

import errno

import pytest
from denying import forbidding, needs_numbers

pytestmark = needs_numbers


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_memory_that_cannot_be_bound_is_one_line(launcher, code):
    result = launcher.run("-n", "2", "echo", "hi", preexec_fn=forbidding("set_mempolicy", code))
    assert result.returncode == 0
    assert sorted(result.stdout.splitlines()) == ["[0] hi", "[1] hi"]
    lines = [line for line in result.stderr.splitlines() if "memory" in line]
    assert len(lines) == 1
    assert "first touched" in lines[0]
    assert ("CAP_SYS_NICE" in lines[0]) == (code == errno.EPERM)


WHAT_IS_BOUND = """
import os, shmrt
shmrt.init()
print(os.environ.get("SHMRT_BIND"), [line for line in str(shmrt.report()).splitlines() if ", bound" in line])
shmrt.finalize()
"""


def test_shared_memory_is_bound_where_only_set_mempolicy_is_refused(launcher):
    """As it is without the filter: that knows one system call, and libshmrt uses another."""
    run = ["-n", "1", *launcher.python(WHAT_IS_BOUND)]
    free = launcher.run(*run)
    assert free.returncode == 0, free.stderr
    if "bound" not in free.stdout:
        pytest.skip("shared memory cannot be bound here, whatever the filter")
    refused = launcher.run(*run, preexec_fn=forbidding("set_mempolicy", errno.EPERM))
    assert refused.returncode == 0, refused.stderr
    assert refused.stdout == free.stdout
    assert "memory cannot be bound" in refused.stderr


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
