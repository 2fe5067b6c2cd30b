# SPDX-License-Identifier: Apache-2.0
"""DistributedDataParallel: the gradients and weights of one process that has the whole batch."""

import pytest
import torch
import torch.distributed as dist
from framework import close, native, same_on_all
from torch import nn

STEPS = 3


def model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))


def batch(size: int, step: int) -> torch.Tensor:
    """Four rows for each rank."""
    return torch.randn(4 * size, 6, generator=torch.Generator().manual_seed(step))


def train(module: nn.Module, inputs) -> list[torch.Tensor]:
    """The gradients of the last step; the weights move."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for x in inputs:
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()
    return [parameter.grad.clone() for parameter in module.parameters()]


def same_training(ddp: nn.Module, tolerance: float = 1e-6) -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    whole = model()
    expected = train(whole, [batch(size, step) for step in range(STEPS)])
    got = train(ddp, [batch(size, step)[4 * rank : 4 * rank + 4] for step in range(STEPS)])
    for (name, parameter), mine, gradient, other in zip(
        ddp.named_parameters(), got, expected, whole.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, gradient, atol=tolerance, rtol=1e-4)
        close(parameter.detach(), other.detach(), name) if tolerance < 1e-5 else None
        same_on_all(mine)


def wrapped(**options) -> nn.Module:
    """Other weights on the other ranks, which DDP has to replace by rank 0's."""
    module = model()
    if dist.get_rank() != 0:
        for parameter in module.parameters():
            parameter.data.add_(1)
    return nn.parallel.DistributedDataParallel(module, **options)


def several_buckets(options: dict) -> None:
    with native("all_reduce", "broadcast"):
        ddp = wrapped(**options)
        same_training(ddp)
    # The first bucket is 1 MiB or less: this model has one unless told otherwise.
    buckets = ddp.reducer._get_zeros_like_grad_buckets()
    assert len(buckets) > 1


# A bucket of 1 KiB holds less than one matrix: each gradient is reduced while the next is computed.
@pytest.mark.parametrize(
    ("size", "options"),
    [(2, {}), (4, {}), (2, {"static_graph": True}), (2, {"gradient_as_bucket_view": True})],
    ids=str,
)
def test_ddp(ranks, size, options):
    ranks(size).call(several_buckets, {"bucket_cap_mb": 0.001, **options})


def without_sync() -> None:
    """Two batches are gathered up: one all-reduce for both."""
    rank, size = dist.get_rank(), dist.get_world_size()
    ddp, whole = wrapped(), model()
    first, second = batch(size, 0), batch(size, 1)
    mine = slice(4 * rank, 4 * rank + 4)
    with ddp.no_sync():
        ddp(first[mine]).square().mean().backward()
    alone = model()
    alone(first[mine]).square().mean().backward()
    for a, b in zip(ddp.parameters(), alone.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    with native("all_reduce"):
        ddp(second[mine]).square().mean().backward()
    (whole(first).square().mean() + whole(second).square().mean()).backward()
    for (name, a), b in zip(ddp.named_parameters(), whole.parameters(), strict=True):
        close(a.grad, b.grad, name)


def test_no_sync(ranks):
    ranks(2).call(without_sync)


def hooks() -> None:
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook

    seen = []

    def own(state, bucket):
        """As in PyTorch's own documentation: asynchronous, then divided."""
        seen.append(bucket.index())
        work = dist.all_reduce(bucket.buffer(), async_op=True)
        return work.get_future().then(lambda done: done.value()[0] / dist.get_world_size())

    for hook, tolerance in (
        (default_hooks.allreduce_hook, 1e-6),
        (own, 1e-6),
        (default_hooks.fp16_compress_hook, 1e-2),
    ):
        ddp = wrapped(bucket_cap_mb=0.001)
        ddp.register_comm_hook(None, hook)
        with native("all_reduce"):
            same_training(ddp, tolerance)
    assert len(set(seen)) > 1
    ddp = wrapped()
    state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=1, start_powerSGD_iter=2)
    ddp.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    for x in range(4):
        ddp(batch(1, x)).square().mean().backward()
    same_on_all(torch.cat([p.grad.flatten() for p in ddp.parameters()]))


def test_comm_hooks(ranks):
    ranks(2).call(hooks)


def uneven_batches() -> None:
    """Rank 0 has one batch more: Join shadows the collectives of those who are done."""
    from torch.distributed.algorithms.join import Join

    rank = dist.get_rank()
    ddp = wrapped()
    with Join([ddp]):
        for step in range(3 if rank == 0 else 2):
            ddp(batch(1, step)).sum().backward()
    same_on_all(torch.cat([p.detach().flatten() for p in ddp.parameters()]))


def test_uneven_batches(ranks):
    ranks(2).call(uneven_batches)


def synchronised_statistics() -> None:
    """Buffers are broadcast; a gradient that some rank does not use is found out."""
    rank = dist.get_rank()

    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.norm = nn.BatchNorm1d(4)
            self.left, self.right = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x, left):
            return (self.left if left else self.right)(self.norm(x))

    ddp = nn.parallel.DistributedDataParallel(Choosing(), find_unused_parameters=True)
    for step in range(2):
        ddp(torch.randn(8, 4) + rank, left=rank == 0 or step == 0).sum().backward()
    ddp(torch.randn(8, 4), left=True)
    same_on_all(ddp.module.left.weight.grad)
    same_on_all(ddp.module.right.weight.grad)


def test_unused_parameters(ranks):
    ranks(2).call(synchronised_statistics)
