# SPDX-License-Identifier: Apache-2.0
"""Groups of the backend "shmrt" over machines: their timeouts, and how they are left."""

import errno
from datetime import timedelta

import across
import pytest
import torch
import torch.distributed as dist

DEADLINE = 60  # seconds, of calls whose own limit is shorter, and far from the group's 30 minutes
LIMIT = timedelta(seconds=2)


def barrier() -> None:
    dist.group.WORLD.barrier(timeout=LIMIT).wait()


def option() -> None:
    options = dist.AllreduceOptions()
    options.timeout = LIMIT
    dist.group.WORLD.allreduce([torch.ones(5)], options).wait()


def set_default() -> None:
    dist.group.WORLD._get_backend(torch.device("cpu"))._set_default_timeout(LIMIT)


def default() -> None:
    set_default()
    dist.all_reduce(torch.ones(5))


def operator() -> None:
    import shmrt

    set_default()
    shmrt.all_reduce(torch.ones(5), group=dist.group.WORLD)


def late(kind: str):
    """(errno, text) of a call that rank 3 does not come to; all of them have come to one before."""
    dist.barrier()
    if dist.get_rank() == 3:
        return None
    try:
        globals()[kind]()
    except (RuntimeError, OSError) as error:
        return getattr(error, "code", None), str(error)
    raise AssertionError("a call that rank 3 did not come to has returned")


@pytest.mark.parametrize("kind", ["barrier", "option", "default", "operator"])
def test_a_timeout_rules_the_wait_for_another_machine(job, kind):
    ranks = job()
    ranks.call(across.start, "shmrt")
    answers = ranks.call(late, kind, timeout=DEADLINE)
    ranks.call(across.end)
    assert answers[3] is None
    for code, text in answers[:3]:
        assert code in (errno.ETIMEDOUT, errno.ECONNABORTED, None), text
    # Who waits for the network has the first word, and says what it waited for.
    assert "machine 1 (machine2: ranks 2, 3) took more than 2.0 s" in answers[0][1], answers


def used_and_left(rounds: int) -> list[float]:
    """The sums of the last all-reduces of groups that every rank leaves as soon as it has its own."""
    found = []
    for _ in range(rounds):
        group = dist.new_group(backend="shmrt")
        tensor = torch.ones(100_000)
        dist.all_reduce(tensor, group=group)
        dist.destroy_process_group(group)
        found.append(tensor[-1].item())
    return found


def left_by(leaver: int) -> list[float]:
    """Sums in two groups, of which `leaver` leaves one before the others have used the other."""
    stays, ends = dist.new_group(backend="shmrt"), dist.new_group(backend="shmrt")
    found = []
    for group in (stays, ends, stays, stays):
        tensor = torch.ones(30_000)
        dist.all_reduce(tensor, group=group)
        found.append(tensor[0].item())
        if group is ends and dist.get_rank() == leaver:
            dist.destroy_process_group(ends)
    if dist.get_rank() != leaver:
        dist.destroy_process_group(ends)
    dist.destroy_process_group(stays)
    return found


def test_a_group_is_left_straight_after_its_last_collective(gloo):
    assert gloo.call(used_and_left, 10, timeout=120) == [[4.0] * 10] * 4


@pytest.mark.parametrize("leaver", [0, 3])
def test_leaving_a_group_does_not_disturb_others(gloo, leaver):
    assert gloo.call(left_by, leaver, timeout=120) == [[4.0] * 4] * 4
