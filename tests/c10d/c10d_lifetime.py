# SPDX-License-Identifier: Apache-2.0
"""In a rank: groups that are made, split, destroyed, aborted, and made again."""

import os
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from c10d_group import join, leave, raises, rank_and_size


def total(group=None) -> float:
    x = torch.ones(2)
    dist.all_reduce(x, group=group)
    return x[0].item()


def make_and_destroy(times: int) -> None:
    """Each time with the same names, over the same store where the launcher keeps one."""
    for i in range(times):
        join()
        rank, size = rank_and_size()
        assert total() == size
        parts = [dist.new_group([r]) for r in range(size)]
        assert total(parts[rank]) == 1
        if i % 2:
            dist.destroy_process_group(parts[rank])
        leave()


def make_twice_over_one_store(path: str) -> None:
    """The store keeps what the first group wrote into it."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = dist.FileStore(path, size)
    for _ in range(3):
        dist.init_process_group("shmrt", store=store, rank=rank, world_size=size)
        assert total() == size
        x = torch.tensor([1 << rank])
        dist.all_reduce(x, dist.ReduceOp.BOR)
        assert x.item() == (1 << size) - 1
        leave()


def nested_groups() -> None:
    rank, size = rank_and_size()
    assert size == 4
    halves = [dist.new_group([0, 2]), dist.new_group([1, 3])]
    half = halves[rank % 2]
    assert total(half) == 2
    local = dist.new_group([rank, (rank + 2) % 4], use_local_synchronization=True)
    mine, _ = dist.new_subgroups(2)
    x = torch.tensor([float(rank)])
    for _ in range(20):  # groups in turn, sync and async
        works = [dist.all_reduce(x.clone(), group=g, async_op=True) for g in (half, mine, None, local)]
        y = x.clone()
        dist.all_reduce(y, group=mine)
        assert y.item() == (1 if rank < 2 else 5)
        for work in works:
            work.wait()
    out = torch.zeros(1)
    dist.broadcast(out if rank % 2 else out.fill_(1), rank % 2, group=half)
    dist.destroy_process_group(half)
    assert total() == 4 and total(local) == 2


def split() -> None:
    """At the backend's level; torch.distributed.split_group is for accelerators."""
    rank, size = rank_and_size()
    assert dist.group.WORLD._get_backend(torch.device("cpu")).supports_splitting
    for _ in range(2):
        part = dist.group.WORLD.split_group([0, size - 1], group_name="halves", group_desc="a part")
        if rank in (0, size - 1):
            assert part.size() == 2 and part.rank() == (1 if rank else 0)
            part.allreduce([x := torch.ones(3)]).wait()
            assert x[0].item() == 2
            part.allreduce([x := torch.tensor([1 << rank])], dist.AllreduceOptions()).wait()
            assert x.item() == 1 + (1 << (size - 1))
            part.shutdown()
        else:
            assert part is None


def missing_rank() -> None:
    rank, size = rank_and_size()
    group = dist.new_group(list(range(size)), timeout=timedelta(seconds=1))
    store = dist.distributed_c10d._get_default_store()
    if rank:
        start = time.monotonic()
        raises(RuntimeError, "rank 0", dist.all_reduce, torch.ones(2), group=group)
        assert time.monotonic() - start > 0.9
        raises(RuntimeError, "barrier: ", dist.barrier, group)  # and from then on
        store.add("seen", 1)
    else:
        while store.add("seen", 0) < size - 1:
            time.sleep(0.01)
    dist.destroy_process_group(group)
    short = dist.new_group(list(range(size)))
    if rank == 1:
        raises(
            RuntimeError, "barrier: Timed out waiting 100ms", dist.barrier, short, timeout=timedelta(milliseconds=100)
        )
    store.add("seen", 1)
    while store.add("seen", 0) < 2 * size - 1:
        time.sleep(0.01)
    dist.destroy_process_group(short)
    dist.barrier()
    if rank == 0:
        store.delete_key("seen")


