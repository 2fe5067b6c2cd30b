# SPDX-License-Identifier: Apache-2.0
"""What ranks tell of themselves while they run: the trace file, the log, skew by rank."""

import json
import logging
import os
import signal
import time
from pathlib import Path

import pytest
import shmrt
import torch
from rankpool import Ranks, free_port
from shmrt._logging import log_as_environment_says

SIZE = 2


class Traced:
    """Two ranks that write a trace and log each call; they have read so when they met."""

    def __init__(self, folder: Path) -> None:
        self.pattern = str(folder / "trace.json")
        self.pool = Ranks(SIZE, {"SHMRT_TRACE": self.pattern, "SHMRT_LOG": "debug"})
        self.pool.call(shmrt.init)
        self.first_words = [self.pool.output(rank) for rank in range(SIZE)]

    def path(self, rank: int) -> Path:
        return Path(self.pattern.replace(".json", f".rank{rank}.json"))

    def mark(self) -> list[int]:
        return [len(json.loads(self.path(rank).read_text())) for rank in range(SIZE)]

    def since(self, mark: list[int]) -> list[list[dict]]:
        """Events of each rank, written since then; ask while no rank writes, since reading takes several steps."""
        return [json.loads(self.path(rank).read_text())[mark[rank] :] for rank in range(SIZE)]


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    ranks = Traced(tmp_path_factory.mktemp("trace"))
    yield ranks
    ranks.pool.close()


def reduce_in_three_ways() -> None:
    shmrt.all_reduce(torch.ones(64))
    shmrt.all_reduce(torch.ones(100_000, dtype=torch.bfloat16), op="max")
    shmrt.all_reduce(torch.ones(8, 6).t())
    shmrt.barrier()
    shmrt.stats()


def test_each_collective_is_an_event(traced):
    mark = traced.mark()
    traced.pool.call(reduce_in_three_ways)
    for rank, events in enumerate(traced.since(mark)):
        spans = [event for event in events if event["ph"] == "X"]
        assert [span["name"] for span in spans] == ["all-reduce"] * 3 + ["barrier"]
        assert all(span["pid"] == rank and span["dur"] > 0 and span["tid"] > 0 for span in spans)
        assert [span["ts"] for span in spans] == sorted(span["ts"] for span in spans)
        small, large, strided, barrier = (span["args"] for span in spans)
        told = {"caller": "shmrt::all_reduce_", "group": "default", "bytes": 256, "dtype": "float32", "op": "sum"}
        assert small | told == small and small["way"] == "one-shot"
        assert large["bytes"] == 200_000 and large["dtype"] == "bfloat16" and large["op"] == "max"
        assert large["way"] in ("one pass", "two-shot")
        assert 0 <= sum(large["late_us"].values()) <= large["waited_us"] + 0.01
        assert strided["bytes"] == 192 and barrier["caller"] == "shmrt.barrier()"
        assert "dtype" not in barrier and "op" not in barrier
        moments = [event["name"] for event in events if event["ph"] == "i"]
        assert moments == ["fallback: not contiguous: reduced through a contiguous copy"]


def test_file_says_whose_it_is(traced):
    for rank in range(SIZE):
        names = [event for event in json.loads(traced.path(rank).read_text()) if event["ph"] == "M"]
        assert names[0]["name"] == "process_name" and names[0]["pid"] == rank
        assert names[0]["args"]["name"].startswith(f"rank {rank} (pid {traced.pool.workers[rank].process.pid} on ")


def wait_for_rank_1() -> list[float]:
    """Rank 1 comes late each time."""
    before = shmrt.stats()["late_by_rank"]
    for _ in range(3):
        if shmrt.rank() == 1:
            time.sleep(0.1)
        shmrt.barrier()
    return [now - then for now, then in zip(shmrt.stats()["late_by_rank"], before, strict=True)]


def test_clock_is_one_for_all_ranks_and_late_ones_are_named(traced):
    mark = traced.mark()
    late = traced.pool.call(wait_for_rank_1)
    spans = traced.since(mark)
    for one, other in zip(*spans, strict=True):
        # Nobody leaves a barrier before everyone is in it.
        assert one["ts"] + one["dur"] >= other["ts"] and other["ts"] + other["dur"] >= one["ts"]
    waited = [span["args"]["late_us"].get("1", 0) for span in spans[0]]
    assert all(us > 0 for us in waited)
    assert late[0][1] == pytest.approx(sum(waited) * 1e-6, rel=0.01)
    assert late[0][0] == 0 and late[1][1] == 0 and late[0][1] > late[1][0]


