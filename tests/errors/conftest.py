# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "launcher"), str(HERE.parent / "torch"), str(HERE.parent)]

from launching import launcher_in  # noqa: E402
from rankpool import Ranks  # noqa: E402


@pytest.fixture
def launcher(tmp_path: Path):
    with launcher_in(tmp_path) as it:
        yield it


@pytest.fixture(scope="session")
def pools():
    kept: list[Ranks] = []
    yield kept
    for pool in kept:
        pool.close()


@pytest.fixture
def two_ranks(pools):
    """two_ranks(NAME=value): two processes that live through all tests of this folder, as a new job."""

    def get(**env: str | list[str] | None) -> Ranks:
        variables = {"PYTHONPATH": str(HERE)} | env
        if pools and pools[0].alive():
            pools[0].renew(variables)
        else:
            pools[:] = [Ranks(2, variables)]
        return pools[0]

    return get
