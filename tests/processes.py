# SPDX-License-Identifier: Apache-2.0
"""Processes that tests start, and what becomes of them; for tests of more than one folder."""

import os
import time
from pathlib import Path


def marked(marker: str) -> dict[int, str]:
    """Processes with `marker` in their environment, whoever their parent is."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if marker.encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has just ended, or is another user's
    return found


def eventually(check, what: str, limit_s: float):
    """Wait until `check` answers something true, and hand that back."""
    until = time.monotonic() + limit_s
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < until, f"{what}: not within {limit_s} s"
        time.sleep(0.02)
