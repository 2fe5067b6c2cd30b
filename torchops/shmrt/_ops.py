# SPDX-License-Identifier: Apache-2.0
"""The operators under Python names. All of them may stand inside torch.compile(fullgraph=True)."""

import torch

from . import _C


def all_reduce(tensor: torch.Tensor, op: str = "sum") -> torch.Tensor:
    """Combine `tensor` over all ranks, in place; returns it.

    Every rank calls it, in the same order, with the same shape, dtype and op: sum, min, max, prod
    or avg (floats only). All ranks get the same bits. Strides are private to a rank.
    """
    return torch.ops.shmrt.all_reduce_(tensor, op)


def inference_all_reduce(tensor: torch.Tensor, op: str = "sum") -> torch.Tensor:
    """The same into a new tensor; `tensor` is only read. Differentiable for sum and avg."""
    return torch.ops.shmrt.all_reduce(tensor, op)


def barrier() -> None:
    """Return when every rank has called it. Not for use inside torch.compile."""
    _C.barrier()
