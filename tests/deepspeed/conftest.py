# SPDX-License-Identifier: Apache-2.0
"""Ranks in which DeepSpeed is as a user has it: no test module imports shmrt, the environment asks for it."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TORCH_TESTS = HERE.parent / "torch"
sys.path.insert(0, str(TORCH_TESTS))

from rankpool import Ranks  # noqa: E402

# What reads the tests' modules in a rank, which only knows those of tests/torch.
ENVIRONMENT = {"SHMRT_DEEPSPEED": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(HERE)}


@pytest.fixture(scope="session")
def deepspeed_ranks():
    """deepspeed_ranks(n): n ranks, the same ones in every test; the tests leave them usable."""
    pools: dict[int, Ranks] = {}

    def get(size: int) -> Ranks:
        if size not in pools or not pools[size].alive():
            pools[size] = Ranks(size, ENVIRONMENT)
        return pools[size]

    yield get
    for pool in pools.values():
        pool.close()


@pytest.fixture
def two_ranks():
    """two_ranks(env): ranks of this test alone."""
    made: list[Ranks] = []

    def start(**env: str) -> Ranks:
        made.append(Ranks(2, ENVIRONMENT | env))
        return made[-1]

    yield start
    for pool in made:
        pool.close()
