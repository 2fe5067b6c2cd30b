# SPDX-License-Identifier: Apache-2.0
"""A reader that takes nothing more: signals and deadlines work all the same, and nothing is lost before."""

import fcntl
import os
import pty
import signal
import subprocess
import time

import pytest
from launching import LIMIT_S, eventually

CHATTER = ["sh", "-c", "while :; do echo hello; done"]


def fill(end: int) -> None:
    """Write until the pipe takes nothing more."""
    os.set_blocking(end, False)
    try:
        while True:
            os.write(end, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(end, True)


@pytest.fixture(params=["terminal", "pipe"])
def stalled(request):
    """The end to write to; nobody reads the other one."""
    ends = pty.openpty() if request.param == "terminal" else os.pipe()
    if request.param == "pipe":
        fill(ends[1])
    yield ends[1]
    for end in ends:
        os.close(end)


def test_the_timeout_ends_a_job_that_nobody_reads(launcher, stalled):
    process = launcher.start("-n", "2", "--grace", "0.5", "--timeout", "1", *CHATTER, stdout=stalled)
    assert process.wait(LIMIT_S) == 124
    assert not launcher.relatives()


def test_a_signal_ends_a_job_that_nobody_reads(launcher, stalled):
    process = launcher.start("-n", "2", "--grace", "0.5", *CHATTER, stdout=stalled)
    eventually(lambda: len(launcher.relatives()) > 2, "the ranks run")
    time.sleep(0.5)  # until the stream is full
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 128 + signal.SIGTERM
    assert not launcher.relatives()


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_words_of_ours_wait_for_nobody(launcher, ranks):
    ends = os.pipe()
    process = launcher.start("-n", ranks, "--grace", "0.5", "sleep", "60", stderr=ends[1])
    eventually(lambda: len(launcher.relatives()) > 2, "the ranks run")
    fill(ends[1])
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 128 + signal.SIGTERM
    for end in ends:
        os.close(end)


def test_our_reader_keeps_its_descriptor_blocking(launcher):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        launcher.start("-n", "2", "echo", "hi", stdout=cat.stdin).wait(LIMIT_S)
        assert not fcntl.fcntl(cat.stdin, fcntl.F_GETFL) & os.O_NONBLOCK
        assert sorted(cat.communicate(timeout=LIMIT_S)[0].split(b"\n")) == [b"", b"[0] hi", b"[1] hi"]
