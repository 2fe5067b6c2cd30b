# SPDX-License-Identifier: Apache-2.0
"""Ranks with a process group of the backend shmrt; with SHMRT_TEST_BACKEND=gloo of Gloo, as far as that goes."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "torch"))

from c10d_group import is_usable, join, leave  # noqa: E402
from rankpool import RankFailed, Ranks  # noqa: E402

BACKEND = os.environ.get("SHMRT_TEST_BACKEND", "shmrt")


@pytest.fixture(scope="session")
def pools():
    kept: dict[int, Ranks] = {}
    yield kept
    for pool in kept.values():
        pool.close()


def processes(pools: dict[int, Ranks], size: int) -> Ranks:
    pool = pools.get(size)
    if pool is None or not pool.alive():
        pool = pools[size] = Ranks(size, {"PYTHONPATH": str(HERE)})
    return pool


@pytest.fixture
def ranks(pools):
    """ranks(n): n ranks in one process group, which the test leaves usable."""
    used: list[Ranks] = []

    def get(size: int) -> Ranks:
        pool = processes(pools, size)
        pool.call(join, BACKEND, timeout=120)
        used.append(pool)
        return pool

    yield get
    for pool in used:
        try:
            pool.call(is_usable, timeout=30)
        except RankFailed:
            pool.close()
            raise


@pytest.fixture
def lone_ranks(pools):
    """lone_ranks(n): n processes without a group, as a new job; the test may do with them what it likes."""
    used: list[Ranks] = []

    def get(size: int, env: dict | None = None) -> Ranks:
        pool = processes(pools, size)
        pool.call(leave, timeout=60)
        pool.renew({"PYTHONPATH": str(HERE), **(env or {})})
        used.append(pool)
        return pool

    yield get
    for pool in used:
        if not pool.alive():
            pool.close()
            continue
        try:
            pool.call(leave, timeout=60)
            pool.renew({"PYTHONPATH": str(HERE)})  # without what the test has set
        except RankFailed:
            pool.close()
