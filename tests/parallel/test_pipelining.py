# SPDX-License-Identifier: Apache-2.0
"""torch.distributed.pipelining: activations and gradients from rank to rank, by send and receive."""

import pytest
import torch
import torch.distributed as dist
from framework import close, native
from torch import nn

MICROBATCHES = 4
WIDTH = 6


def layers(count: int) -> nn.ModuleList:
    torch.manual_seed(6)
    return nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(count))


def loss(y, target):
    return (y - target).square().mean()


def run(schedule_name: str, stages_each: int) -> None:
    from torch.distributed import pipelining

    rank, size = dist.get_rank(), dist.get_world_size()
    count = stages_each * size
    random = torch.Generator().manual_seed(9)
    x, target = (torch.randn(4 * MICROBATCHES, WIDTH, generator=random) for _ in range(2))
    whole = layers(count)
    y = x
    for layer in whole:
        y = layer(y)
    loss(y, target).backward()

    mine = list(range(rank, count, size))
    parts = layers(count)
    stages = [pipelining.PipelineStage(parts[n], n, count, torch.device("cpu")) for n in mine]
    schedule_type = getattr(pipelining, schedule_name)
    schedule = schedule_type(stages[0] if stages_each == 1 else stages, MICROBATCHES, loss_fn=loss)
    losses: list[torch.Tensor] = []
    moved = ("send",) if rank == 0 else ("recv",)
    with native(*moved):
        if rank == 0:
            schedule.step(x)
        elif rank == size - 1:
            output = schedule.step(target=target, losses=losses)
            close(output, y, "output")
            close(torch.stack(losses).mean(), loss(y, target), "loss")
        else:
            schedule.step()
    for n in mine:
        for (name, part), parameter in zip(parts[n].named_parameters(), whole[n].parameters(), strict=True):
            close(part.grad, parameter.grad, f"stage {n} {name}")


@pytest.mark.parametrize(
    ("schedule", "stages_each"), [("ScheduleGPipe", 1), ("Schedule1F1B", 1), ("ScheduleInterleaved1F1B", 2)]
)
def test_pipeline(ranks, schedule, stages_each):
    ranks(2).call(run, schedule, stages_each)


def test_pipeline_of_four(ranks):
    ranks(4).call(run, "Schedule1F1B", 1)
