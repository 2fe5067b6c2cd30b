# SPDX-License-Identifier: Apache-2.0
"""The operators, defined on import, under Python names. All of them may stand inside torch.compile(fullgraph=True)."""

import torch

from . import _C

_C.register_operators()

# The very overloads: torch.ops.shmrt.name would look each part up in every call.
_all_reduce = torch.ops.shmrt.all_reduce.default
_all_reduce_ = torch.ops.shmrt.all_reduce_.default


def all_reduce(tensor: torch.Tensor, op: str = "sum") -> torch.Tensor:
    """Combine `tensor` over all ranks, in place; returns it.

    Every rank calls it, in the same order, with the same shape, dtype and op: sum, min, max, prod
    or avg (floats only). All ranks get the same bits. Strides are private to a rank.
    """
    return _all_reduce_(tensor, op)


def inference_all_reduce(tensor: torch.Tensor, op: str = "sum") -> torch.Tensor:
    """The same into a new tensor; `tensor` is only read. Differentiable for sum and avg."""
    return _all_reduce(tensor, op)


def barrier() -> None:
    """Return when every rank has called it. Not for use inside torch.compile."""
    _C.barrier()