def aborted() -> None:
    """Rank 0 aborts: a wait under way ends everywhere, so do works that have not begun, and later calls."""
    rank, size = rank_and_size()
    group = dist.new_group(list(range(size)))
    backend = group._get_backend(torch.device("cpu"))
    x = torch.ones(2)
    if rank == 0:
        time.sleep(0.3)
        backend.abort()
    else:
        works = [dist.all_reduce(x, group=group, async_op=True) for _ in range(3)]
        receive = dist.irecv(x, 0, group)
        for work in works:
            raises(RuntimeError, "rank 0", work.wait)
        raises(RuntimeError, "rank 0", receive.wait)
    raises(RuntimeError, "rank 0", dist.all_reduce, x, group=group)
    dist.destroy_process_group(group)
    dist.barrier()


def mismatch() -> None:
    """Ranks that disagree get an error each, and can make another group."""
    rank, size = rank_and_size()
    group = dist.new_group(list(range(size)))
    raises(RuntimeError, "disagree", dist.all_reduce, torch.ones(2 + rank), group=group)
    dist.destroy_process_group(group)
    dist.barrier()


def refusals() -> None:
    rank, size = rank_and_size()
    group = dist.group.WORLD._get_backend(torch.device("cpu"))
    one, two, other = torch.ones(1), torch.ones(2), torch.ones(1, dtype=torch.int32)
    raises(RuntimeError, "invalid root rank: -1", group.broadcast, one, -1)
    raises(RuntimeError, f"invalid root rank: {size}", group.reduce, one, size)
    raises(RuntimeError, "requires non-empty tensor list", group.allreduce, [])
    raises(RuntimeError, "invalid tensor type", group.allreduce, [one, other])
    raises(RuntimeError, "invalid tensor size", group.allreduce, [one, two])
    raises(RuntimeError, "tensors must all have the same type", group.allreduce_coalesced, [one, other])
    raises(RuntimeError, "avg", dist.all_reduce, other, dist.ReduceOp.AVG)
    raises(RuntimeError, "invalid output tensor list", group.allgather, [[one]], [one])
    raises(RuntimeError, "world_size", group._allgather_base, torch.ones(size + 1), one)
    raises(RuntimeError, "Split sizes", dist.all_to_all_single, one, one, [2] * size, [2] * size)
    raises(RuntimeError, "does not divide", dist.all_to_all_single, torch.ones(size + 1), torch.ones(size + 1))
    if rank:
        raises(
            RuntimeError,
            "requires empty input on non-root",
            group.scatter,
            [one],
            [[one] * size],
            dist.ScatterOptions(),
        )
    dist.barrier()


def threads_go() -> None:
    join()
    rank, size = rank_and_size()
    work = dist.all_reduce(torch.ones(2), async_op=True)
    while not work.is_completed():
        time.sleep(0.001)
    receive = dist.irecv(torch.ones(1), (rank + 1) % size)
    time.sleep(0.01)
    leave()
    raises(RuntimeError, "destroyed", receive.wait)
    names = [open(f"/proc/self/task/{t}/comm").read().strip() for t in os.listdir("/proc/self/task")]
    assert not [name for name in names if name.startswith("shmrt-")], names


def not_made() -> None:
    from shmrt import _C

    before = _C.group_names()
    raises(RuntimeError, "typo", join)
    assert _C.group_names() == before


def in_a_child() -> None:
    """A forked child can't use its parent's group, says so, and ends without harm to it."""
    rank, size = rank_and_size()
    dist.all_reduce(torch.ones(2), async_op=True)
    dist.barrier()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            raises(RuntimeError, "forked", dist.all_reduce, torch.ones(2))
            raises(RuntimeError, "forked", dist.send, torch.ones(2), (rank + 1) % size)
            dist.destroy_process_group()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert total() == size


def switched_off() -> None:
    """Everything goes to one other engine, and is counted as that, not as done in shared memory."""
    import shmrt

    join()
    rank, size = rank_and_size()
    before = shmrt.stats()["c10d"]
    x = torch.full((5,), rank + 1, dtype=torch.int16)
    dist.all_reduce(x)
    assert x.tolist() == [sum(range(1, size + 1))] * 5
    dist.broadcast(x.float(), 0)
    dist.barrier()
    counts = shmrt.stats()["c10d"]
    assert counts["native"] == before["native"], counts
    assert counts["fallback"]["shared memory is off: SHMRT_DISABLE=1 on all ranks"] == 3, counts


def switch_has_a_bad_value() -> None:
    raises(RuntimeError, "SHMRT_DISABLE=maybe: give 1", join)
