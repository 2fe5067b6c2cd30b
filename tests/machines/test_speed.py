# SPDX-License-Identifier: Apache-2.0
"""Between machines of a limited rate: fewer bytes than a flat all-reduce, and less time."""

import statistics

import across
import pytest

COUNT = 1 << 19  # fp32: 2 MiB
MBIT = 20  # slow enough that the machines' CPUs don't count, even with other tests on them
HEADERS = 1.15  # of Ethernet, IP and TCP, and acknowledgements


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.long)])
def test_fewer_bytes_and_less_time_than_flat_gloo(job, cast, dtype):
    ranks = job()
    ranks.call(across.join)
    ranks.call(across.join_gloo)
    counted = ranks.call(across.stats)[0]["across"]["bytes"]
    cast.cluster.limit(MBIT)
    try:
        seconds, sent = across.in_turns(ranks, cast.cluster, COUNT, dtype, 2)
    finally:
        cast.cluster.limit(None)
        ranks.call(across.leave_gloo)
    size = COUNT * (4 if dtype == "float32" else 2)
    print(f"{dtype}: {seconds}, sent {sent}, {size} bytes a tensor")
    # Two machines, with a part for each of two ranks: S from each machine; flat 1.5 S, in the best of orders.
    share = 1 if dtype == "float32" else 1.5
    assert share * size <= sent["shmrt"][0] <= share * size * HEADERS
    assert sent["gloo"][0] >= 1.5 * size
    each = (ranks.call(across.stats)[0]["across"]["bytes"] - counted) / 4
    assert share * size / 2 <= each <= share * size / 2 * 1.01
    if dtype == "float32":  # 16 bits are as many bytes here as flat, with two ranks each
        ratio = statistics.median(g / s for g, s in zip(seconds["gloo"], seconds["shmrt"], strict=True))
        assert ratio > 1, seconds
