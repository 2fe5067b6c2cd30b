# SPDX-License-Identifier: Apache-2.0
"""DeviceMesh with its groups of ranks, and the collectives of torch.distributed.nn, which have gradients."""

import pytest
import torch
import torch.distributed as dist
from framework import backend_of, joined, native, same_on_all


def two_dimensional_mesh() -> None:
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "model"))
    rank = dist.get_rank()
    row, column = divmod(rank, 2)
    members = {"data": {column, column + 2}, "model": {2 * row, 2 * row + 1}}
    with native("all_reduce"):
        for name, expected in members.items():
            group = mesh[name].get_group()
            assert backend_of(group) == joined["backend"]
            assert set(dist.get_process_group_ranks(group)) == expected
            x = torch.full((3,), float(2**rank))
            dist.all_reduce(x, group=group)
            assert x.tolist() == [float(sum(2**r for r in expected))] * 3
    flat = mesh._flatten("all")
    x = torch.full((3,), float(2**rank))
    dist.all_reduce(x, group=flat.get_group())
    assert x.tolist() == [15.0] * 3


def test_two_dimensional_mesh(ranks):
    ranks(4).call(two_dimensional_mesh)


def groups_of_some_ranks() -> None:
    """Not all ranks are in each group, and some are in two."""
    rank = dist.get_rank()
    groups = [dist.new_group(members) for members in ([0, 1, 2], [3], [2, 3], [3, 1])]
    for members, group in zip(([0, 1, 2], [3], [2, 3], [3, 1]), groups, strict=True):
        if rank in members:
            assert backend_of(group) == joined["backend"]
            # Ranks of a group are sorted unless it was made with use_local_synchronization.
            with native("broadcast", "all_gather"):
                x = torch.tensor([rank])
                dist.broadcast(x, src=members[0], group=group)
                assert x.item() == members[0]
                every = [torch.empty(1, dtype=torch.long) for _ in members]
                dist.all_gather(every, torch.tensor([rank]), group=group)
                assert sorted(t.item() for t in every) == sorted(members)
    for members, group in zip(([0, 1, 2], [3], [2, 3], [3, 1]), groups, strict=True):
        if rank in members:
            dist.destroy_process_group(group)


def test_groups_of_some_ranks(ranks):
    ranks(4).call(groups_of_some_ranks)


def gradients_of_nn() -> None:
    import torch.distributed.nn.functional as nn

    rank, size = dist.get_rank(), dist.get_world_size()
    terms = [torch.arange(4.0) + r for r in range(size)]

    def leaf():
        return terms[rank].clone().requires_grad_()

    weight = float(rank + 1)
    weights = sum(range(1, size + 1))
    with native("all_reduce", "all_gather"):
        x = leaf()
        (weight * nn.all_reduce(x)).sum().backward()
        assert x.grad.tolist() == [float(weights)] * 4
        x = leaf()
        gathered = nn.all_gather(x)
        for got, term in zip(gathered, terms, strict=True):
            assert torch.equal(got, term)
        sum((r + 1) * part.sum() for r, part in enumerate(gathered)).backward()
        assert x.grad.tolist() == [float((rank + 1) * size)] * 4
    with native("reduce_scatter"):
        x = leaf()
        mine = nn.reduce_scatter(torch.empty(4), [x * (r + 1) for r in range(size)])
        torch.testing.assert_close(mine, (rank + 1) * sum(terms))
        (weight * mine).sum().backward()
        assert x.grad.tolist() == [float(sum((r + 1) ** 2 for r in range(size)))] * 4
    with native("all_to_all"):
        x = torch.arange(float(size)).add(10 * rank).requires_grad_()
        y = nn.all_to_all_single(torch.empty(size), x)
        assert y.tolist() == [rank + 10.0 * r for r in range(size)]
        (weight * y).sum().backward()
        assert x.grad.tolist() == [float(r + 1) for r in range(size)]
    x = leaf()
    y = nn.broadcast(x, 1)
    assert torch.equal(y, terms[1])
    (weight * y).sum().backward()
    assert x.grad.tolist() == [float(weights) if rank == 1 else 0.0] * 4
    same_on_all(y.detach())


@pytest.mark.parametrize("size", [2, 4])
def test_gradients_of_nn(ranks, size):
    ranks(size).call(gradients_of_nn)
