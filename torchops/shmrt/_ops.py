# SPDX-License-Identifier: Apache-2.0
"""The operators, defined on import, under Python names. All of them may stand inside torch.compile(fullgraph=True)."""

import errno
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from . import _C
from ._errors import Error
from ._groups import _names, attach

_C.register_operators()

# The very overloads: torch.ops.shmrt.name would look each part up in every call.
_all_reduce: Callable[..., torch.Tensor] = torch.ops.shmrt.all_reduce.default
_all_reduce_: Callable[..., torch.Tensor] = torch.ops.shmrt.all_reduce_.default

_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_REDUCED = frozenset((*_FLOATS, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64))

_c10d: Any = dist.distributed_c10d


def all_reduce(
    tensor: torch.Tensor, op: str = "sum", *, group: "dist.ProcessGroup | str | None" = None, use_shm: bool = True
) -> torch.Tensor:
    """Combine `tensor` over all ranks, in place; returns it.

    Every rank calls it, in the same order, with the same shape, dtype and op: sum, min, max, prod
    or avg (floats only). All ranks get the same bits. Strides are private to a rank.

    group:    of torch.distributed, or a name that attach() gave; the ranks of init() otherwise.
    use_shm:  False: as if shared memory were off, through torch.distributed; the same on all ranks.

    A dtype that shmrt does not reduce (complex, bool) goes to torch.distributed, where that has been
    initialized. stats()["fallbacks"] counts such calls.
    """
    if tensor.dtype not in _REDUCED and dist.is_initialized():
        _reduce_elsewhere(tensor, op, group)
        return tensor
    name = "" if group is None else _name_of(group)
    if use_shm and not name:  # fewer arguments, less time
        return _all_reduce_(tensor, op)
    return _all_reduce_(tensor, op, name, use_shm)


def inference_all_reduce(
    tensor: torch.Tensor, op: str = "sum", *, group: "dist.ProcessGroup | str | None" = None, use_shm: bool = True
) -> torch.Tensor:
    """The same into a new tensor; `tensor` is only read. Differentiable for sum and avg."""
    if tensor.dtype not in _REDUCED and dist.is_initialized():
        if tensor.requires_grad and torch.is_grad_enabled():
            raise Error(
                f"inference_all_reduce of {tensor.dtype} has no derivative: reduce its real and imaginary parts "
                "(torch.view_as_real), or call it under torch.no_grad()",
                errno.ENOTSUP,
            )
        result = tensor.clone()
        _reduce_elsewhere(result, op, group)
        return result
    name = "" if group is None else _name_of(group)
    if use_shm and not name:
        return _all_reduce(tensor, op)
    return _all_reduce(tensor, op, name, use_shm)


def barrier() -> None:
    """Return when every rank has called it. Not for use inside torch.compile."""
    _C.barrier()


def _name_of(group: "dist.ProcessGroup | str") -> str:
    if isinstance(group, str):
        return group
    if torch.compiler.is_compiling():
        return _attached(group.group_name)
    name = _names.get(group)
    if name is None:
        name = _names[group] = attach(group)
    return name


def _attached(group_name: str) -> str:
    return attach(_c10d._resolve_process_group(group_name))


# As torch.compiler.assume_constant_result() marks it, without importing the compiler: the ranks meet
# while a graph is traced, which keeps the name.
_attached._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _reduce_elsewhere(tensor: torch.Tensor, op: str, group: "dist.ProcessGroup | str | None") -> None:
    _count_elsewhere(str(tensor.dtype))
    if isinstance(group, str):
        group = _c10d._resolve_process_group(group) if group else None
    dist.all_reduce(tensor, op=getattr(dist.ReduceOp, "PRODUCT" if op == "prod" else op.upper()), group=group)


def _count_elsewhere(dtype: str) -> None:
    """In a compiled graph once, when it is traced."""
    _C.route_unsupported(f"{dtype} is not a type that shmrt reduces")


_count_elsewhere._dynamo_marked_constant = True  # type: ignore[attr-defined]
