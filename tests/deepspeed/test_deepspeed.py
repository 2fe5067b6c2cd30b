# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed from PyPI, whose all-reduces come through shmrt: which, over which ranks, in which order of imports."""

import errno
import os
import subprocess
import sys
import textwrap

import deepspeed
import pytest
import torch
from rankpool import rank_environment

ReduceOp = deepspeed.comm.ReduceOp


def join() -> None:
    deepspeed.init_distributed(verbose=False)


def calls() -> int:
    import shmrt

    return sum(shmrt.stats()["operators"].values())


def counted(function):
    before = calls()
    result = function()
    return result, calls() - before


def reduced(op, group=None, dtype=torch.float32):
    mine = torch.arange(1, 4, dtype=dtype) * (deepspeed.comm.get_rank() + 1)
    result = deepspeed.comm.inference_all_reduce(mine, op, group=group)
    assert result is mine
    return mine.tolist()


def every_operation() -> list:
    return counted(lambda: [reduced(op) for op in (ReduceOp.SUM, ReduceOp.MAX, ReduceOp.PRODUCT, ReduceOp.AVG)])


def test_operations(deepspeed_ranks):
    """DeepSpeed's own operator sums, whatever is asked of it."""
    pool = deepspeed_ranks(3)
    pool.call(join)
    for values, count in pool.call(every_operation):
        assert values == [[6, 12, 18], [3, 6, 9], [6, 48, 162], [2, 4, 6]]
        assert count == 4


def over_groups() -> tuple:
    rank = deepspeed.comm.get_rank()
    pair, everyone = deepspeed.comm.new_group([0, 2]), deepspeed.comm.new_group([0, 1, 2])
    inside, count = counted(lambda: reduced(ReduceOp.SUM, pair) if rank != 1 else None)
    again = reduced(ReduceOp.SUM, pair, torch.bfloat16) if rank != 1 else None
    return inside, again, count, counted(lambda: reduced(ReduceOp.SUM, everyone))


def test_groups_are_honoured(deepspeed_ranks):
    """DeepSpeed passes no group to its operator, which so adds up all ranks."""
    pool = deepspeed_ranks(3)
    pool.call(join)
    answers = pool.call(over_groups)
    for rank in (0, 2):
        assert answers[rank][:3] == ([4, 8, 12], [4, 8, 12], 1)
    assert answers[1][:3] == (None, None, 0)
    assert [answer[3] for answer in answers] == [([6, 12, 18], 1)] * 3


def operator_with_a_group():
    import shmrt

    pair, rank = deepspeed.comm.new_group([0, 2]), deepspeed.comm.get_rank()
    if rank == 1:
        return None
    x = torch.full((3,), rank + 1.0, requires_grad=True)
    y = shmrt.inference_all_reduce(x, group=pair)
    y.backward(torch.full((3,), rank + 1.0))
    checks = torch.library.opcheck(torch.ops.shmrt.all_reduce.default, (torch.ones(3),), {"group": shmrt.attach(pair)})
    return y.tolist(), x.grad.tolist(), set(checks.values())


def test_the_operator_takes_a_group(deepspeed_ranks):
    pool = deepspeed_ranks(3)
    pool.call(join)
    first, middle, last = pool.call(operator_with_a_group, timeout=240)
    assert first == last == ([4.0] * 3, [4.0] * 3, {"SUCCESS"}) and middle is None


def around_shared_memory() -> tuple:
    import shmrt

    before = sum(shmrt.stats()["fallbacks"].values())
    x = shmrt.all_reduce(torch.full((2,), deepspeed.comm.get_rank() + 1.0), use_shm=False)
    y = shmrt.inference_all_reduce(x, "max", group=torch.distributed.group.WORLD, use_shm=False)
    return x.tolist(), y.tolist(), sum(shmrt.stats()["fallbacks"].values()) - before


def test_a_call_without_shared_memory(deepspeed_ranks):
    pool = deepspeed_ranks(3)
    pool.call(join)
    assert pool.call(around_shared_memory) == [([6.0] * 2, [6.0] * 2, 2)] * 3


def compiled() -> tuple:
    pair = deepspeed.comm.new_group([0, 2])
    rank = deepspeed.comm.get_rank()

    def step(x, group):
        y = x * 2
        deepspeed.comm.inference_all_reduce(y, group=group)
        return y + 1

    def both():
        graph = torch.compile(step, fullgraph=True, backend="aot_eager")
        all_of_them = graph(torch.full((5,), float(rank + 1)), None).tolist()
        return all_of_them, graph(torch.full((5,), float(rank + 1)), pair).tolist() if rank != 1 else None

    return counted(both)


