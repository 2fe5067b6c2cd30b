# SPDX-License-Identifier: Apache-2.0
"""DTensor: every change of placement, and tensor parallelism by plan, eager and compiled, against the whole."""

import copy
import itertools

import pytest
import torch
import torch.distributed as dist
from framework import close, native, same_on_all
from torch import nn


def mesh_of_all():
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh("cpu", (dist.get_world_size(),))


def placed(whole: torch.Tensor, mesh, placement, extra: float):
    """`whole` as a DTensor; a partial one has terms that differ from rank to rank and make up `whole`."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not placement.is_partial():
        return distribute_tensor(whole, mesh, [placement], src_data_rank=None)
    rank, size = dist.get_rank(), dist.get_world_size()
    local = {
        "sum": whole * (rank + 1) * 2 / (size * (size + 1)),
        "avg": whole + extra * (rank - (size - 1) / 2),
        "max": whole - extra * rank,
        "min": whole + extra * (size - 1 - rank),
    }[placement.reduce_op]
    return DTensor.from_local(local, mesh, [placement])


def redistribute(shape: tuple[int, int]) -> None:
    from torch.distributed.tensor import Partial, Replicate, Shard

    mesh = mesh_of_all()
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    sources = [Replicate(), Shard(0), Shard(1), *(Partial(op) for op in ("sum", "avg", "max", "min"))]
    with native("all_reduce", "all_gather", "reduce_scatter"):
        for source, target in itertools.product(sources, (Replicate(), Shard(0), Shard(1))):
            moved = placed(whole, mesh, source, 0.5).redistribute(placements=[target])
            assert moved.placements == (target,)
            expected = placed(whole, mesh, target, 0).to_local()
            close(moved.to_local(), expected, f"{source} to {target}")
            torch.testing.assert_close(moved.full_tensor(), whole)


# Of 4 rows on 4 ranks each has one; of 5 some have two and one has none.
@pytest.mark.parametrize(("size", "shape"), [(2, (6, 4)), (4, (8, 4)), (4, (5, 3))])
def test_redistribute(ranks, size, shape):
    ranks(size).call(redistribute, shape)


def matrix_products() -> None:
    """DTensor chooses the collectives by itself."""
    from torch.distributed.tensor import Partial, Replicate, Shard

    mesh = mesh_of_all()
    random = torch.Generator().manual_seed(3)
    a, b = torch.randn(8, 12, generator=random), torch.randn(12, 4, generator=random)
    for left, right in ((Shard(0), Replicate()), (Shard(1), Shard(0)), (Replicate(), Shard(1)), (Shard(0), Shard(1))):
        product = placed(a, mesh, left, 0) @ placed(b, mesh, right, 0)
        torch.testing.assert_close(product.full_tensor(), a @ b)
    partial = placed(a, mesh, Shard(1), 0) @ placed(b, mesh, Shard(0), 0)
    assert partial.placements == (Partial(),)
    torch.testing.assert_close(placed(a, mesh, Shard(0), 0).sum().full_tensor(), a.sum())
    torch.testing.assert_close(placed(a, mesh, Shard(0), 0).softmax(0).full_tensor(), a.softmax(0))


def test_matrix_products(ranks):
    ranks(2).call(matrix_products)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


def whole_mlp() -> Mlp:
    torch.manual_seed(11)
    return Mlp()


def batch() -> torch.Tensor:
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(5))


def split(mlp: Mlp, by_sequence: bool):
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    outside = Shard(0) if by_sequence else Replicate()
    plan = {
        "up": ColwiseParallel(input_layouts=outside),
        "down": RowwiseParallel(output_layouts=outside),
    }
    return parallelize_module(mlp, mesh_of_all(), plan)


def split_mlp(by_sequence: bool) -> None:
    """Forward and backward; by sequence, the batch is split outside of the MLP too."""
    rank, size = dist.get_rank(), dist.get_world_size()
    whole = whole_mlp()
    x = batch()
    expected = whole(x)
    expected.square().sum().backward()
    with native(*(("all_gather", "reduce_scatter") if by_sequence else ("all_reduce",))):
        parts = split(copy.deepcopy(whole), by_sequence)
        for parameter in parts.parameters():
            parameter.grad = None
        mine = slice(rank * 4 // size, (rank + 1) * 4 // size) if by_sequence else slice(None)
        y = parts(x[mine])
        torch.testing.assert_close(y, expected[mine])
        y.square().sum().backward()
    for (name, part), parameter in zip(parts.named_parameters(), whole.parameters(), strict=True):
        close(part.grad.full_tensor(), parameter.grad, name)


@pytest.mark.parametrize("by_sequence", [False, True])
@pytest.mark.parametrize("size", [2, 4])
def test_parallelize_module(ranks, size, by_sequence):
    ranks(size).call(split_mlp, by_sequence)


def compiled_mlp() -> None:
    whole = whole_mlp()
    x = batch()
    expected = whole(x)
    expected.square().sum().backward()
    parts = split(copy.deepcopy(whole), False)
    for parameter in parts.parameters():
        parameter.grad = None
    step = torch.compile(parts, fullgraph=True)
    with native("all_reduce"):
        y = step(x)
        torch.testing.assert_close(y, expected)
        y.square().sum().backward()
    torch.testing.assert_close(parts.up.weight.grad.full_tensor(), whole.up.weight.grad)
    with torch.no_grad():
        for _ in range(3):
            y = step(x)
        torch.testing.assert_close(y, expected)
    same_on_all(y)


@pytest.mark.long
def test_parallelize_module_compiled(ranks):
    ranks(2).call(compiled_mlp, timeout=300)
