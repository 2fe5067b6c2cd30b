# SPDX-License-Identifier: Apache-2.0
"""In a rank: sends and receives."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from c10d_collectives import MOVED, equal, layouts, moved_term
from c10d_group import raises, rank_and_size
from c10d_signals import Stop, alarm

SIZES = (0, 1, 200, 60, 240, 241, 5000, 300_000)  # bytes: in the head of a message, at its edge, and beyond


def check_values() -> None:
    rank, size = rank_and_size()
    to, source = (rank + 1) % size, (rank - 1) % size
    for dtype in MOVED:
        for shape in [(7,), (), (0, 3), (200, 30)]:
            for x, out in zip(
                layouts(moved_term(rank, shape, dtype)), layouts(moved_term(99, shape, dtype)), strict=True
            ):
                works = [dist.irecv(out, source), dist.isend(x, to)]
                for work in works:
                    work.wait()
                assert equal(out, moved_term(source, shape, dtype)), (dtype, shape)


def check_all_at_once() -> None:
    """Every rank sends to and receives from every other one, long and short, all under way together."""
    rank, size = rank_and_size()
    others = [r for r in range(size) if r != rank]
    outs = {(r, n): torch.empty(n, dtype=torch.uint8) for r in others for n in SIZES}
    ops = []
    for r in others:
        for n in SIZES:
            ops.append(dist.P2POp(dist.isend, torch.full((n,), 10 * rank + n % 7, dtype=torch.uint8), r))
            ops.append(dist.P2POp(dist.irecv, outs[r, n], r))
    for work in dist.batch_isend_irecv(ops):
        work.wait()
    for (r, n), out in outs.items():
        assert (out == 10 * r + n % 7).all(), (r, n)


def check_tags() -> None:
    """Receives in another order than the sends, long messages too: the tag decides."""
    rank, _ = rank_and_size()
    n = 100_000
    if rank == 0:
        works = [dist.isend(torch.full((n,), float(tag)), 1, tag=tag) for tag in (5, 3, 4)]
        for work in works:
            work.wait()
    elif rank == 1:
        for tag in (4, 5, 3):
            out = torch.empty(n)
            dist.recv(out, 0, tag=tag)
            assert (out == tag).all()


def check_any_source() -> None:
    rank, size = rank_and_size()
    for _ in range(3):
        if rank == 0:
            seen = []
            for _ in range(size - 1):
                out = torch.empty(400)
                source = dist.recv(out)
                assert out[0].item() == source
                seen.append(source)
            assert sorted(seen) == list(range(1, size))
        else:
            dist.send(torch.full((400,), float(rank)), 0)
        dist.barrier()


def check_progress_without_waiting() -> None:
    """A long isend goes on while its rank is in a collective."""
    rank, _ = rank_and_size()
    if rank == 0:
        x = torch.ones(1 << 20)
        work = dist.isend(x, 1)
        dist.barrier()
        work.wait()
    else:
        if rank == 1:
            out = torch.zeros(1 << 20)
            dist.recv(out, 0)
            assert out.sum().item() == 1 << 20
        dist.barrier()


def check_refusals() -> None:
    rank, size = rank_and_size()
    group = dist.group.WORLD._get_backend(torch.device("cpu"))
    x = torch.ones(2)
    raises(RuntimeError, "is this very rank", group.send, [x], rank, 0)
    raises(RuntimeError, "is not from 0 to", group.recv, [x], size, 0)
    raises(RuntimeError, "nonnegative", group.send, [x], (rank + 1) % size, -1)
    raises(RuntimeError, "single tensor", group.recv, [x, x], (rank + 1) % size, 0)
    dist.barrier()
    if rank == 0:
        dist.send(torch.ones(3), 1)
        dist.send(torch.ones(4), 1)
    elif rank == 1:
        raises(RuntimeError, "has sent 12 bytes with tag 0, and the tensor has 16", dist.recv, torch.ones(4), 0)
        out = torch.zeros(4)
        dist.recv(out, 0)  # what comes next is not lost
        assert out.sum().item() == 4


def check_receive_timeout() -> None:
    """A receive that nothing comes for ends at the group's timeout, and the group works on."""
    rank, size = rank_and_size()
    group = dist.new_group(list(range(size)), timeout=timedelta(seconds=1))
    if rank == 0:
        start = time.monotonic()
        raises(RuntimeError, "Timed out waiting 1000ms for rank 1", dist.recv, torch.ones(1), 1, group)
        assert time.monotonic() - start > 0.9
        work = dist.irecv(torch.ones(1), 1, group)
        raises(RuntimeError, "Timed out waiting 50ms", work.wait, timedelta(milliseconds=50))
        raises(RuntimeError, "Timed out waiting 1000ms", work.wait)
    dist.barrier()
    if rank == 0:
        dist.send(torch.ones(1), 1, group)
    elif rank == 1:
        dist.recv(torch.ones(1), 0, group)
    dist.barrier()
    dist.destroy_process_group(group)


def send_and_leave() -> None:
    """What was sent is there also when the sender has left."""
    rank, size = rank_and_size()
    store = dist.distributed_c10d._get_default_store()
    group = dist.new_group(list(range(size)))
    if rank == 0:
        for n in (3, 1000):
            dist.send(torch.full((n,), 7.0), 1, group)
    else:
        store.wait(["gone"])
        for n in (3, 1000):
            out = torch.zeros(n)
            dist.recv(out, 0, group)
            assert (out == 7).all()
        raises(RuntimeError, "destroyed the process group or ended", dist.recv, torch.zeros(3), 0, group)
    dist.destroy_process_group(group)
    if rank == 0:
        store.set("gone", "1")
    dist.barrier()
    if rank == 0:
        store.delete_key("gone")


