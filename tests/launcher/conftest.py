# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from launching import launcher_in


@pytest.fixture
def launcher(tmp_path: Path):
    with launcher_in(tmp_path) as it:
        yield it
