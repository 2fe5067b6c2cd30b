# SPDX-License-Identifier: Apache-2.0
"""Functional collectives, eager and in a graph: what torch.compile makes of torch.distributed."""

import os

import pytest
import torch
import torch.distributed as dist
from framework import close, native
from torch.distributed import _functional_collectives as functional

EACH = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast")


def everything(x: torch.Tensor, size: int):
    """One of each, with arithmetic in between so that the graph has something to order."""
    group = dist.group.WORLD
    total = functional.all_reduce(x + 1, "sum", group)
    largest = functional.all_reduce(x * 2, "max", group)
    gathered = functional.all_gather_tensor(x, 0, group)
    along = functional.all_gather_tensor(x, 1, group)
    scattered = functional.reduce_scatter_tensor(gathered * 3, "sum", 0, group)
    even = [x.shape[0] // size] * size
    exchanged = functional.all_to_all_single(x, even, even, group)
    from_last = functional.broadcast(x - 1, size - 1, group)
    pair = functional.all_reduce_coalesced([x, x * x], "sum", group)
    return total, largest, gathered, along, scattered, exchanged, from_last, *pair


def term(rank: int, size: int) -> torch.Tensor:
    return torch.randn(2 * size, 3, generator=torch.Generator().manual_seed(rank))


def expected(rank: int, size: int):
    terms = [term(r, size) for r in range(size)]
    gathered, part = torch.cat(terms), slice(2 * rank, 2 * rank + 2)
    total = torch.stack(terms).sum(0)
    return (
        total + size,
        torch.stack(terms).amax(0) * 2,
        gathered,
        torch.cat(terms, 1),
        3 * size * gathered[rank * 2 * size : (rank + 1) * 2 * size],
        torch.cat([t[part] for t in terms]),
        terms[-1] - 1,
        total,
        torch.stack([t * t for t in terms]).sum(0),
    )


def check(results, wanted) -> None:
    for number, (result, value) in enumerate(zip(results, wanted, strict=True)):
        close(result + 0, value, f"result {number}")


def eager() -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    with native(*EACH):
        check(everything(term(rank, size), size), expected(rank, size))


@pytest.mark.parametrize("size", [2, 4])
def test_eager(ranks, size):
    ranks(size).call(eager)


def compiled() -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    step = torch.compile(everything, fullgraph=True, dynamic=False)
    x = term(rank, size)
    with native(*EACH):
        for _ in range(3):
            check(step(x, size), expected(rank, size))


def test_compiled(ranks):
    ranks(2).call(compiled, timeout=300)


def traced(x: torch.Tensor, size: int):
    """What people write: torch.distributed's own calls in place, which Dynamo turns into functional ones."""
    total = x + 1
    dist.all_reduce(total)
    gathered = torch.empty(size * x.shape[0], x.shape[1])
    dist.all_gather_into_tensor(gathered, x)
    part = torch.empty_like(x)
    dist.reduce_scatter_tensor(part, gathered * 2)
    exchanged = torch.empty_like(x)
    dist.all_to_all_single(exchanged, x)
    return total, gathered, part, exchanged


def compiled_in_place() -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    step = torch.compile(traced, fullgraph=True, dynamic=False)
    want = expected(rank, size)
    with native("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        for _ in range(2):
            check(step(term(rank, size), size), (want[0], want[2], want[4] * 2 / 3, want[5]))


def test_compiled_in_place(ranks):
    ranks(2).call(compiled_in_place, timeout=300)


def many_at_once() -> None:
    """Works that are started one after the other and waited for in another order."""
    rank, size = dist.get_rank(), dist.get_world_size()
    with native("all_reduce"):
        terms = [torch.full((n + 1,), float(rank + n)) for n in range(20)]
        started = [functional.all_reduce(x, "sum", dist.group.WORLD) for x in terms]
        for n in reversed(range(20)):
            assert functional.wait_tensor(started[n]).tolist() == [float(sum(range(size)) + n * size)] * (n + 1)


def test_many_at_once(ranks):
    ranks(4).call(many_at_once)


def never_waited_for() -> None:
    """A tensor that is dropped without a wait disturbs nobody."""
    rank = dist.get_rank()
    for _ in range(5):
        functional.all_reduce(torch.full((1000,), float(rank)), "sum", dist.group.WORLD)
    x = torch.ones(3)
    dist.all_reduce(x)
    assert x.tolist() == [float(dist.get_world_size())] * 3


def test_never_waited_for(ranks):
    ranks(2).call(never_waited_for)


def handed_on() -> str:
    """The check itself: it notices what Gloo does instead of us, and what did not happen at all."""
    said = []
    for collective, op in (("all_reduce", dist.ReduceOp.BOR), ("broadcast", dist.ReduceOp.SUM)):
        try:
            with native(collective):
                dist.all_reduce(torch.ones(3, dtype=torch.int32), op)
        except AssertionError as error:
            said.append(str(error))
    return "\n".join(said)


@pytest.mark.skipif("gloo" in os.environ.get("SHMRT_TEST_BACKEND", ""), reason="about shmrt alone")
def test_the_check_of_all_these_tests(ranks):
    for said in ranks(2).call(handed_on):
        first, second = said.split("\n", 1)
        assert "gloo:all_reduce" in first
        assert "expected ('broadcast',)" in second
