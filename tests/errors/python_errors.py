# SPDX-License-Identifier: Apache-2.0
"""What the tests of Python's errors share."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path

import shmrt
from error_table import assert_documented


def code_of(error: BaseException) -> str:
    """As docs/errors.md names it: the errno of a shmrt.Error, else the type."""
    if not isinstance(error, shmrt.Error):
        return type(error).__name__
    usual = {errno.ENOTSUP: "ENOTSUP", errno.EDEADLK: "EDEADLK"}  # which have two names
    return usual.get(error.code) or errno.errorcode[error.code]


def said(call: Callable[[], object]) -> tuple[str, str]:
    """What the call raised, in a rank: to be looked at by the test."""
    try:
        call()
    except Exception as error:
        return code_of(error), str(error)
    return "0", "nothing was raised"


def wait_for(file: Path) -> None:
    """In a rank that has to come later than what another one does before it makes this file; at most a minute."""
    until = time.monotonic() + 60
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.01)


def refused(words: str, call: Callable[[], object], before: str = "") -> None:
    """The call raises the error of the row with these words, and nothing else."""
    code, text = said(call)
    assert_documented(words, text, code, before)
