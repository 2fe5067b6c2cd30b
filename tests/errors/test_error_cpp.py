# SPDX-License-Identifier: Apache-2.0
"""What shmrt_torch.h refuses in a C++ program, in the words of docs/errors.md."""

from __future__ import annotations

import errno
import os
import subprocess
import uuid
from pathlib import Path

import pytest
import shmrt
import torch
from error_table import assert_documented

SOURCE = Path(__file__).parent / "wrong_calls"
LIMIT_S = 600  # of a compiler on a busy machine


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> list[tuple[str, str]]:
    """(code, text) of each call of the program, which this builds."""
    build = tmp_path_factory.mktemp("wrong_calls")
    prefix = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path};{shmrt.cmake_prefix_path}"
    run(["cmake", "-G", "Ninja", "-S", str(SOURCE), "-B", str(build), prefix])
    run(["cmake", "--build", str(build)])
    env = {name: text for name, text in os.environ.items() if not name.startswith("SHMRT_")}
    lines = run([str(build / "wrong_calls"), f"errors-{uuid.uuid4().hex}"], env).splitlines()
    pairs = [line.partition(" ")[::2] for line in lines if line.partition(" ")[0].isdigit()]
    return [(errno.errorcode[int(number)] if int(number) else number, text) for number, text in pairs]


def run(command: list[str], env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "was called before the ranks have met: call shmrt::init() first"),
        (1, "shmrt::init() takes rank and size together, or neither"),
        (2, "was made without an engine for calls that do without shared memory"),
    ],
)
def test_wrong_calls(said, number, words):
    code, text = said[number]
    code = {"EOPNOTSUPP": "ENOTSUP"}.get(code, code)
    assert_documented(words, text, code)
    assert said[3:] == [("0", "nothing was thrown")]  # the communicator goes on
