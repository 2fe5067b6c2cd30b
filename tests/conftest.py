# SPDX-License-Identifier: Apache-2.0
"""For all tests in Python: fixed thresholds, nothing of the user's cache folders, and signals as usual, which a
script's background job or nohup ignores and their children would too."""

import os
import signal

import pytest

os.environ["SHMRT_TUNE"] = "off"
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def new_compile_cache(tmp_path_factory):
    """A graph that an earlier build of the operators left in the user's cache would prove nothing. One for all
    folders: what every graph needs is compiled once."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path_factory.mktemp("inductor"))