def test_compiled_whole(deepspeed_ranks):
    pool = deepspeed_ranks(3)
    pool.call(join)
    (first, first_calls), (middle, middle_calls), (last, last_calls) = pool.call(compiled, timeout=400)
    assert first == last == ([13.0] * 5, [9.0] * 5)
    assert middle == ([13.0] * 5, None)
    assert (first_calls, middle_calls, last_calls) == (2, 1, 2)


def of_other_types() -> tuple:
    import shmrt

    rank = deepspeed.comm.get_rank()
    x = torch.full((2,), complex(rank, 1))
    _, count = counted(lambda: deepspeed.comm.inference_all_reduce(x))
    return x.tolist(), count, [reason for reason in shmrt.stats()["fallbacks"] if "complex64" in reason]


def test_other_types_go_to_torch(deepspeed_ranks):
    pool = deepspeed_ranks(3)
    pool.call(join)
    for values, count, reasons in pool.call(of_other_types):
        assert values == [3 + 3j] * 2 and count == 0 and len(reasons) == 1


def over(backend: str) -> tuple:
    import shmrt

    deepspeed.init_distributed(dist_backend=backend, verbose=False)
    values, count = counted(lambda: reduced(ReduceOp.SUM))
    return torch.distributed.get_backend(), values, count, list(shmrt.stats()["fallbacks"])


@pytest.mark.long
@pytest.mark.parametrize("switch", ["SHMRT_DISABLE", "DS_SHM_COMM_ALL_REDUCE_OFF"])
def test_switches(two_ranks, switch):
    for backend, values, count, (reason,) in two_ranks(**{switch: "1"}).call(over, "gloo"):
        assert (backend, values, count) == ("gloo", [3, 6, 9], 1) and switch in reason


@pytest.mark.long
def test_our_own_backend(two_ranks):
    assert two_ranks().call(over, "shmrt") == [("shmrt", [3, 6, 9], 1, [])] * 2


def run_alone(code: str, **env: str) -> subprocess.CompletedProcess:
    """One process, of a job of one rank."""
    variables = rank_environment(0, 1, f"alone-{os.getpid()}", 0) | {"DS_ACCELERATOR": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=variables | env,
        capture_output=True,
        text=True,
        timeout=240,
    )


ORDERS = {
    "shmrt first": ("import shmrt, deepspeed", {}),
    "shmrt last": ("import deepspeed, shmrt", {}),
    "shmrt.deepspeed last": ("import deepspeed, shmrt.deepspeed", {}),
    "by the environment": ("import deepspeed", {"SHMRT_DEEPSPEED": "1"}),
}


@pytest.mark.parametrize("order", ORDERS)
def test_orders_of_import(order):
    """In none of them DeepSpeed builds its own operators, a second definition of which would abort the process."""
    imports, env = ORDERS[order]
    run = run_alone(
        f"""
        import sys, types
        {imports}
        from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder
        module = ShareMemCommBuilder().load()
        module.initialize(1, 0)
        import shmrt, torch
        print(module.vector_kernel_level(), torch.ops.deepspeed.inference_all_reduce(torch.ones(2)).tolist())
        # As where DeepSpeed was installed with DS_BUILD_SHM_COMM=1.
        sys.modules["deepspeed.ops.comm"] = types.ModuleType("comm")
        sys.modules["deepspeed.ops.comm"].__path__ = []
        try:
            import deepspeed.ops.comm.deepspeed_shm_comm_op
        except ImportError as error:
            print("refused:", error)
        """,
        **env,
    )
    assert run.returncode == 0, run.stderr
    assert "2 [1.0, 1.0]\nrefused: shmrt has defined" in run.stdout


def test_switched_off():
    run = run_alone(
        """
        import sys, shmrt, deepspeed
        backend = sys.modules["deepspeed.comm.torch"]
        print(backend.build_shm_op(), backend.TorchBackend.inference_all_reduce.__module__)
        try:
            import shmrt.deepspeed
        except shmrt.Error as error:
            print(error.code)
        """,
        SHMRT_DEEPSPEED="0",
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith(f"None deepspeed.comm.torch\n{errno.EPERM}\n")
