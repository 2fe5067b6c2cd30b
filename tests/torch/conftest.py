# SPDX-License-Identifier: Apache-2.0

import pytest
import warm
from rankpool import RankFailed, Ranks, join_worker

warm.also(warm.TRANSFORMERS)


@pytest.fixture(scope="session")
def shared_pools():
    pools: dict[int, Ranks] = {}
    yield pools
    for pool in pools.values():
        pool.close()


@pytest.fixture
def ranks(shared_pools):
    """ranks(n): n initialised ranks, kept for later tests; for tests that leave them usable."""

    def get(size: int) -> Ranks:
        pool = shared_pools.get(size)
        if pool is None or not pool.alive():
            pool = Ranks(size)
            pool.call(join_worker)
            shared_pools[size] = pool
        return pool

    return get


# Read once, when libgomp is loaded: only a new process sees another value.
READ_AT_START = ("OMP_NUM_THREADS",)


@pytest.fixture(scope="session")
def idle_pools():
    pools: dict[int, Ranks] = {}
    yield pools
    for pool in pools.values():
        pool.close()


@pytest.fixture
def fresh_ranks(idle_pools):
    """fresh_ranks(n, env): n ranks of this test alone, not initialised, free to fail.

    Their processes are those of an earlier test where they can be, since starting one takes long.
    """
    made: list[Ranks] = []

    def make(size: int, env: dict | None = None) -> Ranks:
        pool = idle_pools.pop(size, None)
        if pool is None or any(name in (env or {}) for name in READ_AT_START):
            if pool is not None:
                idle_pools[size] = pool
            pool = Ranks(size, env)
        else:
            pool.renew(env)
        made.append(pool)
        return pool

    yield make
    for pool in made:
        try:
            if not pool.alive() or pool.size in idle_pools:
                raise RankFailed("not to be kept")
            pool.renew()
            idle_pools[pool.size] = pool
        except RankFailed:
            pool.close()
