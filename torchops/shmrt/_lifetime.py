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
from typing import Any

import torch.distributed as dist

from . import _C, _engine
from ._errors import Error

_log = logging.getLogger("shmrt")


def init(
    rank: int | None = None,
    size: int | None = None,
    *,
    job: str | None = None,
    timeout: float | None = None,
    settings: Mapping[str, object] | None = None,
    use_shm: bool = True,
) -> None:
    """Meet the other ranks; every rank calls it once.

    Without arguments, rank and size come from the launcher: shm-launch and torchrun (RANK and
    WORLD_SIZE), mpirun, srun. Blocks until all ranks came, 60 s at most
    (``settings={"rendezvous_timeout": seconds}``).

    job:      a name that this job's ranks share and no other job of yours has; the default is made
              from MASTER_ADDR, MASTER_PORT and the launcher's own job id.
    timeout:  seconds that one collective may wait for a rank, 30 min by default (SHMRT_TIMEOUT).
    settings: further options of the runtime, see ``options()``; they win over the environment.

    use_shm:  False on any rank makes all ranks reduce through torch.distributed, as SHMRT_DISABLE=1 does.

    Ranks on several machines find out who shares one over a store: that of torch.distributed where it
    is up with the same ranks, else one at MASTER_ADDR and MASTER_PORT. That is so where the launcher says
    that not all ranks are on this machine; otherwise they meet directly.

    Called again with the same arguments it does nothing. With different ones it raises: call
    ``finalize()`` on every rank first.
    """
    if (rank is None) != (size is None):
        raise TypeError(f"init() takes rank and size together, got rank={rank} and size={size}")
    if rank is None or size is None:
        rank, size = _C.rank_and_size_from_env()
    local_size = _local_size()
    if _meet(rank, size, job, _settings_list(timeout, settings), use_shm) and local_size is not None:
        _warn_local_size(local_size)


def initialize(size: int, rank: int) -> None:
    """``init`` as DeepSpeed calls it. LOCAL_SIZE is looked at but not believed: the ranks meet over
    a socket that only this machine's processes reach, so where it is absent or differs from their
    number one warning is logged. Where it is not a number, that is an error."""
    local_size = _local_size()
    if _meet(rank, size, None, [], True):
        _warn_local_size(local_size)


def _meet(rank: int, size: int, job: str | None, settings: list[str], use_shm: bool) -> bool:
    """Create the default communicator, by the way that all ranks will take; False where it is there."""
    if _C.is_present(rank, size, job, settings, use_shm):
        return False
    store = _shared_store(rank, size) if job is None else None
    if store is not None:
        return _C.create(rank, size, job, settings, use_shm, store, _engine.make)
    try:
        return _C.create(rank, size, job, settings, use_shm, None, _engine.make)
    except Error as error:
        local = _launchers_local_size(size)
        if error.code == errno.ETIMEDOUT and local not in (None, size):
            hint = "where ranks are on other machines, set MASTER_ADDR and MASTER_PORT, so that they find each other"
            raise Error(f"{error}; the launcher counts {local} on this machine: {hint}", error.code) from None
        if error.code != errno.ECONNREFUSED:
            raise
        refusal = error  # on all ranks: one has shared memory switched off
    try:
        store = _engine.environment_store(rank, size, _meeting_seconds(settings))
    except Error as error:
        raise Error(f"{refusal}; without shared memory, {error}", error.code) from None
    return _C.create(rank, size, job, settings, use_shm, store, _engine.make)


def _shared_store(rank: int, size: int) -> dist.Store | None:
    """Over which to find out who shares a machine; None where all ranks are on this one, or nobody says otherwise."""
    if dist.is_available() and dist.is_initialized() and (dist.get_rank(), dist.get_world_size()) == (rank, size):
        return dist.distributed_c10d._get_default_store()
    local = _launchers_local_size(size)
    if (
        not 0 <= rank < size
        or local in (None, size)
        or not (os.environ.get("MASTER_ADDR") and os.environ.get("MASTER_PORT"))
    ):
        return None
    return _engine.environment_store(rank, size, _meeting_seconds([]))


def _launchers_local_size(size: int) -> int | None:
    """The number of this machine's ranks, as the launcher of `size` ranks says it, 0 where it only says that there are
    other machines. What a launcher of another number of ranks says is not about these."""
    try:
        if _C.rank_and_size_from_env()[1] != size:
            return None
    except Error:
        pass  # without numbers, it may still have set LOCAL_SIZE
    for name in ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "LOCAL_SIZE"):
        text = os.environ.get(name, "")
        if text.isdigit():
            return int(text)
    if "RANK" not in os.environ and os.environ.get("SLURM_STEP_NUM_NODES", "1") != "1":
        return 0
    return None


def _meeting_seconds(settings: list[str]) -> float:
    texts = [text.removeprefix("rendezvous_timeout=") for text in settings if text.startswith("rendezvous_timeout=")]
    try:
        return float((texts or [os.environ["SHMRT_RENDEZVOUS_TIMEOUT"]])[-1])
    except (KeyError, ValueError):
        return 60.0


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


def local_rank() -> int:
    """The number of this rank among those of its machine, from 0."""
    return int(_layout("shmrt.local_rank()")["local_rank"])


def machines() -> list[list[int]]:
    """The ranks of each machine, as they met; machines by their lowest rank."""
    machines: list[list[int]] = _layout("shmrt.machines()")["machines"]
    return machines


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


def _layout(what: str) -> dict[str, Any]:
    _rank_and_size(what)
    return _C.layout("")


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


def _warn_local_size(found: int | None) -> None:
    layout = _C.layout("")
    met = len(layout["machines"][layout["machine"]])
    if found != met and not layout["off"]:
        text = "LOCAL_SIZE is %s, the number of ranks is %d: all %d met on this machine, going on"
        _log.warning(text, "not set" if found is None else found, met, met)


def _settings_list(timeout: float | None, settings: Mapping[str, object] | None) -> list[str]:
    merged = dict(settings or {})
    if timeout is not None:
        if not (math.isfinite(timeout) and timeout > 0):
            raise ValueError(f"timeout={timeout} is not a number of seconds above 0")
        merged["timeout"] = f"{timeout:.3f}"
    return [f"{key}={value}" for key, value in sorted(merged.items())]


atexit.register(finalize)
