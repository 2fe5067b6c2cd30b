# SPDX-License-Identifier: Apache-2.0
"""FSDP2 (fully_shard) on the CPU: steps of training equal to those of one process with the whole batch."""

import pytest
import torch
import torch.distributed as dist
from framework import backend_of, close, joined, native
from torch import nn

STEPS = 2


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 20), nn.Linear(20, 8)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


def model() -> nn.Sequential:
    torch.manual_seed(4)
    # 3 outputs do not divide by 2 or 4: the shards are padded.
    return nn.Sequential(Block(), Block(), nn.Linear(8, 3))


def batch(size: int, step: int) -> torch.Tensor:
    return torch.randn(2 * size, 8, generator=torch.Generator().manual_seed(step))


def sharded(mesh, **options) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    module = model()
    for block in list(module)[:2]:
        fully_shard(block, mesh=mesh, **options)
    return fully_shard(module, mesh=mesh, **options)


def mesh_of(shape: tuple[int, ...]):
    from torch.distributed.device_mesh import init_device_mesh

    names = ("shard",) if len(shape) == 1 else ("replicate", "shard")
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
    for name in names:
        assert backend_of(mesh[name].get_group()) == joined["backend"]
    return mesh


def train(shape: tuple[int, ...]) -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    whole, parts = model(), sharded(mesh_of(shape))
    expected = torch.optim.AdamW(whole.parameters(), lr=0.05)
    optimizer = torch.optim.AdamW(parts.parameters(), lr=0.05)
    for step in range(STEPS):
        x = batch(size, step)
        expected.zero_grad()
        whole(x).square().mean().backward()
        expected.step()
        optimizer.zero_grad()
        # In two dimensions there is an all-reduce over the replicas too.
        with native("all_gather", "reduce_scatter", *(("all_reduce",) if len(shape) == 2 else ())):
            parts(x[2 * rank : 2 * rank + 2]).square().mean().backward()
        for (name, a), b in zip(parts.named_parameters(), whole.parameters(), strict=True):
            close(a.grad.full_tensor(), b.grad, f"gradient of {name}, step {step}")
        optimizer.step()
    for (name, a), b in zip(parts.named_parameters(), whole.parameters(), strict=True):
        assert a.to_local().numel() < b.numel()
        close(a.full_tensor(), b.detach(), name)


@pytest.mark.parametrize("shape", [(2,), (4,), (2, 2)], ids=str)
def test_fully_shard(ranks, shape):
    size = 2 if shape == (2,) else 4
    ranks(size).call(train, shape)


def mixed_precision() -> None:
    """Gathered and reduced in bf16, kept in fp32."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    rank, size = dist.get_rank(), dist.get_world_size()
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.bfloat16)
    whole, parts = model(), sharded(mesh_of((size,)), mp_policy=policy)
    x = batch(size, 0)
    whole(x).square().mean().backward()
    with native("all_gather", "reduce_scatter"):
        y = parts(x[2 * rank : 2 * rank + 2])
        assert y.dtype == torch.bfloat16
        y.float().square().mean().backward()
    for a, b in zip(parts.parameters(), whole.parameters(), strict=True):
        assert a.dtype == a.grad.dtype == torch.float32
        torch.testing.assert_close(a.grad.full_tensor(), b.grad, atol=0.03, rtol=0.1)


def test_mixed_precision(ranks):
    ranks(2).call(mixed_precision)
