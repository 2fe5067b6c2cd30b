# SPDX-License-Identifier: Apache-2.0
"""A rank that dies, a cable that is cut, a rank that never comes: errors on all ranks of all machines."""

import errno
import signal
import time

import across
import pytest

DEADLINE = 60  # seconds, of calls whose own limit is shorter


@pytest.mark.parametrize(
    "victim", [0, pytest.param(1, marks=pytest.mark.long), 3], ids=["rank 0, which holds the store", "rank 1", "rank 3"]
)
def test_a_killed_rank_is_an_error_on_all(job, victim):
    ranks = job()
    ranks.call(across.join, timeout=120)
    ranks.start(across.failing_reduction)
    worker = ranks.workers[victim]
    worker.process.send_signal(signal.SIGKILL)
    others = [rank for rank in range(4) if rank != victim]
    found = dict(zip(others, [answer for _, answer in ranks.collect(timeout=DEADLINE, only=others)], strict=True))
    for rank, (code, text, seconds) in found.items():
        assert code == errno.ECONNABORTED, (rank, text)
        assert seconds < 30, "by the connections that close, not by a deadline (of 30 minutes)"
    beside = found[victim ^ 1][1]
    assert "machine" in beside and "died" in beside, beside
    if victim != 0:
        assert any("died" in found[rank][1] for rank in others if rank // 2 != victim // 2), found


def test_a_cut_cable_is_an_error_at_the_deadline(job, cast):
    ranks = job(env={"SHMRT_TIMEOUT": "3"})
    ranks.call(across.join)
    ranks.call(across.sum_of_ones)
    cast.cluster.cut(2)
    try:
        answers = ranks.call(across.failing_reduction, timeout=DEADLINE)
    finally:
        cast.cluster.mend(2)
    for code, text, seconds in answers:
        assert code in (errno.ETIMEDOUT, errno.ECONNABORTED), text
        assert seconds >= 2.5, text
    assert sum(code == errno.ETIMEDOUT for code, _, _ in answers) >= 2, answers
    assert "machine 1 (machine2: ranks 2, 3)" in answers[0][1], answers[0]


def test_the_ranks_can_begin_anew(job):
    """After the failures above, in the same processes: finalize() and init()."""
    ranks = job(env={"SHMRT_TIMEOUT": "20"})
    for _ in range(2):
        ranks.call(across.join)
        assert ranks.call(across.sum_of_ones) == [4] * 4
        ranks.call(across.finalize)


def test_an_interrupted_rank_is_named_on_all(job):
    """Machine 1 waits for machine 0, and its rank 2 is interrupted."""
    ranks = job()
    ranks.call(across.join)
    ranks.call(across.sum_of_ones)
    ranks.start(across.interrupted_reduction, only=[2])
    ranks.start(across.failing_reduction, only=[3])
    worker, until = ranks.workers[2], time.monotonic() + DEADLINE
    while not worker.pipe.poll(0.5) and time.monotonic() < until:
        worker.process.send_signal(signal.SIGINT)
    ((_, (code, text)),) = ranks.collect(timeout=DEADLINE, only=[2])
    words = "rank 2 of machine 1 (machine2: ranks 2, 3) was interrupted: "
    assert code == errno.ECANCELED and text.startswith(words), text
    assert "\n" not in text, text  # Python's traceback is the interrupted rank's own affair
    ranks.start(across.failing_reduction, only=[0, 1])
    for _, (code, text, _) in ranks.collect(timeout=DEADLINE, only=[0, 1, 3]):
        assert code == errno.ECONNABORTED and words in text, text


def test_a_rank_that_leaves_in_a_call_is_named_on_all(job):
    words = "aborted: shmrt.finalize() was called while another thread of this rank was in a collective"
    ranks = job()
    for _ in range(5):  # until it did leave in a call, and not before it
        ranks.call(across.join)
        ranks.call(across.sum_of_ones)
        ranks.start(across.failing_reduction, only=[3])
        ((code, text),) = ranks.call(across.left_by_another_thread, only=[2], timeout=DEADLINE)
        ranks.start(across.failing_reduction, only=[0, 1])
        others = [answer for _, answer in ranks.collect(timeout=DEADLINE, only=[0, 1, 3])]
        ranks.call(across.finalize)
        if code == errno.ECONNABORTED:
            break
    assert code == errno.ECONNABORTED and words.removeprefix("aborted: ") in text, text
    for code, text, _ in others[:2]:
        assert code == errno.ECONNABORTED and f"rank 2 of machine 1 (machine2: ranks 2, 3) {words}" in text, text


def test_who_is_missing_is_named(job):
    ranks = job(env={"SHMRT_RENDEZVOUS_TIMEOUT": "5"})
    for ok, text in ranks.outcomes(across.join, only=[0, 1, 3], timeout=DEADLINE):
        assert not ok
        assert "did not come within 5 s: 2" in text, text


def test_two_jobs_on_one_port_do_not_meet(job):
    """Ranks that a launcher has given different jobs; without a launcher they can't be told apart."""
    ranks = job([0, 3], {"TORCHELASTIC_RUN_ID": ["one", "other"]})
    for ok, text in ranks.outcomes(across.join):
        assert not ok and "rank 1 (machine2) has the job" in text and "MASTER_PORT" in text, text


def test_one_rank_that_cannot_join_is_an_error_on_all(job):
    """A setting that shmrt_comm_create() refuses, on one machine: the other must not wait or go on."""
    ranks = job(env={"SHMRT_LANES": [None, None, None, "nonsense"], "SHMRT_RENDEZVOUS_TIMEOUT": "8"})
    answers = ranks.outcomes(across.join, timeout=DEADLINE)
    for ok, text in answers:
        assert not ok and "could not join" in text and "machine 1" in text, text
    assert all("nonsense" in text for _, text in answers), answers
