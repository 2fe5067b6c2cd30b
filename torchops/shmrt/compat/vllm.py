# SPDX-License-Identifier: Apache-2.0
"""vLLM's operators between CPU workers of one machine: torch.ops._C.init_shm_manager and its kin.

A manager is a group of ranks with a name. Here it is a process group of the backend "shmrt", whose ranks meet over
torch.distributed's default store when they join it; vLLM has initialised torch.distributed by then.
"""

import errno
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch._C._distributed_c10d import AllreduceOptions, GatherOptions, PrefixStore, _DistributedBackendOptions
from torch.distributed.distributed_c10d import _get_default_store

from .. import _backend
from .._errors import Error
from ._define import Operator
from ._define import define as _define

_TIMEOUT = timedelta(minutes=30)
# How a tensor of a list is announced. The order is part of what ranks say to each other.
_DTYPES = (
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.bool,
)


@dataclass
class _Manager:
    name: str
    size: int
    rank: int
    group: Any = None  # a c10d backend, as shmrt._backend makes it


_managers: list[_Manager] = []  # by handle, as the operators name them


def define() -> bool:
    """Define the seven operators where no other library has; are they ours?"""
    return _define("_C", _OPERATORS)


def _init(name: str, group_size: int, rank: int, thread_num: int) -> int:
    """thread_num: the lanes are agreed by the ranks themselves."""
    _managers.append(_Manager(name, group_size, rank))
    return len(_managers) - 1


def _manager(handle: int) -> _Manager:
    if not 0 <= handle < len(_managers):
        raise Error(f"manager {handle} is none of the {len(_managers)} that init_shm_manager has made", errno.EINVAL)
    return _managers[handle]


def _join(handle: int, name: str) -> str:
    manager = _manager(handle)
    if manager.name != name:
        raise Error(f"manager {handle} is that of {manager.name!r}, not of {name!r}", errno.EINVAL)
    options = _DistributedBackendOptions()
    options.store = PrefixStore(f"shmrt/vllm/{name}", _get_default_store())
    options.group_rank, options.group_size = manager.rank, manager.size
    options.group_id = name
    options.global_ranks_in_group = list(range(manager.size))
    options.timeout = _TIMEOUT
    manager.group = _backend.create(options)
    return f"shmrt: rank {manager.rank} of {manager.size} in {name}"


def _group(handle: int) -> Any:
    manager = _manager(handle)
    if manager.group is None:
        raise Error(f"manager {handle} has not been joined: call join_shm_manager on every rank first", errno.ENOTCONN)
    return manager.group


def _all_reduce(handle: int, data: torch.Tensor) -> None:
    _group(handle).allreduce([data], AllreduceOptions()).wait()


def _gather(handle: int, data: torch.Tensor, outputs: list[torch.Tensor] | None, dst: int) -> None:
    options = GatherOptions()
    options.rootRank = dst
    lists = [outputs] if outputs is not None and _manager(handle).rank == dst else []
    _group(handle).gather(lists, [data], options).wait()


def _all_gather(handle: int, data: torch.Tensor, output: torch.Tensor) -> None:
    """Whatever the output's shape: the ranks' elements one after the other."""
    _group(handle)._allgather_base(output.view(-1), data.contiguous().view(-1)).wait()


def _send_tensor_list(handle: int, tensor_list: list[torch.Tensor], dst: int) -> None:
    """First how many, then type and length of each, then their elements."""
    group = _group(handle)
    head = torch.tensor([[_code(t), t.numel()] for t in tensor_list], dtype=torch.int64).view(-1, 2)
    group.send([torch.tensor([len(tensor_list)])], dst, 0).wait()
    group.send([head], dst, 0).wait()
    for tensor in tensor_list:
        if tensor.numel() > 0:
            group.send([tensor.contiguous().view(-1)], dst, 0).wait()


def _recv_tensor_list(handle: int, src: int) -> list[torch.Tensor]:
    """Flat tensors; the sender's list says their shapes in its own way."""
    group = _group(handle)
    count = torch.empty(1, dtype=torch.int64)
    group.recv([count], src, 0).wait()
    head = torch.empty(int(count), 2, dtype=torch.int64)
    group.recv([head], src, 0).wait()
    tensors = [torch.empty(int(length), dtype=_DTYPES[int(code)]) for code, length in head]
    for tensor in tensors:
        if tensor.numel() > 0:
            group.recv([tensor], src, 0).wait()
    return tensors


def _code(tensor: torch.Tensor) -> int:
    if tensor.dtype not in _DTYPES:
        raise Error(f"{tensor.dtype} can't be sent; what can: {', '.join(map(str, _DTYPES))}", errno.ENOTSUP)
    return _DTYPES.index(tensor.dtype)


_OPERATORS = {
    "init_shm_manager": Operator(
        "(str name, int group_size, int rank, int thread_num=0) -> int", _init, takes_tensors=False
    ),
    "join_shm_manager": Operator("(int handle, str name) -> str", _join, takes_tensors=False),
    "shm_allreduce": Operator("(int handle, Tensor(a!) data) -> ()", _all_reduce),
    "shm_gather": Operator("(int handle, Tensor data, Tensor(a!)[]? outputs, int dst) -> ()", _gather),
    "shm_all_gather": Operator("(int handle, Tensor data, Tensor(a!) output) -> ()", _all_gather),
    "shm_send_tensor_list": Operator("(int handle, Tensor[] tensor_list, int dst) -> ()", _send_tensor_list),
    "shm_recv_tensor_list": Operator("(int handle, int src) -> Tensor[]", _recv_tensor_list, takes_tensors=False),
}
