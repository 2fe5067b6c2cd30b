# SPDX-License-Identifier: Apache-2.0
"""What the backend shmrt of torch.distributed refuses, in the words of docs/errors.md; then the group goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import shmrt
import torch
import torch.distributed as dist
from error_table import assert_documented
from python_errors import refused, said, wait_for

CALL = r"ProcessGroupShmrt::\w+: "
F, D = torch.ones(4), torch.ones(4, dtype=torch.float64)


def test_attach_without_groups():
    """First in this file: later there is one."""
    refused("shmrt.attach() takes a group of torch.distributed", shmrt.attach)


@pytest.fixture(scope="module")
def alone():
    """A group of one rank in this very process."""
    dist.init_process_group("shmrt", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.group.WORLD._get_backend(torch.device("cpu"))
    dist.destroy_process_group()


def options(**values):
    made = dist.AllreduceOptions()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def all_to_all(group, output, input, output_splits=(), input_splits=()):
    return group.alltoall_base(output, input, list(output_splits), list(input_splits))


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("takes a single tensor, got", lambda g: g.send([F, F], 0, 0)),
        ("Tag must be nonnegative, got", lambda g: g.send([F], 0, -1)),
        ("rank {rank} is not from 0 to {last}", lambda g: g.send([F], 5, 0)),
        ("is this very rank", lambda g: g.send([F], 0, 0)),
        ("only supports dense tensors: invalid tensor layout", lambda g: g.broadcast([F.to_sparse()])),
        ("only supports CPU tensors, got one on", lambda g: g.broadcast([F.to("meta")])),
        ("tensor must have the same type as the {part}", lambda g: g._allgather_base(D, F)),
        ("tensor size must be equal to world_size", lambda g: g._allgather_base(torch.ones(5), F)),
        ("invalid output tensor list at index", lambda g: g.allgather([[F, F]], [F])),
        ("invalid size of output tensor at index", lambda g: g.allgather_coalesced([[torch.ones(5)]], [F])),
        ("a tensor without dimensions can't be split", lambda g: all_to_all(g, torch.ones(()), F)),
        ("Number of tensor splits not equal to group size", lambda g: all_to_all(g, F, F, [2, 2], [4])),
        ("Split sizes must not be negative, got", lambda g: all_to_all(g, F, F, [-4], [4])),
        ("Split sizes doesn't match total dim 0 size", lambda g: all_to_all(g, F, F, [3], [4])),
        ("output tensor and input tensor must have the same type", lambda g: all_to_all(g, D, F)),
        (
            "unsupported reduction operation for sparse tensors",
            lambda g: g.allreduce([F.to_sparse()], options(reduceOp=dist.ReduceOp.MAX)),
        ),
        ("tensors must all have the same type", lambda g: g.allreduce_coalesced([F, D])),
        (
            "Rank 0 timed out in monitoredBarrier after 0 ms",
            lambda g: g.monitored_barrier(timedelta(seconds=0), False),
        ),
    ],
)
def test_refused(alone, words, call):
    refused(words, lambda: call(alone), CALL)
    x = torch.ones(3)
    dist.all_reduce(x)
    assert torch.equal(x, torch.ones(3))


def test_complex_gradients(alone):
    leaf = torch.ones(2, dtype=torch.complex64, requires_grad=True)
    refused("inference_all_reduce of {dtype} has no derivative", lambda: shmrt.inference_all_reduce(leaf))


def test_attach(alone):
    words = 'make it with the backend "shmrt", or call'
    refused(words, lambda: torch.ops.shmrt.all_reduce_(torch.ones(1), "sum", "nobody"))
    gone = dist.new_group([0], backend="gloo")
    dist.destroy_process_group(gone)
    refused("this rank is not in the group", lambda: shmrt.attach(gone, timeout=5))


def join() -> None:
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), 2, os.environ["RANK"] == "0")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    limit = timedelta(seconds=float(os.environ.get("LIMIT_S", "60")))
    dist.init_process_group("shmrt", store=store, rank=rank, world_size=size, timeout=limit)
    dist.barrier()


def leave() -> None:
    """Rank 0 holds the store: it goes last."""
    dist.barrier()
    time.sleep(0.1 * (dist.get_rank() == 0))
    dist.destroy_process_group()


def forked() -> tuple[str, str]:
    """In a child of fork; the parent's group goes on."""
    join()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, "\n".join(said(lambda: dist.all_reduce(torch.ones(1)))).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    code, text = os.read(read, 4096).decode().split("\n")
    leave()
    return code, text


