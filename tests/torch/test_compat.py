# SPDX-License-Identifier: Apache-2.0
"""vLLM's and SGLang's operators, called as these call them, in the same order, by stubs of the callers."""

import pickle

import pytest
import torch
import torch.distributed as dist

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class StubOfSglang:
    """A worker's calls: the ranks meet, before torch.distributed; each layer reduces, logits are gathered."""

    def __init__(self, size: int, rank: int) -> None:
        self.size, self.rank = size, rank
        torch.ops.sgl_kernel.initialize(size, rank)
        torch.library.register_fake("sgl_kernel::shm_allgather", lambda data, dim: torch.cat([data] * size, dim=dim))

    def all_reduce(self, x: torch.Tensor) -> torch.Tensor:
        torch.ops.sgl_kernel.shm_allreduce(x, 0)
        return x

    def all_gather(self, x: torch.Tensor, dim: int = -1) -> torch.Tensor:
        return torch.ops.sgl_kernel.shm_allgather(x, dim + x.dim() if dim < 0 else dim)


def sglang_layers() -> None:
    import os

    import shmrt.compat.sglang

    assert shmrt.compat.sglang.define()
    assert shmrt.compat.sglang.define()  # a second worker of this process
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    worker = StubOfSglang(size, rank)
    torch.ops.sgl_kernel.initialize(size, rank)
    for dtype in DTYPES:
        x = torch.arange(30, dtype=dtype).reshape(3, 10) + rank
        wanted = sum(torch.arange(30, dtype=dtype).reshape(3, 10) + r for r in range(size))
        assert worker.all_reduce(x) is x and torch.equal(x, wanted)
        for dim in (0, 1, -1):
            for columns in (5, 16):  # not a multiple of eight bytes, and one
                mine = torch.full((3 * columns + rank,), -0.0 if rank else float("nan"), dtype=dtype)
                mine = mine[rank:].view(3, columns)  # where it lies is each rank's own matter
                parts = [torch.full((3, columns), -0.0 if r else float("nan"), dtype=dtype) for r in range(size)]
                seen = worker.all_gather(mine, dim)
                bits = torch.int32 if dtype == torch.float32 else torch.int16
                assert torch.equal(seen.contiguous().view(bits), torch.cat(parts, dim).view(bits))
    assert worker.all_gather(torch.empty(0, 4), 1).shape == (0, 4 * size)
    compiled = torch.compile(lambda t: worker.all_gather(t, 0) * 2, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(torch.ones(2, 2)), torch.full((2 * size, 2), 2.0))
    with pytest.raises(shmrt.Error, match="reduce_op=9"):
        torch.ops.sgl_kernel.shm_allreduce(torch.ones(2), 9)


def test_sglang(fresh_ranks):
    fresh_ranks(2).call(sglang_layers)


class StubOfVllm:
    """A group of workers: the smallest number of threads, a manager, two barriers, then collectives by its handle."""

    def __init__(self, name: str) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        threads = torch.tensor([torch.get_num_threads()])
        dist.all_reduce(threads, op=dist.ReduceOp.MIN)
        self.handle = torch.ops._C.init_shm_manager(name, self.size, self.rank, threads.item())
        dist.barrier()
        torch.ops._C.join_shm_manager(self.handle, name)
        dist.barrier()

    def gather(self, x: torch.Tensor, dst: int) -> list[torch.Tensor] | None:
        outputs = [torch.empty_like(x) for _ in range(self.size)] if self.rank == dst else None
        torch.ops._C.shm_gather(self.handle, x, outputs, dst)
        return outputs

    def all_gather(self, x: torch.Tensor) -> torch.Tensor:
        output = torch.empty((x.shape[0] * self.size, *x.shape[1:]), dtype=x.dtype)
        torch.ops._C.shm_all_gather(self.handle, x, output)
        return output

    def send(self, tensors: dict[str, torch.Tensor], dst: int) -> None:
        names = pickle.dumps([(name, tensor.shape) for name, tensor in tensors.items()])
        described = torch.frombuffer(bytearray(names), dtype=torch.uint8)
        torch.ops._C.shm_send_tensor_list(self.handle, [*tensors.values(), described], dst)

    def receive(self, src: int) -> dict[str, torch.Tensor]:
        *tensors, described = torch.ops._C.shm_recv_tensor_list(self.handle, src)
        names = pickle.loads(described.numpy().tobytes())
        return {name: tensor.view(shape) for (name, shape), tensor in zip(names, tensors, strict=True)}


def vllm_workers() -> None:
    import shmrt
    import shmrt.compat.vllm

    assert not hasattr(torch.ops._C, "init_shm_manager")
    assert shmrt.compat.vllm.define() and shmrt.compat.vllm.define()
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    groups = [StubOfVllm("1234-tp:0-[0-1]-cpushm"), StubOfVllm("1234-pp:0-[0-1]-cpushm")]
    assert groups[0].handle != groups[1].handle
    for group in groups:
        for dtype in DTYPES:
            mine = torch.arange(24, dtype=dtype).reshape(4, 6) + rank
            each = [torch.arange(24, dtype=dtype).reshape(4, 6) + r for r in range(size)]
            x = mine.clone()
            torch.ops._C.shm_allreduce(group.handle, x)
            assert torch.equal(x, sum(each))
            for dst in range(size):
                gathered = group.gather(mine, dst)
                assert (gathered is None) == (rank != dst)
                assert gathered is None or all(torch.equal(a, b) for a, b in zip(gathered, each, strict=True))
            assert torch.equal(group.all_gather(mine), torch.cat(each))
        sent = {"hidden": torch.ones(3, 5, dtype=torch.bfloat16), "ids": torch.arange(7), "none": torch.empty(0, 2)}
        if rank == 0:
            group.send(sent, 1)
        elif rank == 1:
            received = group.receive(0)
            assert list(received) == list(sent)
            for name, tensor in sent.items():
                assert received[name].dtype == tensor.dtype and torch.equal(received[name], tensor)
    with pytest.raises(shmrt.Error, match="manager 77"):
        torch.ops._C.shm_allreduce(77, torch.ones(2))
    with pytest.raises(shmrt.Error, match="not of 'other'"):
        torch.ops._C.join_shm_manager(groups[0].handle, "other")
    dist.destroy_process_group()


def test_vllm(fresh_ranks):
    pytest.importorskip("shmrt._backend")
    fresh_ranks(2).call(vllm_workers)


def others_come_first() -> None:
    import shmrt.compat.sglang
    import shmrt.compat.vllm

    theirs = [torch.library.Library(name, "FRAGMENT") for name in ("_C", "sgl_kernel")]
    theirs[0].define("shm_allreduce(int handle, Tensor(a!) data) -> ()")
    theirs[1].define("shm_allreduce(Tensor(a!) data, int reduce_op) -> ()")
    assert not shmrt.compat.vllm.define() and not shmrt.compat.sglang.define()
    assert not hasattr(torch.ops._C, "init_shm_manager") and not hasattr(torch.ops.sgl_kernel, "initialize")


def test_what_another_library_defined_is_left_alone(fresh_ranks):
    fresh_ranks(1).call(others_come_first)
