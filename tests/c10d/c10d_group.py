# SPDX-License-Identifier: Apache-2.0
"""What the tests' ranks have in common: joining a group, leaving it, and whether it still works."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist


def join(backend: str = "shmrt", seconds: float = 60) -> None:
    if not dist.is_initialized():
        dist.init_process_group(backend, timeout=timedelta(seconds=seconds))


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def is_usable() -> None:
    x = torch.ones(3)
    dist.all_reduce(x)
    assert x.tolist() == [dist.get_world_size()] * 3


def rank_and_size() -> tuple[int, int]:
    return dist.get_rank(), dist.get_world_size()


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def finish(work, is_async: bool) -> None:
    """The result of a call with async_op=is_async: wait for it, two ways."""
    if is_async:
        work.wait()
        assert work.is_completed()


def raises(kind, text: str, function, *args, **kwargs) -> None:
    try:
        function(*args, **kwargs)
    except kind as error:
        assert text in str(error), f"{text!r} is not in {str(error)!r}"
    else:
        raise AssertionError(f"nothing was raised, where {text!r} was expected")