def test_forked(two_ranks):
    for code, text in two_ranks().call(forked, timeout=60):
        assert_documented("a process group of the backend shmrt was used in a process", text, code)


def destroyed() -> list[tuple[str, str]]:
    join()
    backend = dist.group.WORLD._get_backend(torch.device("cpu"))
    leave()
    return [
        said(lambda: backend.allreduce([torch.ones(1)]).wait()),
        said(lambda: backend.monitored_barrier(timedelta(seconds=1), False)),
    ]


def test_destroyed(two_ranks):
    words = "the process group was destroyed", "{call}: the process group was destroyed"
    for found in two_ranks().call(destroyed, timeout=60):
        for part, (code, text) in zip(words, found, strict=True):
            assert_documented(part, text, code)


def works(said_it: Path) -> list[tuple[str, str]]:
    """Rank 1 is late, so that rank 0's work is not done yet."""
    join()
    backend = dist.group.WORLD._get_backend(torch.device("cpu"))
    found = []
    if dist.get_rank() == 0:
        work = backend.allreduce([torch.ones(1)])
        found += [said(work.result), said(lambda: work.wait(timedelta(milliseconds=50)))]
        lost = backend.recv([torch.ones(1)], 1, 0)
        found.append(said(lambda: lost.wait(timedelta(milliseconds=50))))
        said_it.touch()
    else:
        wait_for(said_it)
        work = backend.allreduce([torch.ones(1)])
        backend.send([torch.ones(1)], 0, 0).wait()
    work.wait()
    several = backend.allgather([[torch.ones(1) for _ in range(4)] for _ in range(2)], [torch.ones(1)] * 2)
    several.wait()
    found += [said(several.result)] if dist.get_rank() == 0 else []
    if dist.get_rank() == 0:
        lost.wait()
    leave()
    return found


def test_works(two_ranks, tmp_path):
    found, _ = two_ranks().call(works, tmp_path / "said", timeout=120)
    words = (
        "Work needs to be completed before calling result()",
        "{call}: Timed out waiting {ms}ms, as given to wait()",
        "ms for {rank}, as given to wait(); the operation goes on",
        "result() has no list of lists of tensors",
    )
    for part, (code, text) in zip(words, found, strict=True):
        assert_documented(part, text, code)


def aborted() -> tuple[str, str]:
    join()
    group = dist.group.WORLD._get_backend(torch.device("cpu"))
    if dist.get_rank() == 1:
        group.abort()
    found = said(lambda: group.allreduce([torch.ones(1)]).wait())
    dist.destroy_process_group()
    return found


def test_aborted(two_ranks):
    here = two_ranks().call(aborted, timeout=60)[1]
    assert_documented("rank {rank} has aborted the process group", here[1], here[0])


def join_only() -> tuple[str, str]:
    return said(join)


@pytest.mark.parametrize(
    ("words", "variable", "value"),
    [
        ('has {what} "{value}", rank 0', "SHMRT_ENGINE", "ucc"),
        ("of {machine} could not join:", "SHMRT_SEGMENT", "1K"),
    ],
)
def test_meetings(two_ranks, words, variable, value):
    """Rank 1 was given another value: both are told."""
    right = "gloo" if variable == "SHMRT_ENGINE" else "8M"
    pool = two_ranks(**{variable: [right, value], "LIMIT_S": "3"})
    for code, text in pool.call(join_only, timeout=60):
        assert_documented(words, text, code)
    pool.call(leave_what_is_there, timeout=60)