def trace_in_a_child() -> str:
    child = os.fork()
    if child == 0:
        shmrt.init(0, 1, job=f"child-{os.getpid()}", settings={"lanes": 1})
        shmrt.all_reduce(torch.ones(3))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return str(child)


def test_forked_child_has_a_file_of_its_own(traced):
    mark = traced.mark()
    (child,) = traced.pool.call(trace_in_a_child, only=[1])
    events = json.loads(traced.path(1).with_suffix(f".pid{child}.json").read_text())
    assert [event["args"]["bytes"] for event in events if event["ph"] == "X"] == [12]
    assert traced.since(mark)[1] == []


def test_log_has_a_line_for_each_call(traced):
    traced.pool.call(reduce_in_three_ways)
    for rank in range(SIZE):
        assert f"shmrt rank {rank} INFO: rank {rank} of 2 in group default: " in traced.first_words[rank]
        lines = traced.pool.output(rank).splitlines()
        words = "DEBUG: all-reduce of 256 bytes (sum of float32) by shmrt::all_reduce_ in group default: one-shot, "
        told = [line for line in lines if words in line]
        assert told and "us of it waiting" in told[-1]
        assert any("DEBUG: barrier by shmrt.barrier()" in line for line in lines)


def test_quiet_by_default(ranks):
    pool = ranks(SIZE)
    pool.call(reduce_in_three_ways)
    assert "one-shot" not in pool.output(0) and "in group default" not in pool.output(0)


def test_log_level_that_is_none(caplog):
    logger = logging.getLogger("shmrt")
    before = logger.level, logger.handlers[:]
    try:
        log_as_environment_says({})
        assert (logger.level, logger.handlers) == before
        log_as_environment_says({"SHMRT_LOG": "loud"})
        assert "SHMRT_LOG=loud is not one of error, warning, info, debug" in caplog.text
        log_as_environment_says({"SHMRT_LOG": "error"})
        assert not logger.isEnabledFor(logging.WARNING)
    finally:
        logger.setLevel(before[0])
        logger.handlers[:] = before[1]


def use_a_process_group(port: int) -> tuple[list[str], dict]:
    from torch import distributed
    from torch.profiler import profile

    rank = int(os.environ["RANK"])
    distributed.init_process_group("shmrt", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=SIZE)
    x = torch.ones(100)
    with profile() as profiled:
        distributed.all_reduce(x)
        distributed.all_reduce(x, async_op=True).wait()
        distributed.broadcast(x, 0)
        distributed.all_reduce(torch.ones(3, dtype=torch.int32), op=distributed.ReduceOp.BOR)
    (group,) = shmrt.stats()["groups"].values()
    distributed.destroy_process_group()
    return [event.name for event in profiled.events() if event.name.startswith("shmrt:")], group


def test_process_group_is_in_profile_trace_and_stats(traced):
    mark = traced.mark()
    outcomes = traced.pool.call(use_a_process_group, free_port())
    for (names, group), events in zip(outcomes, traced.since(mark), strict=True):
        assert sorted(names) == ["shmrt:all_reduce"] * 3 + ["shmrt:broadcast"]
        assert all(event["args"]["group"] != "default" for event in events)
        spans = [event for event in events if event["ph"] == "X"]
        assert group["calls"] == len(spans) and len(group["late_by_rank"]) == SIZE
        own = [span["name"] for span in spans if span["args"]["caller"] != "init_process_group"]
        assert own == ["all-reduce", "all-reduce", "broadcast"]
        assert events[-1]["ph"] == "i" and events[-1]["name"].startswith("fallback: ")


def sum_until_it_fails() -> str:
    with pytest.raises(shmrt.Error) as caught:
        while True:
            shmrt.all_reduce(torch.ones(4))
    return str(caught.value)


def test_killed_rank_leaves_a_whole_file_and_the_other_tells(traced):
    """The last test of these ranks."""
    mark = traced.mark()
    traced.pool.start(sum_until_it_fails)
    deadline = time.monotonic() + 60
    while traced.path(1).read_text().count("\n") < mark[1] + 150 and time.monotonic() < deadline:
        time.sleep(0.01)
    traced.pool.workers[1].process.send_signal(signal.SIGKILL)
    ((ok, reason),) = traced.pool.collect(only=[0])
    assert ok, reason
    killed = traced.since(mark)[1]
    assert len(killed) >= 100 and all(event["name"] == "all-reduce" for event in killed)
    last = traced.since(mark)[0][-1]
    assert last["ph"] == "i" and last["name"] == f"error: shmrt::all_reduce_: {reason}"
    assert f"failed in group default: {reason}" in traced.pool.output(0)
