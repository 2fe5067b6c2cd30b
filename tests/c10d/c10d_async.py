# SPDX-License-Identifier: Apache-2.0
"""In a rank: works, futures, queues and threads."""

import threading
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from c10d_group import raises, rank_and_size, threads


def check_futures() -> None:
    rank, size = rank_and_size()
    x = torch.full((3,), float(rank))
    work = dist.all_reduce(x, async_op=True)
    total = work.get_future().then(lambda f: f.value()[0].sum().item())
    assert total.wait() == 3 * sum(range(size))
    work.wait()
    assert (
        work.is_completed() and work.is_success() and work.exception() is None if hasattr(work, "is_success") else True
    )
    assert work.result()[0] is not None and torch.equal(work.result()[0], x)
    outs = [torch.empty(2) for _ in range(size)]
    work = dist.all_gather(outs, torch.full((2,), float(rank)), async_op=True)
    work.wait()
    gathered = work.get_future().value()  # made after the end
    assert [int(t[0]) for t in gathered] == list(range(size))
    assert dist.barrier(async_op=True).get_future().wait() is not None


def check_callbacks_may_communicate() -> None:
    """A future's callback starts a collective and waits for it, while others are queued."""
    _, size = rank_and_size()

    def again(future):
        y = future.value()[0] * 2
        dist.all_reduce(y)
        return y

    def again_by_its_future(future):
        return dist.all_reduce(future.value()[0] * 2, async_op=True).get_future().wait()[0]

    for callback in (again, again_by_its_future):
        work = dist.all_reduce(torch.ones(2), async_op=True)
        last = dist.all_reduce(torch.ones(2), async_op=True)  # ahead of the callback's call, on all ranks
        first = work.get_future().then(callback)
        assert first.wait().tolist() == [2.0 * size * size] * 2  # which runs nothing: the queue's threads do
        last.wait()
    dist.barrier()


def check_order() -> None:
    """Works run in the order of their calls, whoever waits for which first, and a synchronous call comes after them."""
    _, size = rank_and_size()
    x = torch.ones(1000, dtype=torch.int64)
    works = [dist.all_reduce(x, async_op=True) for _ in range(5)]
    works[2].wait()
    dist.all_reduce(x)
    assert x[0].item() == size**6
    # The last may have been run by the queue's thread, which tells its future first.
    end = time.monotonic() + 60
    while not all(work.is_completed() for work in works) and time.monotonic() < end:
        time.sleep(0.001)
    assert all(work.is_completed() for work in works)


def check_unwaited() -> None:
    """A work that nobody waits for runs all the same, by the queue's thread."""
    rank, size = rank_and_size()
    x = torch.full((10,), float(rank))
    work = dist.all_reduce(x, async_op=True)
    end = time.monotonic() + 60
    while not work.is_completed() and time.monotonic() < end:
        time.sleep(0.001)
    assert x.tolist() == [float(sum(range(size)))] * 10
    kept = []
    for i in range(20):
        y = torch.full((3,), float(i))
        dist.all_reduce(y, async_op=True)  # the work is dropped at once
        kept.append(y)
    dist.barrier()
    assert [y[0].item() for y in kept] == [float(i * size) for i in range(20)]


def check_many() -> None:
    _, size = rank_and_size()
    xs = [torch.full((4,), float(i)) for i in range(1000)]
    works = [dist.broadcast(x, i % size, async_op=True) for i, x in enumerate(xs)]
    for work in works:
        work.wait()


def count_threads() -> tuple[int, int, int]:
    """Threads at first, after synchronous calls, and after large asynchronous ones. The tensors are long enough
    for several OpenMP threads, which PyTorch may have by then, and one is not contiguous, so it is copied too."""
    torch.set_num_threads(1)
    x, y = torch.ones(1 << 20), torch.ones(1500, 1500).t()
    before = threads()
    dist.all_reduce(x)
    dist.barrier()
    between = threads()
    torch.set_num_threads(4)
    for _ in range(3):
        works = [dist.all_reduce(x, async_op=True), dist.all_reduce(y, async_op=True)]
        for work in works:
            while not work.is_completed():  # not wait(), which would run it here
                time.sleep(0.001)
    after = threads()
    torch.set_num_threads(1)
    return before, between, after


def check_two_threads() -> None:
    """Two Python threads, each with a group of its own, and both with one."""
    _, size = rank_and_size()
    groups = [dist.new_group(list(range(size))) for _ in range(2)]
    failed = []

    def run(group, times):
        try:
            for i in range(times):
                x = torch.full((100,), float(i))
                work = dist.all_reduce(x, group=group, async_op=i % 2 == 0)
                if work:
                    work.wait()
                assert x[0].item() == i * size
        except BaseException as error:
            failed.append(error)

    both = [threading.Thread(target=run, args=(group, 100)) for group in groups]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert not failed, failed
    same = [threading.Thread(target=lambda: run_same(failed)) for _ in range(2)]
    for thread in same:
        thread.start()
    for thread in same:
        thread.join(60)
    assert not failed, failed
    for group in groups:
        dist.destroy_process_group(group)


def run_same(failed) -> None:
    try:
        for _ in range(100):
            x = torch.ones(5)
            dist.all_reduce(x)
            assert x[0].item() == dist.get_world_size()
    except BaseException as error:
        failed.append(error)


def check_wait_with_a_timeout() -> None:
    rank, size = rank_and_size()
    x = torch.ones(2)
    if rank == 0:
        work = dist.all_reduce(x, async_op=True)
        raises(RuntimeError, "Timed out waiting 100ms", work.wait, timedelta(milliseconds=100))
        dist.distributed_c10d._get_default_store().set("late", "1")
        work.wait()
    else:
        dist.distributed_c10d._get_default_store().wait(["late"])
        dist.all_reduce(x)
    assert x[0].item() == size
    dist.distributed_c10d._get_default_store().delete_key("late") if rank == 0 else None


def check_operators_come_in_turn() -> None:
    """An operator of the same group comes after what was started before, however late a rank calls it."""
    import shmrt

    rank, size = rank_and_size()
    for i in range(2 * size):
        x, y = torch.full((4,), 1.0 + i), torch.full((4,), 100.0 + i)
        work = dist.all_reduce(x, async_op=True)
        if rank == i % size:
            time.sleep(0.02)  # so that its queue's thread takes x meanwhile
        y = shmrt.all_reduce(y, group=dist.group.WORLD)
        work.wait()
        assert (x[0].item(), y[0].item()) == (size * (1.0 + i), size * (100.0 + i))


def check_operators_have_the_groups_timeout() -> None:
    import shmrt

    rank, size = rank_and_size()
    dist.barrier()
    dist.barrier(timeout=timedelta(seconds=2))
    if rank == 0:
        time.sleep(2.3)
    assert shmrt.all_reduce(torch.ones(2), group=dist.group.WORLD)[0].item() == size
