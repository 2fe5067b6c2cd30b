# SPDX-License-Identifier: Apache-2.0
"""For all tests in Python: fixed thresholds, nothing of the user's cache folder, and Ctrl-C as usual, which a
script's background job ignores and its children would too."""

import os
import signal

os.environ["SHMRT_TUNE"] = "off"
signal.signal(signal.SIGINT, signal.default_int_handler)
