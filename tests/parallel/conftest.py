# SPDX-License-Identifier: Apache-2.0
"""Ranks with a process group of our backend, kept for all tests of this folder.

SHMRT_TEST_BACKEND=cpu:gloo runs the same tests on Gloo, which shows whether a test asks for too much.
"""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "torch"))

import warm  # noqa: E402
from framework import join, leave, still_usable  # noqa: E402
from rankpool import RankFailed, Ranks  # noqa: E402

warm.also(warm.TRANSFORMERS)
BACKEND = os.environ.get("SHMRT_TEST_BACKEND", "cpu:shmrt")


@pytest.fixture(scope="session")
def pools():
    kept: dict[int, Ranks] = {}
    yield kept
    for pool in kept.values():
        try:
            pool.call(leave, timeout=60)
        finally:
            pool.close()


@pytest.fixture
def ranks(pools):
    """ranks(n): n ranks in one process group; a test that breaks them makes the next one start new ones."""

    def get(size: int) -> Ranks:
        pool = pools.get(size)
        if pool is None or not pool.alive():
            env = {"PYTHONPATH": str(HERE), "HF_HUB_OFFLINE": "1"}
            pool = Ranks(size, env)
            pool.call(join, BACKEND, timeout=180)
            pools[size] = pool
        return pool

    yield get
    for size, pool in list(pools.items()):
        try:
            pool.call(still_usable, timeout=60)
        except RankFailed:
            pools.pop(size).close()