def leave_what_is_there() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def late(said_it: Path) -> list[tuple[str, str]]:
    """Rank 1 receives nothing, and stays away from what rank 0 sends; then it says so."""
    join()
    backend = dist.group.WORLD._get_backend(torch.device("cpu"))
    backend._set_default_timeout(timedelta(seconds=0.5))
    found = []
    if dist.get_rank() == 0:
        found.append(said(lambda: backend.recv([torch.ones(1)], 1, 3).wait()))
        found.append(said(lambda: backend.send([torch.ones(10_000_000)], 1, 0).wait()))
        said_it.touch()
    else:
        wait_for(said_it)
    dist.destroy_process_group()
    return found


def test_late(two_ranks, tmp_path):
    found, _ = two_ranks().call(late, tmp_path / "said", timeout=120)
    words = "it has sent no message with this tag", "it does not receive what was sent to it"
    for part, (code, text) in zip(words, found, strict=True):
        assert_documented(part, text, code)


class Handled:
    """A signal handler that reduces in the group that its thread waits in, and then raises."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def __call__(self, number: int, frame: object) -> None:
        self.said.append(said(lambda: dist.all_reduce(torch.ones(1))))
        raise KeyError("of a handler")


def handled(said_it: Path) -> list[tuple[str, str]]:
    """Rank 0 waits for rank 1, which never comes."""
    join()
    found = Handled()
    backend = dist.group.WORLD._get_backend(torch.device("cpu"))
    if dist.get_rank() == 0:
        before = signal.signal(signal.SIGALRM, found)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        work = backend.allreduce([torch.ones(1)])
        found.said += [said(work.wait), said(work.wait)]
        signal.signal(signal.SIGALRM, before)
        said_it.touch()
    else:
        wait_for(said_it)
    dist.destroy_process_group()
    return found.said


def test_handled(two_ranks, tmp_path):
    (inside, first, second), _ = two_ranks().call(handled, tmp_path / "said", timeout=120)
    assert_documented("while this very thread is in a collective of the same group", inside[1], inside[0])
    assert first[0] == "KeyError"
    assert_documented("was ended by an exception, which was raised where", second[1], second[0])


STORE = """
import sys
from torch.distributed import TCPStore
store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
print(store.port, flush=True)
sys.stdin.read()
"""


def meet_over(port: int) -> tuple[str, str]:
    """Rank 0 of two; not by init_process_group(), which would count the group that fails."""
    return said(lambda: make_group(dist.TCPStore("127.0.0.1", port, is_master=False), 60))


def test_the_store_goes(two_ranks):
    """Rank 0 waits for rank 1, and the process that holds the store is killed."""
    pool = two_ranks()
    holder = subprocess.Popen([sys.executable, "-c", STORE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port = int(holder.stdout.readline())
        pool.start(meet_over, port, only=[0])
        store, until = dist.TCPStore("127.0.0.1", port, is_master=False), time.monotonic() + 60
        while not any(key.endswith("facts/0") for key in store.list_keys()) and time.monotonic() < until:
            time.sleep(0.01)
        del store
    finally:
        holder.kill()
        holder.communicate()
    ((_, (code, text)),) = pool.collect(timeout=60, only=[0])
    assert_documented('the store over which the ranks of group "{name}" meet is gone', text, code)


def test_nobody_comes():
    store = dist.PrefixStore("errors", dist.HashStore())
    refused("these did not come within {seconds} s", lambda: make_group(store, 0.5))


def make_group(store: dist.Store, limit_s: float):
    """Rank 0 of two."""
    from shmrt import _backend

    made = dist.distributed_c10d._DistributedBackendOptions()
    made.store, made.group_rank, made.group_size, made.group_id = store, 0, 2, "errors"
    made.global_ranks_in_group, made.timeout = [0, 1], timedelta(seconds=limit_s)
    return _backend.create(made)
