# SPDX-License-Identifier: Apache-2.0
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TORCH = HERE.parent / "torch"
sys.path[:0] = [str(HERE), str(TORCH)]

import across  # noqa: E402
import namespaces  # noqa: E402
from rankpool import Ranks, Worker  # noqa: E402

PLACES = [0, 0, 1, 2, 2]  # the machine of each process


class Job(Ranks):
    """Processes of the cluster as the ranks of one job: `who` are their numbers, in the order of their ranks."""

    def __init__(self, workers: list[Worker], places: list[int]) -> None:
        self.size = len(workers)
        self.workers = workers
        self.places = places
        for rank, worker in enumerate(workers):
            worker.rank = rank

    def _variables(self, env):
        found = super()._variables(env)
        here = [self.places[:rank].count(place) for rank, place in enumerate(self.places)]
        Cast.port += 1
        for rank, variables in enumerate(found):
            local = {"LOCAL_RANK": here[rank], "LOCAL_WORLD_SIZE": self.places.count(self.places[rank])}
            variables |= {name: str(value) for name, value in local.items()}
            variables.pop("LOCAL_SIZE")
            # Each machine has its own key, as shm-launch makes it.
            variables["SHMRT_JOB"] += f"-{self.places[rank]}"
            variables |= {"MASTER_ADDR": namespaces.ADDRESS.format(self.places[0] + 1), "MASTER_PORT": str(Cast.port)}
            variables["PYTHONPATH"] = f"{HERE}:{TORCH}"
            for name, value in (env or {}).items():
                one = value[rank] if isinstance(value, list) else value
                variables.pop(name, None)
                if one is not None:
                    variables[name] = one
        return found


class Cast:
    """Three machines and five processes on them, of which jobs are made."""

    port = 29600

    def __init__(self) -> None:
        self.cluster = namespaces.Cluster(3)
        self.workers: list[Worker] = []

    def job(self, who: list[int], env: dict | None = None) -> Job:
        if not self.workers or any(w.process.poll() is not None or w.pipe.closed for w in self.workers):
            self.end_workers()
            places = {"PYTHONPATH": f"{HERE}:{TORCH}", "OMP_NUM_THREADS": "1"}
            self.workers = [
                Worker(number, os.environ | places, self.cluster.enter(place)) for number, place in enumerate(PLACES)
            ]
        job = Job([self.workers[number] for number in who], [PLACES[number] for number in who])
        job.renew(env)
        return job

    def end_workers(self) -> None:
        for worker in self.workers:
            worker.pipe.close()
            worker.kill()
            worker.output.close()
        self.workers = []

    def close(self) -> None:
        self.end_workers()
        self.cluster.close()


@pytest.fixture(scope="session")
def cast():
    reason = namespaces.why_not()
    if reason:
        pytest.skip(reason)
    made = Cast()
    yield made
    made.close()


TWO_BY_TWO = [0, 1, 3, 4]


@pytest.fixture
def job(cast):
    """job(who, env): a job of these processes; leaves nothing behind, however it ends."""
    made = []

    def make(who=None, env=None):
        one = cast.job(who or TWO_BY_TWO, env)
        made.append(one)
        return one

    yield make
    for one in made:
        if not one.alive():
            cast.end_workers()


@pytest.fixture
def gloo(job):
    """Four ranks on two machines, with torch.distributed up."""
    ranks = job(env={"GLOO_SOCKET_IFNAME": "cable"})
    ranks.call(across.start, "gloo")
    yield ranks
    ranks.call(across.end)
