# SPDX-License-Identifier: Apache-2.0
"""bench/kills.py: a rank of an all-reduce is killed, and the others are told, with shmrt."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.parametrize("contender", ["shmrt's operator", "shmrt in torch.distributed"])
def test_survivors_are_told_the_name(contender):
    words = [sys.executable, ROOT / "bench" / "kills.py", "--kills", "4", "--at-once", "2", contender]
    result = subprocess.run(words, capture_output=True, text=True, timeout=600)
    rows = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith(f"| {contender}")]
    assert len(rows) == 1, result.stderr
    _, kills, survivors, errors, from_outside, hang, named, _, left = rows[0]
    assert (kills, survivors, errors, named) == ("4", "7", "7", "7"), result.stderr
    assert (from_outside, hang, left) == ("0", "0", "0 (0 MiB) |")
