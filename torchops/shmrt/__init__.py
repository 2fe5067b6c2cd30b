# SPDX-License-Identifier: Apache-2.0
"""shmrt: all-reduce between the processes of one machine, through shared memory.

    import torch, shmrt

    shmrt.init()                      # under shm-launch, torchrun or mpirun
    x = torch.full((4,), float(shmrt.rank()))
    shmrt.all_reduce(x)               # in place, over all ranks
    y = torch.ops.deepspeed.inference_all_reduce(x)
    print(shmrt.report())

Importing it defines the operators deepspeed::inference_all_reduce and inference_all_reduce_, the
same under shmrt::, and shmrt::all_reduce and all_reduce_ with the reduction as an argument. They
work in torch.compile(fullgraph=True). Everything that fails raises shmrt.Error.
"""

from pathlib import Path

# Torch first: its OpenMP runtime is then the one that our library gets as well. Then whether it is the right one.
import torch  # noqa: F401  isort: skip
from . import _torch  # noqa: F401  isort: skip

from . import _C, _backend, _deepspeed  # noqa: F401
from ._environment import distributed_environment
from ._errors import Error
from ._fused import fuse_all_reduce_norm, fuse_if_environment_says
from ._groups import attach, detach
from ._lifetime import (
    finalize,
    init,
    initialize,
    is_initialized,
    local_rank,
    machines,
    options,
    rank,
    size,
    vector_kernel_level,
)
from ._logging import log_as_environment_says
from ._memory import empty, empty_like, is_shared, zeros
from ._ops import all_reduce, barrier, inference_all_reduce
from ._report import Report, report, stats

log_as_environment_says()
fuse_if_environment_says()
_backend.register()

__version__ = _C.version()
# What CMake's find_package(shmrt_torch) looks in, for C++ programs.
cmake_prefix_path = str(Path(__file__).parent)

__all__ = [
    "Error",
    "Report",
    "all_reduce",
    "attach",
    "barrier",
    "cmake_prefix_path",
    "detach",
    "distributed_environment",
    "empty",
    "empty_like",
    "finalize",
    "fuse_all_reduce_norm",
    "inference_all_reduce",
    "init",
    "initialize",
    "is_initialized",
    "is_shared",
    "local_rank",
    "machines",
    "options",
    "rank",
    "report",
    "size",
    "stats",
    "vector_kernel_level",
    "zeros",
]
