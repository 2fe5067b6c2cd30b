# SPDX-License-Identifier: Apache-2.0
"""Every collective of torch.distributed, synchronous and not, against what each rank works out for itself."""

import c10d_collectives as calls
import pytest


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    "check",
    [
        calls.check_all_reduce,
        calls.check_reduce,
        calls.check_reduce_scatter,
        calls.check_broadcast,
        calls.check_all_gather,
        calls.check_gather_and_scatter,
        calls.check_all_to_all,
        calls.check_coalesced,
    ],
)
def test_collective(ranks, check, is_async, size):
    ranks(size).call(check, is_async)


@pytest.mark.parametrize("check", [calls.check_in_place, calls.check_objects])
def test_further(ranks, check):
    ranks(3).call(check)


def test_what_is_not_reduced_here_goes_to_gloo_and_is_counted(ranks):
    for before, after in ranks(3).call(calls.check_fallbacks):
        new = {reason: n - before.get(reason, 0) for reason, n in after.items()}
        assert sorted(n for n in new.values() if n) == [1, 1, 2], new
