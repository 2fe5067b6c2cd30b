# SPDX-License-Identifier: Apache-2.0
"""torch.distributed's backend "shmrt": registering it, making groups, leaving them at exit."""

import atexit

import torch.distributed as dist

from . import _C, _engine

_handles: list[_C.GroupHandle] = []


def create(options, _backend_options=None):
    """A group's backend, as torch.distributed asks for it. Returns when all of its ranks have come."""
    backend, handle = _C.make_process_group(
        options.store,
        options.group_rank,
        options.group_size,
        options.timeout,
        options.group_id or "",
        list(options.global_ranks_in_group),
        _engine.make,
    )
    _handles[:] = [*(h for h in _handles if h.is_alive()), handle]
    return backend


def register() -> None:
    """Let torch.distributed know "shmrt"; also where that was done before, or is about to be."""
    dist.Backend.register_backend("shmrt", create, extended_api=True, devices=["cpu"])


def _leave_all() -> None:
    """At exit, while threads can still take the GIL: a group that nobody destroyed must not wait for it then."""
    for handle in _handles:
        handle.leave()


atexit.register(_leave_all)
