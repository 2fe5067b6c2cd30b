# SPDX-License-Identifier: Apache-2.0
"""Groups: made again and again, of parts of the ranks, with ranks that are missing, and how they end."""

import subprocess
import sys

import c10d_lifetime as calls
import c10d_signals
import pytest
from rankpool import free_port, rank_environment


@pytest.mark.parametrize("check", [calls.split, calls.missing_rank, calls.aborted, calls.mismatch, calls.refusals])
def test_groups(ranks, check):
    ranks(3).call(check)


def test_groups_in_groups_and_in_turn(ranks):
    ranks(4).call(calls.nested_groups)


def test_a_signal_handler_may_destroy_the_group_that_its_thread_waits_in(ranks):
    ranks(2).call(c10d_signals.destroyed_by_a_handler)


def test_what_a_signal_handler_raises_comes_out_and_ends_the_collective(ranks):
    ranks(2).call(c10d_signals.raised_by_a_handler)


def test_a_group_that_could_not_be_made_is_not_known_to_operators(lone_ranks):
    lone_ranks(2, {"SHMRT_DISABLE": "1", "SHMRT_ENGINE": "typo"}).call(calls.not_made)


def test_switched_off(lone_ranks):
    lone_ranks(2, {"SHMRT_DISABLE": "1"}).call(calls.switched_off)
    lone_ranks(1, {"SHMRT_DISABLE": "maybe"}).call(calls.switch_has_a_bad_value)


def test_a_child_of_fork_is_refused(ranks):
    ranks(2).call(calls.in_a_child)


def test_made_again_in_the_same_processes(lone_ranks):
    pool = lone_ranks(2)
    pool.call(calls.make_and_destroy, 3)
    pool.call(calls.threads_go)


def test_made_again_over_a_store_that_keeps_its_keys(lone_ranks, tmp_path):
    lone_ranks(2).call(calls.make_twice_over_one_store, str(tmp_path / "store"))


END = """
import sys, torch, torch.distributed as dist
dist.init_process_group("shmrt")
rank = dist.get_rank()
x = torch.ones(1000)
dist.all_reduce(x)
assert x[0].item() == dist.get_world_size()
{}
"""
ENDS = {
    "nothing destroyed": "",
    "works under way": "works = [dist.all_reduce(x, async_op=True) for _ in range(5)]",
    "works dropped": """
try:
    dist.all_reduce(x, async_op=True); dist.irecv(x, 1 - rank); dist.isend(torch.ones(1 << 20), 1 - rank)
except RuntimeError as error:  # the other one has left
    assert "rank" in str(error)
""",
    "one rank has gone": "if rank: works = [dist.all_reduce(x, async_op=True), dist.irecv(x, 0)]",
    "in another engine, where nobody comes": """
import os, time
b = torch.tensor([True])
dist.all_reduce(b)
pids = [None, None]
dist.all_gather_object(pids, os.getpid())
if rank == 0:
    work = dist.all_reduce(b, async_op=True)
    time.sleep(0.5)  # on the queue's thread
else:
    while os.path.exists(f"/proc/{pids[0]}"):
        time.sleep(0.05)
""",
    "destroyed with works under way": "w = dist.all_reduce(x, async_op=True); dist.destroy_process_group(); w.wait()",
}


@pytest.mark.parametrize("end", ENDS)
def test_the_interpreter_ends_without_hanging(end):
    port = free_port()
    command = [sys.executable, "-c", END.format(ENDS[end])]
    ranks = [
        subprocess.Popen(command, env=rank_environment(r, 2, f"exit-{port}", port), stderr=subprocess.PIPE, text=True)
        for r in range(2)
    ]
    try:
        texts = [rank.communicate(timeout=120)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], texts
