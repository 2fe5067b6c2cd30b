# SPDX-License-Identifier: Apache-2.0
"""Ranks that disagree, are killed, never come, or are interrupted."""

import errno
import os
import signal
import time

import shmrt
import torch


def join(**keywords) -> int:
    shmrt.init(**keywords)
    return os.getpid()


def error_of(work) -> tuple[int, str]:
    try:
        work()
    except shmrt.Error as error:
        return error.code, str(error)
    except KeyboardInterrupt:
        return errno.EINTR, "KeyboardInterrupt"
    return 0, "no error"


def disagree(kind: str) -> tuple[tuple[int, str], tuple[int, str]]:
    shmrt.init()
    second = shmrt.rank() == 1
    calls = {
        "count": lambda: shmrt.all_reduce(torch.ones(101 if second else 100)),
        "dtype": lambda: shmrt.all_reduce(torch.ones(100, dtype=torch.float64 if second else torch.float32)),
        "operation": lambda: shmrt.all_reduce(torch.ones(100), "max" if second else "sum"),
        "collective": lambda: shmrt.barrier() if second else shmrt.all_reduce(torch.ones(100)),
    }
    first = error_of(calls[kind])
    again = error_of(lambda: shmrt.all_reduce(torch.ones(4)))
    shmrt.finalize()
    return first, again


def disagreement(pool, kind: str, both: tuple[str, str]) -> None:
    for (code, text), (code_again, _) in pool.call(disagree, kind):
        assert code == errno.EPROTO, text
        assert all(word in text for word in both), text
        assert code_again == errno.EPROTO


def test_ranks_that_disagree(fresh_ranks):
    """Both ranks hear of both sides; a new communicator can be made in the same processes."""
    pool = fresh_ranks(2)
    disagreement(pool, "count", ("100", "101"))
    disagreement(pool, "dtype", ("float32", "float64"))
    disagreement(pool, "operation", ("sum", "max"))
    disagreement(pool, "collective", ("barrier", "float32"))
    pool.call(join)
    assert pool.call(sum_of_ones) == [2.0, 2.0]


def sum_of_ones() -> float:
    return shmrt.all_reduce(torch.ones(1)).item()


def wait_for_others() -> tuple[int, str]:
    return error_of(lambda: shmrt.all_reduce(torch.ones(1 << 16)))


def test_a_rank_is_killed(fresh_ranks):
    pool = fresh_ranks(3)
    pool.call(join)
    pool.start(wait_for_others, only=[0, 1])
    time.sleep(0.5)
    pool.workers[2].process.kill()
    for ok, outcome in pool.collect(timeout=30, only=[0, 1]):
        assert ok, outcome
        code, text = outcome
        assert code == errno.ECONNABORTED and "rank 2" in text, text


def join_and_time_out() -> tuple[int, str]:
    shmrt.init(timeout=0.5)
    if shmrt.rank() == 1:
        time.sleep(3)
        return 0, "slept"
    return error_of(lambda: shmrt.all_reduce(torch.ones(8)))


def test_a_rank_does_not_call(fresh_ranks):
    (code, text), _ = fresh_ranks(2).call(join_and_time_out)
    assert code == errno.ETIMEDOUT and "rank 1" in text, text


def join_alone() -> tuple[int, str]:
    return error_of(lambda: shmrt.init(settings={"rendezvous_timeout": 1}))


def test_a_rank_does_not_come(fresh_ranks):
    ((code, text),) = fresh_ranks(3).call(join_alone, only=[1])
    assert code == errno.ETIMEDOUT and "0" in text and "2" in text, text


def join_for_a_while() -> tuple[int, str]:
    return error_of(lambda: shmrt.init(settings={"rendezvous_timeout": 2}))


def test_two_processes_claim_one_rank(fresh_ranks):
    """As when a second job takes the port or the job key of the first."""
    outcomes = fresh_ranks(2, {"RANK": "0"}).call(join_for_a_while)
    assert {code for code, _ in outcomes} >= {errno.EADDRINUSE}, outcomes
    assert all(code for code, _ in outcomes)
    assert all("rank 0" in text for code, text in outcomes if code == errno.EADDRINUSE), outcomes


def interrupted() -> tuple[tuple[int, str], tuple[int, str]]:
    return wait_for_others(), error_of(lambda: shmrt.barrier())


def test_ctrl_c_ends_a_wait(fresh_ranks):
    """KeyboardInterrupt in the rank that got it, an error that names it in the one that did not."""
    pool = fresh_ranks(3)
    pool.call(join)
    pool.start(interrupted, only=[0])
    pool.start(wait_for_others, only=[1])
    time.sleep(0.7)
    pool.workers[0].process.send_signal(signal.SIGINT)
    (ok0, outcome0), (ok1, outcome1) = pool.collect(timeout=30, only=[0, 1])
    assert ok0 and ok1, (outcome0, outcome1)
    assert outcome0[0] == (errno.EINTR, "KeyboardInterrupt")
    assert outcome0[1][0] in (errno.ECANCELED, errno.ECONNABORTED)
    code, text = outcome1
    assert code == errno.ECONNABORTED and "rank 0" in text, text


def interrupted_meeting() -> tuple[int, str]:
    return error_of(lambda: shmrt.init())


def test_ctrl_c_ends_init(fresh_ranks):
    pool = fresh_ranks(2)
    pool.call(os.getpid)
    pool.start(interrupted_meeting, only=[0])
    time.sleep(4)
    pool.workers[0].process.send_signal(signal.SIGINT)
    ((ok, outcome),) = pool.collect(timeout=30, only=[0])
    assert ok and outcome == (errno.EINTR, "KeyboardInterrupt"), outcome


def wait_in_thread_and_finalize() -> tuple[int, str]:
    import threading

    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(wait_for_others()))
    thread.start()
    time.sleep(0.3)
    assert shmrt.is_initialized() and shmrt.rank() == 0
    shmrt.finalize()
    thread.join()
    return outcome[0]


def test_finalize_ends_the_wait_of_another_thread(fresh_ranks):
    pool = fresh_ranks(2)
    pool.call(join)
    ((code, text),) = pool.call(wait_in_thread_and_finalize, only=[0], timeout=30)
    assert code == errno.ECONNABORTED and "finalize" in text, text


def count_during(wait) -> int:
    """How often another thread got to run while this one was in wait()."""
    import threading

    counted = [0]
    stop = threading.Event()

    def count() -> None:
        while not stop.wait(0.01):
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    wait()
    stop.set()
    thread.join()
    return counted[0]


def waits_of_a_second() -> list[int]:
    found = []
    for wait in (shmrt.barrier, lambda: shmrt.all_reduce(torch.ones(1))):
        shmrt.barrier()
        if shmrt.rank() == 1:
            time.sleep(1)
            wait()
        else:
            found.append(count_during(wait))
    return found


def test_other_threads_run_during_a_wait(fresh_ranks):
    pool = fresh_ranks(2)
    pool.call(join)
    counts, _ = pool.call(waits_of_a_second)
    assert len(counts) == 2 and min(counts) > 10, counts


def long_wait() -> float:
    shmrt.init(settings={"warn": 0.2})
    if shmrt.rank() == 1:
        time.sleep(1.5)
    return shmrt.all_reduce(torch.ones(1)).item()


def test_a_long_wait_is_reported_through_logging(fresh_ranks):
    pool = fresh_ranks(2)
    assert pool.call(long_wait) == [2.0, 2.0]
    assert pool.output(0).count("rank 1") >= 1, pool.output(0)
