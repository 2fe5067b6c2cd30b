# SPDX-License-Identifier: Apache-2.0
"""shmrt.init() and the operators, used as they should not be: an error that says what to do, and nothing breaks."""

import errno
import os
import threading

import shmrt
import torch
import trouble
from rankpool import free_port
from trouble import join, new_job, sum_of, told

SHORT = {"settings": {"rendezvous_timeout": 2}}


def two_jobs(ranks, **env):
    port = str(free_port())
    same = {"MASTER_PORT": port, "SHMRT_JOB": None} | env
    return ranks(2, same, which=0), ranks(2, same, which=1)


def join_for_a_while() -> tuple[int, str]:
    return join(**SHORT)


def test_a_second_job_on_the_port_of_a_running_one(ranks):
    """It is told at once whose port that is and what to set; the first goes on, and with its own key the second can."""
    first, second = two_jobs(ranks)
    assert first.call(join) == [(0, "")] * 2
    (code, text), (other_code, other) = second.call(join_for_a_while)
    assert code == errno.EADDRINUSE and "rank 0" in text and "SHMRT_JOB" in text, text
    assert other_code != 0 and "rank" in other, other
    assert first.call(sum_of, 1.0) == [2.0] * 2
    second.renew()
    assert second.call(new_job) == [2.0] * 2 and first.call(sum_of, 1.0) == [2.0] * 2


def test_two_jobs_with_one_port_at_once(ranks):
    """Only one of each rank can be in: whoever is not hears which rank was taken, and what to set."""
    jobs = two_jobs(ranks)
    for job in jobs:
        job.start(join_for_a_while)
    outcomes = [value for job in jobs for ok, value in job.collect(timeout=60)]
    refused = [text for code, text in outcomes if code == errno.EADDRINUSE]
    assert refused and all("already taken" in text and "SHMRT_JOB" in text for text in refused), outcomes
    for job in jobs:
        job.renew()
        assert job.call(new_job) == [2.0] * 2


def fork_and_go_on() -> tuple[str, float, float]:
    """What a child of fork() hears, and sums of the parent before and after."""
    shmrt.init()
    before = sum_of(1.0)
    return trouble.told_in_a_child(lambda: shmrt.all_reduce(torch.ones(8))), before, sum_of(1.0)


def test_a_forked_child(ranks):
    for rank, (said, *sums) in enumerate(ranks(2).call(fork_and_go_on)):
        assert f"forked from rank {rank}" in said and sums == [2.0, 2.0]


class CallsARank(torch.utils.data.Dataset):
    """An all-reduce where it can't be: in a worker of a DataLoader, which is a fork of the rank."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return shmrt.all_reduce(torch.ones(2))


class Squares(CallsARank):
    def __getitem__(self, index):
        return torch.tensor(float(index * index))


def load() -> tuple[tuple[int, str], list[float], float]:
    """What the parent hears of its workers; then workers that do nothing wrong, with sums beside them."""
    shmrt.init()
    bad = told(lambda: list(torch.utils.data.DataLoader(CallsARank(), num_workers=2)))
    good = []
    for batch in torch.utils.data.DataLoader(Squares(), num_workers=2):
        good.append(batch.item() + sum_of(1.0))
    return bad, good, sum_of(1.0)


def test_a_worker_of_a_data_loader(ranks):
    for rank, (bad, good, total) in enumerate(ranks(2).call(load)):
        assert bad[0] == 0, f"a shmrt.Error without its code, not {bad}"
        assert f"forked from rank {rank}" in bad[1] and "DataLoader worker" in bad[1], bad
        assert good == [index * index + 2.0 for index in range(4)] and total == 2.0


def from_two_threads() -> list[str]:
    """A sum is of what one thread of each rank gave: all give the same, as their order is nobody's to say."""
    shmrt.init()
    wrong: list[str] = []

    def work() -> None:
        for _ in range(200):
            total = sum_of(3.0)
            if total != 3.0 * shmrt.size():
                wrong.append(f"{total}")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return wrong + [thread.name for thread in threads if thread.is_alive()]


def test_two_threads(ranks):
    assert ranks(2).call(from_two_threads) == [[], []]


def add_and_tell() -> tuple[float, list[str]]:
    shmrt.init()
    return sum_of(1.0), list(shmrt.stats()["fallbacks"])


def test_off_on_one_rank_only(ranks):
    """All take the other way together, and all are told why."""
    for total, reasons in ranks(3, {"SHMRT_DISABLE": [None, "1", None]}).call(add_and_tell):
        assert total == 3.0 and any("SHMRT_DISABLE=1 on rank 1" in reason for reason in reasons), reasons
    assert ranks(3).call(new_job) == [3.0] * 3


def join_from_another_namespace() -> tuple[int, str]:
    with trouble.own_network(shmrt_rank() == 1):
        return join(**SHORT)


def shmrt_rank() -> int:
    return int(os.environ["RANK"])


def test_a_rank_of_another_machine(ranks):
    """Another network namespace is another machine to those who look for a rank. Without a store they can't ask it."""
    outcomes = ranks(2).call(join_from_another_namespace)
    for rank, (code, text) in enumerate(outcomes):
        assert code == errno.ETIMEDOUT and f"{1 - rank}" in text and "machine" in text, (code, text)
    assert ranks(2).call(new_job) == [2.0] * 2


def meta_and_real() -> tuple[str, str, float]:
    shmrt.init()
    x = torch.ones(4, device="meta")
    return str(shmrt.inference_all_reduce(x).device), str(shmrt.all_reduce(x).device), sum_of(1.0)


def test_a_tensor_without_data(ranks):
    """Shapes only, as the compiler asks for them: no rank waits for it."""
    assert ranks(2).call(meta_and_real) == [("meta", "meta", 2.0)] * 2
