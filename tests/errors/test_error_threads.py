# SPDX-License-Identifier: Apache-2.0
"""A group that gets no thread for its asynchronous collectives, in the words of docs/errors.md; then it goes on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from error_table import assert_documented
from python_errors import said, wait_for
from test_error_groups import join, leave

LIBC = ctypes.CDLL(None)
MORE_THAN_THERE_IS = 1 << 60  # bytes of address space


@pytest.fixture
def alone():
    """A group of one rank in this very process."""
    dist.init_process_group("shmrt", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@contextlib.contextmanager
def no_descriptor():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def set_stack(bytes_: int) -> int:
    """Of each new thread; how large it was before."""
    attributes, before = ctypes.create_string_buffer(256), ctypes.c_size_t()  # pthread_attr_t has 64 bytes at most
    assert LIBC.pthread_getattr_default_np(attributes) == 0
    assert LIBC.pthread_attr_getstacksize(attributes, ctypes.byref(before)) == 0
    assert LIBC.pthread_attr_setstacksize(attributes, ctypes.c_size_t(bytes_)) == 0
    assert LIBC.pthread_setattr_default_np(attributes) == 0
    return before.value


@contextlib.contextmanager
def no_thread():
    """Not by the limit of processes, which root does not have."""
    before = set_stack(MORE_THAN_THERE_IS)
    yield
    set_stack(before)


@pytest.mark.parametrize(
    ("words", "code", "lacking"),
    [
        ("collectives can't be started: timerfd_create: {why}", "EMFILE", no_descriptor),
        ("collectives can't be started: {why}", "EAGAIN", no_thread),
    ],
)
def test_no_thread(alone, words, code, lacking):
    dist.all_reduce(torch.ones(3))  # what is done once is done
    refused, out = torch.zeros(3), torch.zeros(3)
    with lacking():
        got, text = said(lambda: dist.all_gather([refused], torch.ones(3), async_op=True))
    assert got == code
    assert_documented(words, text, "the errno")
    dist.all_gather([out], torch.ones(3), async_op=True).wait()
    dist.barrier()
    assert torch.equal(out, torch.ones(3))
    assert torch.equal(refused, torch.zeros(3))  # it was not started


def receive_without_a_thread(said_it: Path) -> tuple[tuple[str, str], float]:
    """The receive that was refused is not there: the message goes to the next one."""
    join()
    found = ("0", "")
    x = torch.zeros(1)
    if dist.get_rank() == 0:
        with no_thread():
            found = said(lambda: dist.irecv(torch.zeros(1), 1))
        said_it.touch()
        dist.irecv(x, 1).wait()
    else:
        wait_for(said_it)
        dist.send(torch.full((1,), 7.0), 0)
    leave()
    return found, x.item()


def test_no_thread_for_messages(two_ranks, tmp_path):
    ((code, text), got), _ = two_ranks().call(receive_without_a_thread, tmp_path / "said", timeout=120)
    assert code == "EAGAIN"
    assert_documented("collectives can't be started: {why}", text, "the errno")
    assert got == 7
