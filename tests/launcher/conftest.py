# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from launching import Launcher, eventually, installed


@pytest.fixture
def launcher(tmp_path: Path):
    it = Launcher(installed(), tmp_path)
    yield it
    it.clean_up()
    eventually(lambda: not it.relatives(), "everything that the test started ends", 20)
