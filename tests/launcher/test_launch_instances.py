# SPDX-License-Identifier: Apache-2.0
"""Two jobs at once: the second one says that the CPUs it wants are held by the first.

Other jobs may run beside these tests, so that nothing here asks for silence.
"""

from __future__ import annotations

import json
import os
import re

import pytest
from launching import eventually

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="with one CPU a rank that is bound looks as if it were not"
)


def warnings(launcher, *words):
    result = launcher.run("plan", "--json", *words)
    assert result.returncode == 0, result.stderr
    return [text for text in json.loads(result.stdout)["warnings"] if "another job" in text]


def cpus_named(text):
    """The CPUs after "is on CPUs ", as a set."""
    listed = re.search(r"on CPUs? ([0-9,-]+),", text).group(1)
    named = set()
    for part in listed.split(","):
        first, _, last = part.partition("-")
        named |= set(range(int(first), int(last or first) + 1))
    return named


def test_a_second_job_names_the_cpus_of_the_first(launcher):
    cpu = max(os.sched_getaffinity(0))
    job = launcher.start("-n1", "--cpus", str(cpu), "sleep", "60")
    eventually(
        lambda: any(cpu in cpus_named(text) for text in warnings(launcher, "-n1", "--cpus", str(cpu))),
        "the other job's CPU is named",
    )
    inner = launcher.run("-n1", "--cpus", str(cpu), "true")
    assert inner.returncode == 0
    assert f"rank 0 is on CPU {cpu}, where another job runs already" in inner.stderr
    job.terminate()
    job.wait(60)