def _leave_and_tell(group, store) -> None:
    dist.destroy_process_group(group)
    store.set(f"rank {dist.get_rank()} has left", "1")


def one_leaves_and_others_go_on() -> None:
    """A master takes what comes; who has done its part leaves."""
    rank, size = rank_and_size()
    store = dist.distributed_c10d._get_default_store()
    group = dist.new_group(list(range(size)))
    if rank == 0:
        out, seen = torch.zeros(300), []
        work = dist.irecv(out, None, group)
        work.wait()
        seen.append(out[0].item())
        store.wait(["rank 1 has left"])
        work = dist.irecv(out, None, group)
        raises(RuntimeError, "the operation goes on", work.wait, timedelta(milliseconds=100))
        raises(RuntimeError, "rank 1 has destroyed", dist.recv, torch.zeros(3), 1, group)
        store.set("go", "1")
        work.wait()
        seen.append(out[0].item())
        assert seen == [1, 2]
        raises(RuntimeError, "all other ranks have destroyed", dist.recv, torch.zeros(3), None, group)
        dist.destroy_process_group(group)
    else:
        if rank == 2:
            store.wait(["go"])
        dist.send(torch.full((300,), float(rank)), 0, group)
        _leave_and_tell(group, store)
    _forget(store, "go", "rank 1 has left", "rank 2 has left")


def one_leaves_beside_a_slow_one() -> None:
    """The receive of a rank that left fails, while that of a slower rank before it waits on."""
    rank, size = rank_and_size()
    store = dist.distributed_c10d._get_default_store()
    group = dist.new_group(list(range(size)))
    if rank == 2:
        _leave_and_tell(group, store)
    elif rank == 1:
        store.wait(["go"])
        dist.send(torch.ones(3), 0, group)
    else:
        store.wait(["rank 2 has left"])
        out = torch.zeros(3)
        slow, lost = dist.irecv(out, 1, group), dist.irecv(torch.zeros(3), 2, group)
        raises(RuntimeError, "rank 2 has destroyed", lost.wait)
        store.set("go", "1")
        slow.wait()
        assert out.sum().item() == 3
    if rank != 2:
        dist.destroy_process_group(group)
    _forget(store, "go", "rank 2 has left")


def _forget(store, *keys: str) -> None:
    dist.barrier()
    if dist.get_rank() == 0:
        for key in keys:
            store.delete_key(key)
    dist.barrier()


def sender_stops_halfway() -> None:
    """A receive that was posted when its message had begun to come has its own timeout."""
    rank, size = rank_and_size()
    store = dist.distributed_c10d._get_default_store()
    group = dist.new_group(list(range(size)), timeout=timedelta(seconds=60))
    backend = group._get_backend(torch.device("cpu"))
    x = torch.ones(1 << 20)
    if rank == 1:  # the store is rank 0's
        work = dist.isend(x, 0, group, tag=5)
        store.set("pid", str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
        raises(RuntimeError, "has come in part", work.wait)
    else:
        pid = int(store.get("pid"))
        try:
            while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
                time.sleep(0.01)
            backend._set_default_timeout(timedelta(seconds=1))
            dist.irecv(torch.zeros(1), 1, group, tag=4)  # lets the other message begin
            raises(RuntimeError, "has come in part", dist.recv, x, 1, group, tag=5)
        finally:
            os.kill(pid, signal.SIGCONT)
    dist.destroy_process_group(group)
    _forget(store, "pid")


def signal_during_a_send() -> None:
    """What a handler raises comes out of the wait, and the send goes on; a handler may leave the group."""
    rank, size = rank_and_size()
    store = dist.distributed_c10d._get_default_store()
    group, left = dist.new_group(list(range(size))), dist.new_group(list(range(size)))
    x = torch.ones(1 << 20)

    def stop(*_) -> None:
        raise Stop

    if rank == 0:
        with alarm(stop):
            raises(Stop, "", dist.send, x, 1, group)
        with alarm(lambda *_: dist.destroy_process_group(left)):
            raises(RuntimeError, "destroyed", dist.send, x, 1, left)
        store.set("go", "1")
        store.wait(["got"])
    else:
        store.wait(["go"])
        out = torch.zeros(1 << 20)
        dist.recv(out, 0, group)
        assert out.sum().item() == 1 << 20
        store.set("got", "1")
        dist.destroy_process_group(left)
    dist.destroy_process_group(group)
    _forget(store, "go", "got")


def messages_of_a_rank_that_dies(begun: Path) -> list[str]:
    """What each message was told: two receives and a long send that are under way, and a send that comes later."""
    works = [dist.irecv(torch.ones(3), 1, tag=4), dist.irecv(torch.ones(5), tag=6), dist.isend(torch.ones(1 << 20), 1)]
    begun.touch()
    return [error_of(work.wait) for work in works] + [error_of(dist.send, torch.ones(1), 1)]


def error_of(function, *args) -> str:
    try:
        function(*args)
    except RuntimeError as error:
        return str(error)
    return "nothing was raised"
