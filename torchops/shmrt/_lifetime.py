# SPDX-License-Identifier: Apache-2.0
"""Creating, asking about and leaving the default communicator.

No state here: the communicator is one C++ object, which also knows what it was asked to be.
"""

import atexit
import errno
import logging
import math
import os
from collections.abc import Mapping

from . import _C
from ._errors import Error

_log = logging.getLogger("shmrt")


def init(
    rank: int | None = None,
    size: int | None = None,
    *,
    job: str | None = None,
    timeout: float | None = None,
    settings: Mapping[str, object] | None = None,
) -> None:
    """Meet the other ranks of this machine; every rank calls it once.

    Without arguments, rank and size come from the launcher: shm-launch and torchrun (RANK and
    WORLD_SIZE), mpirun, srun. Blocks until all ranks came, 60 s at most
    (``settings={"rendezvous_timeout": seconds}``).

    job:      a name that this job's ranks share and no other job of yours has; the default is made
              from MASTER_ADDR, MASTER_PORT and the launcher's own job id.
    timeout:  seconds that one collective may wait for a rank, 30 min by default (SHMRT_TIMEOUT).
    settings: further options of the runtime, see ``options()``; they win over the environment.

    Called again with the same arguments it does nothing. With different ones it raises: call
    ``finalize()`` on every rank first.
    """
    if (rank is None) != (size is None):
        raise TypeError(f"init() takes rank and size together, got rank={rank} and size={size}")
    if rank is None or size is None:
        rank, size = _C.rank_and_size_from_env()
    local_size = _local_size()
    if _C.create(rank, size, job, _settings_list(timeout, settings)) and local_size not in (None, size):
        _warn_local_size(str(local_size), size)


def initialize(size: int, rank: int) -> None:
    """``init`` as DeepSpeed calls it. LOCAL_SIZE is looked at but not believed: the ranks meet over
    a socket that only this machine's processes reach, so where it is absent or differs from `size`
    one warning is logged. Where it is not a number, that is an error."""
    local_size = _local_size()
    if _C.create(rank, size, None, []) and local_size != size:
        _warn_local_size("not set" if local_size is None else str(local_size), size)


def finalize() -> None:
    """Leave the other ranks and free the shared memory; nothing happens where there is none.

    Never blocks on other ranks. A rank that still waits for this one gets an Error. Runs by itself
    when the interpreter exits.
    """
    _C.destroy()


def is_initialized() -> bool:
    """Has this process a communicator? Not in a child of fork(), which leaves its parent's alone."""
    return _C.rank_and_size() is not None


def rank() -> int:
    """This rank, from 0."""
    return _rank_and_size("shmrt.rank()")[0]


def size() -> int:
    """The number of ranks."""
    return _rank_and_size("shmrt.size()")[1]


def options() -> str:
    """A page about every option: its key for `settings`, variable, default, range and meaning."""
    return _C.options()


def vector_kernel_level() -> int:
    """What DeepSpeed asks before it uses the operators: 2, all of its dtypes are reduced."""
    return 2


def _rank_and_size(what: str) -> tuple[int, int]:
    pair = _C.rank_and_size()
    if pair is None:
        raise Error(f"{what} was called before the ranks have met: call shmrt.init() first", errno.ENOTCONN)
    return pair


def _local_size() -> int | None:
    text = os.environ.get("LOCAL_SIZE")
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise Error(
            f"LOCAL_SIZE={text!r} is not a number of ranks: set it to the number of ranks on this machine, or unset it",
            errno.EINVAL,
        )
    return value


def _warn_local_size(found: str, size: int) -> None:
    _log.warning("LOCAL_SIZE is %s, the number of ranks is %d: all %d met on this machine, going on", found, size, size)


def _settings_list(timeout: float | None, settings: Mapping[str, object] | None) -> list[str]:
    merged = dict(settings or {})
    if timeout is not None:
        if not (math.isfinite(timeout) and timeout > 0):
            raise ValueError(f"timeout={timeout} is not a number of seconds above 0")
        merged["timeout"] = f"{timeout:.3f}"
    return [f"{key}={value}" for key, value in sorted(merged.items())]


atexit.register(finalize)
