# SPDX-License-Identifier: Apache-2.0
"""Other libraries in a run: they take part, or are skipped with the reason; and nothing is left."""

import os
import signal
import time
from pathlib import Path

import pytest
from benching import eventually, rows


def peer(program: Path, mode: str, ranks: int = 2) -> list[str]:
    return ["--peer", f"fake:{program} {ranks} {mode}", "--peer-timeout", "3"]


def reason(report: dict) -> str:
    (one,) = report["peers"]
    assert rows(report, "shmrt"), "ours is measured all the same"
    assert f"fake skipped: {one['skipped']}" in report["stderr"]
    return one["skipped"]


def test_a_peer_takes_part(bench, fake_peer):
    report = bench.report("allreduce", "--sizes", "64:4K:8", *peer(fake_peer, "honest"))
    assert [row["bytes"] for row in rows(report, "fake")] == [64, 512, 4096]
    assert all(row["kind"] == "peer" and row["median_us"] > 0 for row in rows(report, "fake"))
    (one,) = report["peers"]
    assert one["skipped"] is None and one["setting"] == 'fake 1.0, "quoted"'
    for ratio in report["ratios"]:
        assert ratio["best_peer_name"] == "fake" and ratio["best_peer"] > 0


@pytest.mark.parametrize("buffers", ["cold", "rewritten"])
def test_a_peers_buffers_are_treated_as_ours(bench, fake_peer, buffers):
    report = bench.report("allreduce", "--sizes", "1K", "--buffers", buffers, *peer(fake_peer, "honest"))
    assert rows(report, "fake")


def test_several_peers_take_turns(bench, fake_peer):
    more = ["--peer", f"other:{fake_peer} 2 honest"]
    report = bench.report("allreduce", "--sizes", "64", *peer(fake_peer, "honest"), *more)
    assert rows(report, "fake") and rows(report, "other")


def test_a_wrong_peer_is_found_out(bench, fake_peer):
    report = bench.report("allreduce", "--sizes", "64", *peer(fake_peer, "lies"))
    assert not rows(report, "fake")
    assert "rank 1 in verification at 64 bytes: element 15 of its output is wrong" in reason(report)


def test_a_peer_without_the_collective_is_skipped(bench, fake_peer):
    report = bench.report("broadcast", "--sizes", "64", *peer(fake_peer, "honest"))
    assert "not supported" in reason(report)


def test_a_peer_that_dies_is_skipped_with_its_last_words(bench, fake_peer):
    report = bench.report("allreduce", "--sizes", "64:512:8", *peer(fake_peer, "dies"))
    assert "exited with status 7 while it ran 64 bytes: fake: out of luck" in reason(report)


def test_a_peer_that_fails_to_start_is_skipped(bench, fake_peer):
    report = bench.report("allreduce", "--sizes", "64", *peer(fake_peer, "early"))
    assert "exited with status 5 before it was ready: fake: no such fabric" in reason(report)


def test_a_peer_that_is_not_there_is_skipped(bench):
    report = bench.report("allreduce", "--sizes", "64", "--peer", "fake:/nowhere/mpirun -n 2 x")
    assert "exited with status 127 before it was ready" in reason(report)


@pytest.mark.parametrize(("mode", "when"), [("hangs", "while it ran"), ("mute", "before it was ready")])
def test_a_peer_that_hangs_is_skipped(bench, fake_peer, mode, when):
    report = bench.report("allreduce", "--sizes", "64", *peer(fake_peer, mode))
    assert "did not answer within 3 s" in reason(report) and when in reason(report)


def start_long_run(bench, fake_peer, mode):
    """A run that is in the middle of measuring, with all of the peer's processes alive."""
    process = bench.start("allreduce", "--sizes", "64:1M:2", "--seconds", "5", *peer(fake_peer, mode))
    eventually(lambda: sum("fake_peer" in line for line in bench.relatives().values()) >= 3, "the peer starts")
    time.sleep(0.3)
    assert process.poll() is None
    return process


@pytest.mark.parametrize("mode", ["honest", "stubborn"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(bench, fake_peer, mode, number):
    process = start_long_run(bench, fake_peer, mode)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: ranks get it too
    else:
        process.send_signal(number)
    assert process.wait(30) == -number
    eventually(lambda: not bench.relatives(), "all processes end", 30)


def test_the_death_of_a_rank_ends_the_run(bench):
    process = bench.start("allreduce", "--sizes", "64:1M:2", "--seconds", "5")
    ranks = eventually(lambda: [pid for pid in bench.relatives() if pid != process.pid], "ranks start")
    os.kill(ranks[-1], signal.SIGKILL)
    assert process.wait(30) not in (0, None)
    eventually(lambda: not bench.relatives(), "all processes end", 30)
