# SPDX-License-Identifier: Apache-2.0
"""Works: in order, on whichever thread, waited for or not, and with futures."""

import c10d_async as calls
import pytest


@pytest.mark.parametrize(
    "check",
    [
        calls.check_futures,
        calls.check_callbacks_may_communicate,
        calls.check_order,
        calls.check_unwaited,
        calls.check_many,
        calls.check_two_threads,
        calls.check_wait_with_a_timeout,
        calls.check_operators_come_in_turn,
        calls.check_operators_have_the_groups_timeout,
    ],
)
def test_works(ranks, check):
    ranks(3).call(check)


def test_the_thread_for_works_is_the_only_one_and_opens_no_openmp_region(ranks):
    for before, between, after in ranks(2).call(calls.count_threads):
        assert between == before
        assert after <= before + 1
