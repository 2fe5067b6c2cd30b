# SPDX-License-Identifier: Apache-2.0
"""Python objects from rank to rank, and checkpoints of torch.distributed.checkpoint."""

import pytest
import torch
import torch.distributed as dist
from framework import native
from torch import nn


def thing(rank: int) -> dict:
    """Of another length on each rank."""
    return {"rank": rank, "words": ["word"] * (100 * rank), "tensor": torch.arange(rank + 1)}


def same(a: dict, b: dict) -> bool:
    return a["rank"] == b["rank"] and a["words"] == b["words"] and torch.equal(a["tensor"], b["tensor"])


def objects() -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    things = [thing(r) for r in range(size)]
    with native("all_gather"):
        got = [None] * size
        dist.all_gather_object(got, thing(rank))
        assert all(same(a, b) for a, b in zip(got, things, strict=True))
    last = size - 1
    with native("gather"):
        got = [None] * size if rank == last else None
        dist.gather_object(thing(rank), got, dst=last)
        assert rank != last or all(same(a, b) for a, b in zip(got, things, strict=True))
    with native("scatter"):
        got = [None]
        dist.scatter_object_list(got, things if rank == 0 else [None] * size, src=0)
        assert same(got[0], thing(rank))
    with native("broadcast"):
        got = things[1:] if rank == last else [None] * last
        dist.broadcast_object_list(got, src=last)
        assert all(same(a, b) for a, b in zip(got, things[1:], strict=True))
    if rank == 0:
        with native("send"):
            dist.send_object_list(things, dst=1)
    elif rank == 1:
        with native("recv"):
            got = [None] * size
            dist.recv_object_list(got, src=0)
            assert all(same(a, b) for a, b in zip(got, things, strict=True))


@pytest.mark.parametrize("size", [2, 4])
def test_objects(ranks, size):
    ranks(size).call(objects)


def model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 5))


def shard(module: nn.Module) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    return fully_shard(module, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))


def state_of(module: nn.Module, optimizer) -> dict:
    from torch.distributed.checkpoint.state_dict import get_state_dict

    weights, moments = get_state_dict(module, optimizer)
    return {"model": weights, "optimizer": moments}


def save(folder: str) -> None:
    import torch.distributed.checkpoint as dcp

    module = shard(model(1))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    with native():
        dcp.save(state_of(module, optimizer), checkpoint_id=f"{folder}/now")
        dcp.async_save({"model": module.state_dict()}, checkpoint_id=f"{folder}/later").result()


def load(folder: str) -> None:
    """On another number of ranks than saved it: each reads the pieces that it needs."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import set_state_dict

    whole = model(1)
    optimizer = torch.optim.AdamW(whole.parameters())
    whole(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    module = shard(model(2))
    moments = torch.optim.AdamW(module.parameters())
    with native():
        state = state_of(module, moments)
        dcp.load(state, checkpoint_id=f"{folder}/now")
        set_state_dict(module, moments, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    for a, b in zip(module.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a.full_tensor(), b.detach())
        torch.testing.assert_close(moments.state[a]["exp_avg"].full_tensor(), optimizer.state[b]["exp_avg"])
    other = shard(model(3))
    weights = other.state_dict()
    dcp.load({"model": weights}, checkpoint_id=f"{folder}/later")
    other.load_state_dict(weights)
    for a, b in zip(other.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a.full_tensor(), b.detach())


def test_checkpoint(ranks, tmp_path):
    ranks(4).call(save, str(tmp_path))
    ranks(2).call(load, str(tmp_path))
    ranks(4).call(load, str(tmp_path))
