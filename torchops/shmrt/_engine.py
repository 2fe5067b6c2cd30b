# SPDX-License-Identifier: Apache-2.0
"""What carries bytes between machines: a backend of torch.distributed that this PyTorch has."""

import errno
import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from ._errors import Error

CHOICE = "SHMRT_ENGINE"


def make(
    store: dist.Store | None, groups: Sequence[Sequence[int]], rank: int, timeout_s: float
) -> Any:
    """A backend between the ranks of the one of `groups` that has `rank`; None where none has.

    All ranks call it with the same groups, which have no common member. `store` is that group's own;
    without one, MASTER_ADDR and MASTER_PORT lead to one. SHMRT_ENGINE is gloo, ucc or mpi.
    """
    mine = next((list(ranks) for ranks in groups if rank in ranks), None)
    name = os.environ.get(CHOICE, "gloo").strip().lower() or "gloo"
    there = available()
    if name not in there:
        raise Error(
            f"{CHOICE}={name}: this PyTorch ({dist.__name__}) has {', '.join(there)}: choose one of these",
            errno.ENOTSUP,
        )
    if name == "mpi":
        made = [dist.ProcessGroupMPI.create(list(ranks)) for ranks in groups]
        return next((group for group, ranks in zip(made, groups, strict=True) if rank in ranks), None)
    if mine is None:
        return None
    if store is None:
        store = dist.PrefixStore(f"shmrt/engine/{mine[0]}", environment_store(rank, len(mine), timeout_s))
    place, timeout = mine.index(rank), timedelta(seconds=timeout_s)
    try:
        if name == "ucc":
            return dist.ProcessGroupUCC(store, place, len(mine), timeout)
        return _gloo(store, place, len(mine), timeout)
    except RuntimeError as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Error(
            f"rank {rank} on {socket.gethostname()} can't connect over {name} to the others of ranks "
            f"{', '.join(map(str, mine))}, within {timeout_s:g} s ({said}): see whether their machines reach each "
            "other, and whether GLOO_SOCKET_IFNAME, if set, is the interface between them",
            errno.ENETUNREACH,
        ) from None


def available() -> list[str]:
    """The engines that this PyTorch was built with."""
    found = {"gloo": dist.is_gloo_available(), "ucc": dist.is_ucc_available(), "mpi": dist.is_mpi_available()}
    return [name for name, is_there in found.items() if is_there]


def environment_store(rank: int, size: int, timeout_s: float) -> dist.Store:
    """The store that init_process_group("env://") would make of MASTER_ADDR and MASTER_PORT: torchrun's where it
    has one, else one that rank 0 holds, which a later init_process_group on the same port shares."""
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise Error(
            f"not all ranks can meet in shared memory, and without {' and '.join(missing)} they do not find each "
            "other: set MASTER_ADDR to the address of rank 0's machine and MASTER_PORT to a free port there",
            errno.EINVAL,
        )
    address, text = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    port = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= port <= 65535:
        raise Error(f"MASTER_PORT={text} is not a port from 1 to 65535; set it to one that is free", errno.EINVAL)
    timeout = timedelta(seconds=timeout_s)
    agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        # Who is missing is found out later, over the store, where it can be said by name.
        store: dist.Store = dist.TCPStore(
            address, port, size, rank == 0 and not agents, timeout, wait_for_workers=False, multi_tenant=True
        )
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        said = str(error).splitlines()[0]
        raise Error(
            f"no store of rank 0 at MASTER_ADDR={address}, MASTER_PORT={port} within {timeout_s:g} s ({said})"
            if rank or agents
            else f"rank 0 can't hold a store at MASTER_ADDR={address}, MASTER_PORT={port}: {said}",
            errno.ETIMEDOUT if rank or agents else errno.EADDRINUSE,
        ) from None
    if agents:
        return dist.PrefixStore(f"/worker/attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    return store


def _gloo(store: dist.Store, place: int, size: int, timeout: timedelta) -> Any:
    """Gloo on the interface of GLOO_SOCKET_IFNAME, else on the one from which MASTER_ADDR is reached: the address that
    the host's name stands for, which Gloo would take, is often the loopback."""
    address = None if os.environ.get("GLOO_SOCKET_IFNAME") else _own_address(os.environ.get("MASTER_ADDR"))
    if address is None:
        return dist.ProcessGroupGloo(store, place, size, timeout)
    options: Any = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    options._timeout = timeout
    options._devices = [dist.ProcessGroupGloo.create_device(hostname=address)]
    return dist.ProcessGroupGloo(store, place, size, options)


def _own_address(master: str | None) -> str | None:
    """This machine's address on the way to `master`. Nothing is sent."""
    try:
        family, kind, _, _, target = socket.getaddrinfo(master, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError:
        return None
