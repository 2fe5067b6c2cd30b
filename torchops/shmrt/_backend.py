# SPDX-License-Identifier: Apache-2.0
"""torch.distributed's backend "shmrt": registering it, making groups, leaving them at exit."""

import atexit
from collections import Counter
from typing import Any

import torch.distributed as dist

from . import _C, _engine

_handles: list[_C.GroupHandle] = []
_of_groups_gone: tuple[Counter[str], Counter[str]] = (Counter(), Counter())


def create(options: Any, _backend_options: Any = None) -> "dist.Backend":
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
    _forget_groups_gone()
    _handles.append(handle)
    return backend


def counts() -> dict[str, dict[str, int]]:
    """Operations of all groups: native by kind ("ALLREDUCE"), and by reason those that another engine did."""
    _forget_groups_gone()
    native, fallback = (Counter(one) for one in _of_groups_gone)
    for handle in _handles:
        its_native, its_fallback = handle.counts()
        native.update(its_native)
        fallback.update(its_fallback)
    return {"native": dict(native), "fallback": dict(fallback)}


def has_made_groups() -> bool:
    return bool(_handles) or any(_of_groups_gone)


def _forget_groups_gone() -> None:
    for handle in [h for h in _handles if not h.is_alive()]:
        for total, its in zip(_of_groups_gone, handle.counts(), strict=True):
            total.update(its)
        _handles.remove(handle)


def register() -> None:
    """Let torch.distributed know "shmrt"; also where that was done before, or is about to be."""
    dist.Backend.register_backend("shmrt", create, extended_api=True, devices=["cpu"])


def _leave_all() -> None:
    """At exit, while threads can still take the GIL: a group that nobody destroyed must not wait for it then."""
    for handle in _handles:
        handle.leave()


atexit.register(_leave_all)
