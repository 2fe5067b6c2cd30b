# SPDX-License-Identifier: Apache-2.0
"""Shared memory switched off: by all ranks or by some, all reduce without it together, and are told who."""

import errno
import signal
import time

import across
import pytest
import reference
import torch

HERE = [0, 1]  # two ranks of one machine


def sums(op="sum") -> list[float]:
    import shmrt

    return shmrt.all_reduce(reference.term(shmrt.rank(), (7,), "int16"), op).tolist()


def normed() -> list[list[float]]:
    import shmrt

    term = torch.arange(1.0, 9.0).reshape(2, 4) + shmrt.rank()
    out, residual = torch.ops.shmrt.all_reduce_add_rms_norm(term, torch.zeros(2, 4), torch.ones(4), 1e-6)
    return [out.flatten().tolist(), residual.flatten().tolist()]


@pytest.mark.parametrize("variable", ["SHMRT_DISABLE", "DS_SHM_COMM_ALL_REDUCE_OFF"])
@pytest.mark.parametrize("who", [HERE, [0, 1, 3, 4]], ids=["one machine", "two machines"])
def test_one_rank_has_it_off_and_all_fall_back(job, who, variable):
    ranks = job(who, {variable: [None, "1", None, None][: len(who)]})
    ranks.call(across.join)
    assert ranks.call(sums) == [reference.expected(len(who), (7,), "int16").tolist()] * len(who)
    added = [len(who) * value + sum(range(len(who))) for value in range(1, 9)]
    norms = ranks.call(normed)
    assert norms == [norms[0]] * len(who) and norms[0][1] == added
    told = f"shared memory is off: {variable}=1 on rank 1"
    for one in ranks.call(across.stats):
        assert one["fallbacks"] == {told: 2}
        assert one["across"]["calls"] == 0
    assert [ranks.output(rank).count(told) for rank in range(len(who))] == [1] + [0] * (len(who) - 1)


def test_init_of_one_rank_says_no(job):
    ranks = job(HERE)
    ranks.start(across.join, only=[0])
    ranks.call(join_without, only=[1])
    ranks.collect(only=[0])
    assert ranks.call(across.sum_of_ones) == [2, 2]
    assert list(ranks.call(across.stats)[0]["fallbacks"]) == ["shared memory is off: use_shm=False in init() on rank 1"]


def join_without() -> None:
    across.join(use_shm=False)


def test_all_ranks_have_it_off(job):
    ranks = job(HERE, {"SHMRT_DISABLE": "1"})
    ranks.call(across.join)
    assert ranks.call(across.sum_of_ones) == [2, 2]
    assert list(ranks.call(across.stats)[1]["fallbacks"]) == ["shared memory is off: SHMRT_DISABLE=1 on all ranks"]


def test_the_engine_has_to_be_one_that_this_torch_has(job):
    ranks = job([0, 3], {"SHMRT_ENGINE": "mpi"})
    for ok, text in ranks.outcomes(across.join):
        assert not ok and "SHMRT_ENGINE=mpi" in text and "has gloo" in text


def test_where_all_fall_back_a_death_reaches_all(job):
    """By connections that close, of ranks that wait for those that have closed theirs."""
    ranks = job(env={"SHMRT_DISABLE": "1", "GLOO_SOCKET_IFNAME": "cable"})
    ranks.call(across.join)
    ranks.call(across.sum_of_ones)
    ranks.start(across.failing_reduction)
    ranks.workers[1].process.kill()
    for _, answer in ranks.collect(timeout=60, only=[0, 2, 3]):
        assert answer is not None and answer[0] == errno.ECONNABORTED, answer


def stats_in_a_handler() -> list[int]:
    """What a handler sees while this thread waits for rank 1."""
    import shmrt

    found = []
    signal.signal(signal.SIGALRM, lambda *_: found.append(shmrt.stats()["across"]["machines"]))
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    shmrt.all_reduce(torch.ones(3))
    return found


def all_reduce_late() -> None:
    import shmrt

    time.sleep(3)
    shmrt.all_reduce(torch.ones(3))


def test_statistics_in_a_signal_handler(job):
    ranks = job([0, 3])
    ranks.call(across.join)
    ranks.start(stats_in_a_handler, only=[0])
    ranks.call(all_reduce_late, only=[1])
    [(ok, found)] = ranks.collect(timeout=60, only=[0])
    assert ok and found == [2], found


def test_ranks_with_different_engines_are_told(job):
    """Not a wait in connecting: each would look for the others over its own."""
    ranks = job([0, 3], {"SHMRT_ENGINE": ["Gloo ", "ucc"]})
    for ok, text in ranks.outcomes(across.join):
        assert not ok and 'rank 1 (machine2) has the engine "ucc", rank 0 (machine0) "gloo"' in text, text
        assert "SHMRT_ENGINE" in text


def test_how_the_engine_is_written_does_not_matter(job):
    ranks = job([0, 3], {"SHMRT_ENGINE": ["Gloo ", None]})
    ranks.call(across.join)
    assert ranks.call(across.sum_of_ones) == [2, 2]
