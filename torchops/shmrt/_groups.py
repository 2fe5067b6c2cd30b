# SPDX-License-Identifier: Apache-2.0
"""Groups of torch.distributed's other backends, for the operators that take a group."""

import errno
import os
import weakref
from collections.abc import Mapping

import torch.distributed as dist

from . import _C, _engine
from ._errors import Error
from ._lifetime import _settings_list

# Groups of torch.distributed and the names under which the operators know them.
_names: "weakref.WeakKeyDictionary[dist.ProcessGroup, str]" = weakref.WeakKeyDictionary()

# What attach() has made, by name, and of which group: torch uses names again.
_made: "dict[str, tuple[weakref.ref[dist.ProcessGroup], _C.Attached]]" = {}


def attach(
    process_group: dist.ProcessGroup | None = None,
    *,
    timeout: float | None = None,
    settings: Mapping[str, object] | None = None,
    use_shm: bool = True,
) -> str:
    """Make the ranks of a process group known to the operators; the answer is its name there.

    All ranks of the group call it. It may be of any backend, WORLD by default; a group of the backend
    "shmrt" is known already, and one that has the ranks of the default communicator is that one (""). The
    ranks find out over the group's store who shares a machine. timeout, settings and use_shm: as in
    init(). Ends with destroy_process_group(), or detach().
    """
    if not dist.is_initialized():
        raise Error("shmrt.attach() takes a group of torch.distributed: call init_process_group() first", errno.EINVAL)
    group = process_group or dist.distributed_c10d._get_default_group()
    name = group.group_name
    if name in _made and _made[name][0]() is not group:
        detach(name)  # it was of a group that is destroyed, and somebody still holds
    if name in _C.group_names():
        return name
    if settings is None and timeout is None and use_shm and _is_default(group):
        return ""
    if group not in dist.distributed_c10d._world.pg_map:
        raise Error(f'shmrt.attach(): this rank is not in the group "{name}", or it was destroyed', errno.EINVAL)
    store = dist.distributed_c10d._world.pg_map[group][1]
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    made = _C.attach(name, rank, size, store, _engine.make, _settings_list(timeout, settings), use_shm)
    _made[name] = weakref.ref(group), made
    weakref.finalize(group, _leave, name, made, os.getpid())
    return name


def detach(name: str) -> None:
    """Leave a group that attach() has made; nothing happens where there is none of that name."""
    if name in _made:
        _leave(name, _made[name][1], os.getpid())
    for group in [group for group, known in _names.items() if known == name]:
        del _names[group]


def _leave(name: str, made: _C.Attached, process: int) -> None:
    if name in _made and _made[name][1] is made:
        del _made[name]
    if os.getpid() == process:  # not in a child of fork(), which has none of the connections' threads
        _C.detach(name, made)


def _is_default(group: dist.ProcessGroup) -> bool:
    """Has it the ranks of the default communicator? That was made over WORLD's store, or WORLD's ranks are its own."""
    pair = _C.rank_and_size()
    if pair is None or pair != (dist.get_rank(), dist.get_world_size()):
        return False
    return dist.get_process_group_ranks(group) == list(range(pair[1]))
