# SPDX-License-Identifier: Apache-2.0
"""In a rank: signal handlers that end the group which their thread waits in."""

import signal

import torch
import torch.distributed as dist
from c10d_group import raises, rank_and_size


def all_reduce(group) -> None:
    dist.all_reduce(torch.ones(2), group=group)


def wait(group) -> None:
    dist.all_reduce(torch.ones(2), group=group, async_op=True).wait()


def operator(group) -> None:
    import shmrt

    shmrt.all_reduce(torch.ones(2), group=group)


def destroyed_by_a_handler() -> None:
    """Rank 1 never comes: what rank 0 waits for ends with an error, and so does destroying the group."""
    rank, size = rank_and_size()
    store = dist.distributed_c10d._get_default_store()
    for call in (all_reduce, wait, operator):
        group = dist.new_group(list(range(size)))
        if rank == 0:
            handler = signal.signal(signal.SIGALRM, lambda *_, group=group: dist.destroy_process_group(group))
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            try:
                raises((RuntimeError, ValueError), "", call, group)  # ValueError: of torch.distributed's own logger
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, handler)
            store.set(f"destroyed in {call.__name__}", "")
        else:
            store.wait([f"destroyed in {call.__name__}"])
            dist.destroy_process_group(group)
    dist.barrier()
