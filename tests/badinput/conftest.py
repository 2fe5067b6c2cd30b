# SPDX-License-Identifier: Apache-2.0
"""Ranks whose processes live through all tests of a file: each test is a new job to them, and leaves them usable."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "torch"))

from rankpool import Ranks  # noqa: E402


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.has_failed = report.failed
    return report


@pytest.fixture(scope="module")
def pools():
    pools: dict[object, Ranks] = {}
    yield pools
    for pool in pools.values():
        pool.close()


@pytest.fixture
def ranks(pools, request):
    """ranks(n, env, which=0): n ranks, not initialised. Another `which` is another job's processes."""

    def get(size: int, env: dict | None = None, which: int = 0) -> Ranks:
        env = {"PYTHONPATH": str(HERE)} | (env or {})
        pool = pools.get((size, which))
        if pool is not None and pool.alive():
            pool.renew(env)
        else:
            pool = pools[size, which] = Ranks(size, env)
        return pool

    yield get
    if getattr(request.node, "has_failed", False):  # an answer may be on its way that nobody waits for
        for key in list(pools):
            pools.pop(key).close()
