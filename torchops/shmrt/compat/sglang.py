# SPDX-License-Identifier: Apache-2.0
"""SGLang's operators for ranks of one machine: torch.ops.sgl_kernel.initialize, shm_allreduce and shm_allgather."""

import errno

import torch

from .. import _lifetime, _memory, _ops
from .._errors import Error
from ._define import Operator
from ._define import define as _define

# As torch.distributed.ReduceOp numbers them.
_OPS = ("sum", "avg", "prod", "min", "max")


def define(*, shapes: bool = False) -> bool:
    """Define the three operators where no other library has; are they ours?

    shapes: also what torch.compile needs to know of shm_allgather. SGLang of 2025 registers that itself, and
            fails where it is there already.
    """
    ours = _define("sgl_kernel", _OPERATORS)
    if ours and shapes:
        torch.library.register_fake("sgl_kernel::shm_allgather", _all_gather_shape)
    return ours


def _initialize(size: int, rank: int) -> None:
    _lifetime.initialize(size, rank)


def _all_reduce(data: torch.Tensor, reduce_op: int) -> None:
    if not 0 <= reduce_op < len(_OPS):
        raise Error(f"reduce_op={reduce_op} is not 0 to {len(_OPS) - 1}, as ReduceOp numbers them", errno.ENOTSUP)
    _ops.all_reduce(data, _OPS[reduce_op])


def _all_gather(data: torch.Tensor, dim: int) -> torch.Tensor:
    """An all-reduce, which is what the default communicator has: of integers, each rank's bytes and zeros for those of
    the others. It is done in shared memory, so that nothing is copied but the sum."""
    size, rank = _lifetime.size(), _lifetime.rank()
    flat = data.contiguous().view(-1)
    if flat.numel() == 0:
        return torch.cat([data] * size, dim)
    mine = flat.view(torch.uint8)
    wide = mine.numel() % 8 == 0  # what the ranks agree on without a word: not where a tensor of one of them lies
    parts = _memory.zeros(size, mine.numel() // 8 if wide else mine.numel(), dtype=torch.int64 if wide else torch.uint8)
    parts[rank].view(torch.uint8).copy_(mine)
    _ops.all_reduce(parts)
    return torch.cat(list(parts.view(data.dtype).view(size, *data.shape).unbind(0)), dim)


def _all_gather_shape(data: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.cat([data] * _lifetime.size(), dim)


_OPERATORS = {
    "initialize": Operator("(int size, int rank) -> ()", _initialize, takes_tensors=False),
    "shm_allreduce": Operator("(Tensor(a!) data, int reduce_op) -> ()", _all_reduce),
    "shm_allgather": Operator("(Tensor data, int dim) -> Tensor", _all_gather),
}
