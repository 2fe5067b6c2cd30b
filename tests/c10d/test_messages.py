# SPDX-License-Identifier: Apache-2.0
"""Sends and receives: values, tags, any source, many at once, and what goes wrong."""

import re
import time

import c10d_messages as calls
import pytest
from c10d_group import join


@pytest.mark.parametrize(
    "check",
    [
        calls.check_values,
        calls.check_all_at_once,
        calls.check_tags,
        calls.check_any_source,
        calls.check_progress_without_waiting,
        calls.check_refusals,
        calls.check_receive_timeout,
    ],
)
def test_messages(ranks, check):
    ranks(3).call(check)


def test_what_was_sent_is_received_after_the_sender_has_left(ranks):
    ranks(2).call(calls.send_and_leave)


def test_who_has_left_is_missed_only_by_who_waits_for_it(ranks):
    ranks(3).call(calls.one_leaves_and_others_go_on)
    ranks(3).call(calls.one_leaves_beside_a_slow_one)


def test_a_message_that_stops_halfway_ends_at_the_receives_timeout(ranks):
    ranks(2).call(calls.sender_stops_halfway)


def test_a_signal_during_a_send(ranks):
    ranks(2).call(calls.signal_during_a_send)


def test_each_message_of_a_rank_that_dies_says_how_long_it_waited(lone_ranks, tmp_path):
    pool, begun = lone_ranks(2), tmp_path / "begun"
    pool.call(join)
    pool.start(calls.messages_of_a_rank_that_dies, begun, only=[0])
    until = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < until:
        time.sleep(0.01)
    pool.workers[1].kill()
    ((ok, texts),) = pool.collect(timeout=60, only=[0])
    assert ok, texts
    parts = ["recv (12 bytes, tag 4)", "recv (20 bytes, tag 6)", "send (4194304 bytes, tag 0)", ""]
    death = re.compile(r"rank 1 \(pid \d+\) died; rank 0 was in (.*), waiting (\S+) s for (any rank|rank 1)")
    for text, part, peer in zip(texts, parts, ["rank 1", "any rank", "rank 1", ""], strict=True):
        found = death.fullmatch(text)
        assert found and part in found[1] and peer in found[3] and float(found[2]) > 0, texts
