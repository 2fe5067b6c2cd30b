# SPDX-License-Identifier: Apache-2.0
"""For all tests in Python: fixed thresholds, and nothing of the user's cache folder."""

import os

os.environ["SHMRT_TUNE"] = "off"
