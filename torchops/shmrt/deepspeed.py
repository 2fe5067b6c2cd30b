# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed on shmrt's operators.

    import shmrt.deepspeed            # before or after deepspeed itself
    import deepspeed

    deepspeed.init_distributed()      # under deepspeed, torchrun, shm-launch, mpirun
    deepspeed.comm.inference_all_reduce(x)

SHMRT_DEEPSPEED=1 in the environment does the same to a script that doesn't name shmrt. DeepSpeed
compiles nothing, and init_inference's all-reduces go through shared memory, over the ranks of the
group that is asked for.
"""

import errno
from importlib.util import find_spec

from . import _deepspeed
from ._errors import Error

if find_spec("deepspeed") is None:
    raise ImportError("shmrt.deepspeed needs DeepSpeed, which is not installed here: pip install deepspeed")

import deepspeed as _package  # type: ignore[import-untyped]  # isort: skip

if _deepspeed.asked_to_leave():
    raise Error("shmrt.deepspeed was imported where SHMRT_DEEPSPEED=0 forbids it: unset the variable", errno.EPERM)
if not _deepspeed.is_adopted():
    raise Error(
        f"shmrt can't stand in for the operators of DeepSpeed {_package.__version__}, which has no "
        "deepspeed.comm.torch.TorchBackend.inference_all_reduce: take version 0.19.8",
        errno.ENOTSUP,
    )
