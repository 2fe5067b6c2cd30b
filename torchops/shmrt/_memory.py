# SPDX-License-Identifier: Apache-2.0
"""Tensors in memory that all ranks can map, which collectives use where it lies.

Made outside of torch.compile and given to a compiled function, since inside one PyTorch plans the
memory itself.
"""

from collections.abc import Sequence
from typing import Any

import torch

from . import _C


def empty(*size: int | Sequence[int], dtype: torch.dtype | None = None, strict: bool = False) -> torch.Tensor:
    """As ``torch.empty``: a tensor on this rank's pool of shared memory, not filled.

    Concerns this rank alone. The memory goes back when the last tensor on it is gone, before or
    after ``finalize()``. Where the pool (SHMRT_POOL) has no room or is off, it is an ordinary
    tensor, counted under `fallbacks` in ``stats()``; with `strict` that is an Error.
    """
    shape: Any = size[0] if len(size) == 1 and isinstance(size[0], Sequence) else size
    return empty_like(torch.empty(shape, dtype=dtype, device="meta"), strict=strict)


def zeros(*size: int | Sequence[int], dtype: torch.dtype | None = None, strict: bool = False) -> torch.Tensor:
    """The same, filled with zeros."""
    return empty(*size, dtype=dtype, strict=strict).zero_()


def empty_like(tensor: torch.Tensor, *, dtype: torch.dtype | None = None, strict: bool = False) -> torch.Tensor:
    """The same with the shape, strides and type that ``torch.empty_like(tensor)`` has."""
    meta = torch.empty_like(tensor, dtype=dtype, device="meta")
    return _C.empty_strided(meta.size(), meta.stride(), meta.dtype, strict)


def is_shared(tensor: torch.Tensor) -> bool:
    """Does `tensor` lie in the pool? Not any more once resize_() or share_memory_() has moved it."""
    return _C.is_shared(tensor)
