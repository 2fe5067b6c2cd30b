# SPDX-License-Identifier: Apache-2.0
"""Results across machines: every type and operation, tails, even and uneven machines; the same everywhere."""

import across
import pytest
import reference

KINDS = [(dtype, op) for dtype in reference.DTYPES for op in reference.OPERATIONS]
KINDS = [(dtype, op) for dtype, op in KINDS if op != "avg" or dtype in reference.FLOATS]
SHORT = [(count, dtype, op) for dtype, op in KINDS for count in (1, 33, 1001)]
# Over 16 KiB a part: in two steps, but for two machines and types that need no widening.
LONG = [(40_003, dtype, op) for dtype, op in KINDS]


def check(job, cases) -> None:
    answers = job.call(across.reduced, cases)
    for number, case in enumerate(cases):
        of_ranks = [answer[number] for answer in answers]
        assert all(right for right, _ in of_ranks), (case, of_ranks)
        assert len({digest for _, digest in of_ranks}) == 1, (case, of_ranks)


@pytest.mark.parametrize(
    "who, machines",
    [
        ([0, 1, 3, 4], [[0, 1], [2, 3]]),
        ([0, 1, 2, 3, 4], [[0, 1], [2], [3, 4]]),
        ([0, 2, 3], [[0], [1], [2]]),
        ([3, 0, 4, 1], [[0, 2], [1, 3]]),
    ],
    ids=["two of two", "two, one, two", "three of one", "ranks in turns"],
)
def test_right_and_the_same_bits_on_all_ranks(job, who, machines):
    ranks = job(who)
    assert ranks.call(across.join) == [machines] * len(who)
    local = {rank: members.index(rank) for members in machines for rank in members}
    assert ranks.call(across.local_rank) == [local[rank] for rank in range(len(who))]
    check(ranks, SHORT + LONG if who in ([0, 1, 3, 4], [0, 1, 2, 3, 4]) else LONG[::4])
    counted = ranks.call(across.stats)
    assert all(one["across"]["machines"] == len(machines) for one in counted)
    assert all(one["across"]["calls"] > 0 for one in counted)
    assert all(one["fallbacks"] == {} for one in counted), counted[0]["fallbacks"]


def test_a_tensor_of_several_pieces(job):
    """Longer than what goes at a time, which is 32 MiB."""
    ranks = job()
    ranks.call(across.join)
    check(ranks, [((32 << 20) + 77, "int8", "sum")])
