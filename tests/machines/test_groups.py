# SPDX-License-Identifier: Apache-2.0
"""Groups of torch.distributed over machines: of its own backend and attached ones; and the operators, compiled."""

import across
import pytest
import reference
import torch
import torch.distributed as dist


def attach_some(members: list[int]):
    """(name, machines, statistics, known after the end) of a Gloo group of `members`, after one reduction in it."""
    import shmrt
    from shmrt import _C

    group = dist.new_group(members, backend="gloo")
    if dist.get_rank() not in members:
        return None
    name = shmrt.attach(group)
    assert shmrt.attach(group) == name
    found = _C.layout(name)["machines"], _C.group_stats(name)
    shmrt.detach(name)
    return *found, name in _C.group_names()


def test_a_group_with_a_rank_that_is_not_local(gloo):
    for members, machines in (([1, 3], [[0], [1]]), ([2, 3], [[0, 1]]), ([0, 1, 2, 3], [[0, 1], [2, 3]])):
        answers = gloo.call(attach_some, members)
        for rank, answer in enumerate(answers):
            if rank not in members:
                assert answer is None
                continue
            assert answer[0] == machines
            assert answer[1]["across"]["machines"] == len(machines)
            assert answer[2] is False


def detach_late() -> list[float]:
    """torch uses names again: an attached group that somebody still holds takes no other with it when it goes."""
    import gc
    import os
    import weakref

    import shmrt

    old = dist.group.WORLD
    found = [shmrt.all_reduce(torch.ones(3), group=old)[0].item()]
    shmrt.detach(old.group_name)
    found.append(shmrt.all_reduce(torch.ones(3), group=old)[0].item())
    child = os.fork()
    if child == 0:
        weakref.finalize._exitfunc()  # as at its end
        os._exit(0)
    os.waitpid(child, 0)
    found.append(shmrt.all_reduce(torch.ones(3), group=old)[0].item())
    dist.destroy_process_group()
    dist.init_process_group("shmrt")
    assert dist.group.WORLD.group_name == old.group_name
    shmrt.detach(old.group_name)
    del old
    gc.collect()
    return [*found, shmrt.all_reduce(torch.ones(3), group=dist.group.WORLD)[0].item()]


def test_an_attached_group_ends_alone(gloo):
    assert gloo.call(detach_late) == [[4.0] * 4] * 4


def join_over_the_world():
    """init() when torch.distributed is up takes its store: no MASTER_ADDR is needed, nor a launcher's word."""
    import os

    import shmrt

    for name in ("MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name)
    shmrt.init()
    name = shmrt.attach()
    found = shmrt.machines(), name, shmrt.all_reduce(torch.ones(3)).tolist()
    shmrt.finalize()
    return found


def test_init_over_the_store_of_torch_distributed(gloo):
    assert gloo.call(join_over_the_world) == [([[0, 1], [2, 3]], "", [4.0] * 3)] * 4


def reduced_by_c10d() -> list[bool]:
    found = []
    machines = [[0, 1], [2, 3]]
    for seed, (dtype, op) in enumerate([("bfloat16", "SUM"), ("float32", "AVG"), ("int16", "MAX"), ("int64", "SUM")]):
        tensor = reference.term(dist.get_rank(), (20_011,), dtype, seed)
        work = dist.all_reduce(tensor, getattr(dist.ReduceOp, op), async_op=True)
        work.wait()
        found.append(reference.same_bits(tensor, across.expected(machines, (20_011,), dtype, op.lower(), seed)))
    gathered = [torch.empty(5) for _ in range(4)]
    dist.all_gather(gathered, torch.full((5,), float(dist.get_rank())))
    found.append([one[0].item() for one in gathered] == [0, 1, 2, 3])
    return found


def test_the_backend_shmrt_over_machines(job):
    ranks = job()
    ranks.call(across.start, "shmrt")
    answers = ranks.call(reduced_by_c10d)
    ranks.call(across.end)
    assert all(all(answer) for answer in answers), answers


def compiled(backend: str) -> bool:
    import shmrt

    @torch.compile(fullgraph=True, backend=backend)
    def step(x: torch.Tensor) -> torch.Tensor:
        y = torch.ops.deepspeed.inference_all_reduce(x * 2)
        torch.ops.deepspeed.inference_all_reduce_(y)
        return torch.ops.shmrt.all_reduce(y, "max") + 1

    x = torch.arange(40_000, dtype=torch.float32) * (shmrt.rank() + 1)
    right = torch.arange(40_000, dtype=torch.float32) * 2 * 10 * 4 + 1
    return torch.equal(step(x), right) and shmrt.stats()["across"]["calls"] == 3


def normed() -> bool:
    """The operator with a norm: the bits of its three steps."""
    import shmrt

    x, residual, weight = (
        reference.term(shmrt.rank(), (9, 640), "bfloat16"),
        *(reference.term(7 + i, shape, "bfloat16") for i, shape in enumerate([(9, 640), (640,)])),
    )
    norm, total = torch.ops.shmrt.all_reduce_add_rms_norm(x, residual, weight, 1e-6)
    right = residual + shmrt.inference_all_reduce(x)
    wide = right.float()
    scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
    return reference.same_bits(total, right) and torch.allclose(norm, weight * scaled.bfloat16(), rtol=2e-2)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_operators_in_a_compiled_graph(job, backend):
    ranks = job()
    ranks.call(across.join)
    assert ranks.call(compiled, backend, timeout=300) == [True] * 4
    assert ranks.call(normed) == [True] * 4
