# SPDX-License-Identifier: Apache-2.0
"""Sends and receives: values, tags, any source, many at once, and what goes wrong."""

import c10d_messages as calls
import pytest


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
