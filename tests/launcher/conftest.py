# SPDX-License-Identifier: Apache-2.0
import os
import shutil
from pathlib import Path

import pytest
from launching import Launcher, eventually


@pytest.fixture
def launcher(tmp_path: Path):
    binary = os.environ.get("SHM_LAUNCH") or shutil.which("shm-launch")
    if not binary or not Path(binary).exists():
        pytest.fail("shm-launch is neither in SHM_LAUNCH nor on PATH: build and install it first")
    it = Launcher(str(Path(binary).resolve()), tmp_path)
    yield it
    it.clean_up()
    eventually(lambda: not it.relatives(), "everything that the test started ends", 20)
