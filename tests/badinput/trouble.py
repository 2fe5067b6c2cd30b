# SPDX-License-Identifier: Apache-2.0
"""What ranks of these tests run, and how they tell what came of it."""

import contextlib
import ctypes
import os
import traceback

import shmrt
import torch

CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def own_network(wanted: bool = True):
    """This thread, and those it starts, in a network namespace without interfaces, if @wanted."""
    if not wanted:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise PermissionError(ctypes.get_errno(), "no network namespace can be made here")
    try:
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


def told(work) -> tuple[int, str]:
    """The code and text of what @work raises, (0, "") if nothing."""
    try:
        work()
    except Exception as error:
        # What its frames hold ends now: a DataLoader's workers that the collector finds later take 5 s each.
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, shmrt.Error):
            return error.code, str(error)
        return -1, f"{type(error).__name__}: {error}"
    return 0, ""


def told_in_a_child(work) -> str:
    """The text of what @work raises in a child of fork()."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, told(work)[1].encode())
        os._exit(0)
    os.close(write)
    said = os.read(read, 4096).decode()
    os.close(read)
    os.waitpid(pid, 0)
    return said


def join(**keywords) -> tuple[int, str]:
    return told(lambda: shmrt.init(**keywords))


def sum_of(value: float) -> float:
    return shmrt.all_reduce(torch.full((1000,), value))[0].item()


def new_job() -> float:
    """A communicator can be made again, and adds up."""
    shmrt.finalize()
    shmrt.init()
    total = sum_of(1.0)
    shmrt.finalize()
    return total
