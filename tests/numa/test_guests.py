# SPDX-License-Identifier: Apache-2.0
"""Placement on machines with several NUMA nodes: guests of QEMU, with a real kernel. Each check is a line of
checks/NAME.sh; a test looks at how it ended in there."""

import re
from pathlib import Path

import pytest
from machines import MACHINES


def checks_of(name: str) -> list[str]:
    text = (Path(__file__).parent / "checks" / f"{name}.sh").read_text()
    return re.findall(r"^check (\w+)", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("machine", "check"),
    [
        pytest.param(machine, check, id=f"{machine.name}-{check}")
        for machine in MACHINES
        for check in checks_of(machine.name)
    ],
)
def test_guest(guests, machine, check):
    run = guests.run(machine)
    outcome = run.checks.get(check)
    if outcome is None or outcome.code is None:
        pytest.fail("\n".join([f"not finished: {run.ended}", *run.lines[-60:]]), pytrace=False)
    if outcome.code != 0:
        pytest.fail("\n".join([f"ended with {outcome.code}", *outcome.lines]), pytrace=False)
