# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from benching import Bench, eventually

SOURCES = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="session")
def fake_peer(tmp_path_factory) -> Path:
    program = tmp_path_factory.mktemp("peer") / "fake_peer"
    sources = [Path(__file__).with_name("fake_peer.c"), *(SOURCES / f"{name}.c" for name in ("peer", "meet", "task"))]
    command = ["cc", "-std=c17", "-D_GNU_SOURCE", "-O2", "-I", SOURCES, "-o", program, *sources]
    subprocess.run(command, check=True, timeout=120)
    return program


@pytest.fixture
def bench(tmp_path: Path):
    binary = os.environ.get("SHM_BENCH") or shutil.which("shm-bench")
    if not binary or not Path(binary).exists():
        pytest.fail("shm-bench is neither in SHM_BENCH nor on PATH: build and install it first")
    it = Bench(str(Path(binary).resolve()), tmp_path)
    yield it
    it.clean_up()
    eventually(lambda: not it.relatives(), "everything that the test started ends", 30)
