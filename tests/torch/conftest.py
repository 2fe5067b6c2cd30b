# SPDX-License-Identifier: Apache-2.0
import pytest
from rankpool import Ranks


def join() -> None:
    import shmrt

    shmrt.init()


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
            pool = shared_pools[size] = Ranks(size)
            pool.call(join)
        return pool

    return get


@pytest.fixture
def fresh_ranks():
    """fresh_ranks(n, env): n ranks of this test alone, not initialised, ended with it."""
    made: list[Ranks] = []

    def make(size: int, env: dict | None = None) -> Ranks:
        made.append(Ranks(size, env))
        return made[-1]

    yield make
    for pool in made:
        pool.close()
