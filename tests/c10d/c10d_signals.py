# SPDX-License-Identifier: Apache-2.0
"""In a rank: signal handlers that run while their thread waits in a group."""

import contextlib
import signal

import torch
import torch.distributed as dist
from c10d_group import raises, rank_and_size


@contextlib.contextmanager
def alarm(handler):
    """The handler runs while what is inside waits."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def all_reduce(group) -> None:
    dist.all_reduce(torch.ones(2), group=group)


def wait(group) -> None:
    dist.all_reduce(torch.ones(2), group=group, async_op=True).wait()


def operator(group) -> None:
    import shmrt

    shmrt.all_reduce(torch.ones(2), group=group)


def in_another_engine(group) -> None:
    dist.all_reduce(torch.tensor([True]), group=group)


class Stop(Exception):
    pass


def raised_by_a_handler() -> None:
    """Rank 1 is late: what rank 0 waits for ends with the handler's exception, and on rank 1 with an error."""
    rank, size = rank_and_size()
    store = dist.distributed_c10d._get_default_store()

    def stop(*_) -> None:
        raise Stop

    for call in (all_reduce, wait, operator, in_another_engine):
        group = dist.new_group(list(range(size)))
        in_another_engine(group)
        if rank == 0:
            with alarm(stop):
                raises(Stop, "", call, group)
            store.set(f"stopped in {call.__name__}", "")
        else:
            store.wait([f"stopped in {call.__name__}"])
            raises(RuntimeError, "", _twice, call, group)  # what rank 0 gave to the first may do for it
        dist.destroy_process_group(group)
    dist.barrier()


def _twice(call, group) -> None:
    call(group)
    call(group)


def destroyed_by_a_handler() -> None:
    """Rank 1 never comes: what rank 0 waits for ends with an error, and so does destroying the group."""
    rank, size = rank_and_size()
    store = dist.distributed_c10d._get_default_store()
    for call in (all_reduce, wait, operator, in_another_engine):
        group = dist.new_group(list(range(size)))
        in_another_engine(group)
        if rank == 0:
            with alarm(lambda *_, group=group: dist.destroy_process_group(group)):
                raises((RuntimeError, ValueError), "", call, group)  # ValueError: of torch.distributed's own logger
            store.set(f"destroyed in {call.__name__}", "")
        else:
            store.wait([f"destroyed in {call.__name__}"])
            dist.destroy_process_group(group)
    dist.barrier()
