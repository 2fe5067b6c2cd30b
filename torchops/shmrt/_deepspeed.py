# SPDX-License-Identifier: Apache-2.0
"""Puts our operators into DeepSpeed, in the place of its own shared-memory library.

Two definitions of deepspeed::inference_all_reduce abort a process. As ours are defined once shmrt is
imported, DeepSpeed's must not be loaded any more: adopt() replaces the builder that would compile
and load them, and what calls the operator, which passes no group on. That happens whenever shmrt and
DeepSpeed are both in a process, whichever was imported first.
"""

import errno
import os
import sys
from types import SimpleNamespace
from typing import Any

import shmrt_hooks
import torch
import torch.distributed as dist

from . import _lifetime
from ._errors import Error
from ._groups import _names
from ._ops import all_reduce

# By name, for DeepSpeed's own operations and for torch.distributed's alike.
_OPERATIONS = {"SUM": "sum", "AVG": "avg", "MIN": "min", "MAX": "max", "PRODUCT": "prod"}


def asked_to_leave() -> bool:
    """SHMRT_DEEPSPEED=0: DeepSpeed does without shared memory, its own and ours."""
    return os.environ.get("SHMRT_DEEPSPEED") == "0"


def adopt() -> None:
    """Change those of DeepSpeed's modules that are loaded. Once more does nothing."""
    for name in shmrt_hooks.DEEPSPEED_MODULES:
        module: Any = sys.modules.get(name)
        if hasattr(module, "ShareMemCommBuilder"):
            _replace_builder(module.ShareMemCommBuilder)
        if hasattr(module, "TorchBackend"):
            _replace_calls(module)


def is_adopted() -> bool:
    """Does the DeepSpeed of this process call our operators?"""
    backend = getattr(sys.modules.get("deepspeed.comm.torch"), "TorchBackend", None)
    return backend is not None and backend.inference_all_reduce is _inference_all_reduce


def _replace_builder(builder: Any) -> None:
    builder.load = builder.jit_load = _load
    builder.is_compatible = _is_compatible


def _replace_calls(module: Any) -> None:
    # DeepSpeed's own would try all its compilers first, to learn which of its libraries can be built.
    module.build_shm_op = _operators_unless_asked
    if not asked_to_leave():
        module.TorchBackend.inference_all_reduce = _inference_all_reduce


def _initialize(size: int, rank: int) -> None:
    """As initialize() of DeepSpeed's library; a communicator of all ranks that is there already will do."""
    if not _lifetime.is_initialized():
        _lifetime.initialize(size, rank)
    elif (size, rank) != (_lifetime.size(), _lifetime.rank()):
        raise Error(
            f"DeepSpeed calls this rank {rank} of {size}, but shmrt.init() made it rank {_lifetime.rank()} of "
            f"{_lifetime.size()}: leave out shmrt.init(), or give it DeepSpeed's numbers",
            errno.EALREADY,
        )


# What a compiled module of DeepSpeed's has for its Python side.
_OPERATORS = SimpleNamespace(initialize=_initialize, vector_kernel_level=_lifetime.vector_kernel_level)


def _load(builder: Any, verbose: bool = False) -> Any:
    return _OPERATORS


def _is_compatible(builder: Any, verbose: bool = False) -> bool:
    return not asked_to_leave()


def _operators_unless_asked() -> Any:
    return None if asked_to_leave() else _OPERATORS


def _inference_all_reduce(self: Any, tensor: Any, op: Any, group: Any = None) -> Any:
    """TorchBackend.inference_all_reduce: in place, over the ranks of `group`, and with `op`."""
    if group is None:
        group = dist.group.WORLD
    # A group that is known here has more ranks than one; asking torch.distributed takes most of a microsecond.
    if (torch.compiler.is_compiling() or group not in _names) and dist.get_world_size(group=group) <= 1:
        return tensor
    operation = _OPERATIONS.get(getattr(op, "name", ""))
    if operation is None:
        dist.all_reduce(tensor, op=self._reduce_op(op), group=group)
        return tensor
    return all_reduce(tensor, operation, group=group)


shmrt_hooks.arm_deepspeed()
shmrt_hooks.refuse_import(
    "deepspeed.ops.comm.deepspeed_shm_comm_op",
    "shmrt has defined the operators of this library, and a second definition would abort the process: "
    "leave it out, DeepSpeed calls shmrt's",
)
adopt()
