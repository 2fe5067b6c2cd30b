# SPDX-License-Identifier: Apache-2.0
"""A rank that is killed under torch.compile(fullgraph=True), and what is told of it.

Survivors get the Error that names it, soon, again at each further call, and can begin anew in the same process.
"""

import errno
import os
import re
import time

import pytest
import shmrt
import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as functional

VICTIM = 2
SOON_S = 60  # about a second on an idle machine; a test doesn't assert that where it may be loaded


def functional_operator(x: torch.Tensor) -> torch.Tensor:
    return torch.ops.shmrt.all_reduce(x * 2) + 1


def in_place_operator(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    torch.ops.shmrt.all_reduce_(y)
    return y + 1


def functional_collective(x: torch.Tensor) -> torch.Tensor:
    return functional.wait_tensor(functional.all_reduce(x * 2, "sum", dist.group.WORLD)) + 1


def in_place_collective(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    dist.all_reduce(y)
    return y + 1


FUNCTIONS = {
    function.__name__: function
    for function in (functional_operator, in_place_operator, functional_collective, in_place_collective)
}


def is_collective(name: str) -> bool:
    return name.endswith("_collective")


def begin(name: str) -> None:
    if is_collective(name):
        dist.init_process_group("shmrt")
    else:
        shmrt.init()


def end(name: str) -> None:
    if is_collective(name):
        dist.destroy_process_group()
    else:
        shmrt.finalize()


def compiled(name: str, backend: str):
    return torch.compile(FUNCTIONS[name], fullgraph=True, dynamic=False, backend=backend)


def warm_up(name: str, backend: str) -> list[float]:
    """The graph is made, and has run, before anybody dies: sums of 3 ranks' ones."""
    begin(name)
    step = compiled(name, backend)
    return [step(torch.ones(count))[0].item() for count in (16, 1 << 16)]


def wait_in_a_graph(name: str, backend: str) -> list[tuple[int, str, float]]:
    """Run it until it fails, and twice more; how each of these ended, when."""
    step = compiled(name, backend)
    found = []
    x = torch.ones(1 << 16)
    while len(found) < 3:
        try:
            step(x)
        except shmrt.Error as error:
            found.append((error.code, str(error), time.monotonic()))
    return found


def report_of_the_dead() -> str:
    return str(shmrt.report())


def begin_anew(name: str, rank: int, port: int, backend: str) -> float:
    """Two ranks, in the processes that have seen the third one die."""
    end(name)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), LOCAL_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_PORT=str(port), SHMRT_JOB=os.environ["SHMRT_JOB"] + "-again")
    begin(name)
    result = compiled(name, backend)(torch.ones(16))[0].item()
    end(name)
    return result


def kill_one(pool, name: str, backend: str) -> None:
    from rankpool import free_port

    assert pool.call(warm_up, name, backend, timeout=300) == [[7.0, 7.0]] * 3
    survivors = [0, 1]
    pool.start(wait_in_a_graph, name, backend, only=survivors)
    time.sleep(0.3)
    killed_at = time.monotonic()
    pool.workers[VICTIM].kill()
    for ok, outcome in pool.collect(timeout=2 * SOON_S, only=survivors):
        assert ok, outcome
        assert outcome[0][2] - killed_at < SOON_S, outcome
        for code, text, _ in outcome:
            assert code == errno.ECONNABORTED, outcome
            assert re.search(r"rank 2 \(pid \d+\) died; rank \d was in all-reduce #\d+ .*waiting \S+ s", text), text
    if not is_collective(name):
        for text in pool.call(report_of_the_dead, only=survivors):
            assert re.search(r"(?m)^  rank 2    pid \d+, died, ", text), text
            assert re.search(r"(?m)^  rank 0    pid \d+, .*all-reduce #\d+", text), text
    for rank in survivors:
        assert "who was where" in pool.output(rank) and "rank 2: died" in pool.output(rank), pool.output(rank)
    port = free_port()
    for rank in survivors:
        pool.start(begin_anew, name, rank, port, backend, only=[rank])
    for ok, outcome in pool.collect(timeout=120, only=survivors):
        assert ok and outcome == 5.0, outcome


@pytest.mark.parametrize("name", FUNCTIONS)
def test_killed_under_compile(fresh_ranks, name):
    kill_one(fresh_ranks(3), name, "aot_eager")


@pytest.mark.long
@pytest.mark.parametrize("name", FUNCTIONS)
def test_killed_under_inductor(fresh_ranks, name):
    kill_one(fresh_ranks(3), name, "inductor")
