# SPDX-License-Identifier: Apache-2.0
"""What Gloo passes, shmrt must pass: pure functions from outcomes to a verdict, a table and counts."""

from collections import Counter
from pathlib import Path

from forking import FAILED, PASSED, SKIPPED, Outcome

STATES = (PASSED, FAILED, SKIPPED)


def read_expected(path: Path) -> dict[str, str]:
    """The tests that Gloo passes and shmrt does not, each with its reason: 'Class.test: reason' lines."""
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition(": ") for line in lines if line and not line.startswith("#"))
    return {test: reason for test, _, reason in pairs}


def state_of(test: str, found: dict[str, dict[str, Outcome]], backend: str) -> str:
    """A test that Gloo passes and `backend` skips has failed there."""
    outcome = found[backend].get(test)
    if outcome is None:
        return FAILED
    gloo = found.get("gloo", {}).get(test)
    if outcome.state == SKIPPED and gloo is not None and gloo.state == PASSED:
        return FAILED
    return outcome.state


def compare(found: dict[str, dict[str, Outcome]], expected: dict[str, str], whole: bool) -> list[str]:
    """One line for each test that fails without standing in the list, or stands in it without need."""
    if "shmrt" not in found or "gloo" not in found:
        return []
    problems = []
    for test in sorted(found["gloo"].keys() | found["shmrt"].keys()):
        gloo, ours = state_of(test, found, "gloo"), state_of(test, found, "shmrt")
        if ours == PASSED and test in expected:
            problems.append(f"{test} passes now: take it out of the list of expected differences")
        elif ours == FAILED and gloo == PASSED and test not in expected:
            problems.append(f"{test} fails, and Gloo passes it: {reason_of(test, found)}")
        elif ours == FAILED and gloo == SKIPPED:
            problems.append(f"{test} fails, and Gloo skips it: {reason_of(test, found)}")
    if whole:
        problems += [
            f"{test} is in the list of expected differences, but is no test"
            for test in expected
            if test not in found["gloo"]
        ]
    return problems


def reason_of(test: str, found: dict[str, dict[str, Outcome]]) -> str:
    for backend in ("shmrt", "gloo"):
        outcome = found.get(backend, {}).get(test)
        if outcome is not None and outcome.state != PASSED:
            return outcome.reason
    return ""


def table(found: dict[str, dict[str, Outcome]]) -> str:
    tests = sorted(set().union(*(outcomes.keys() for outcomes in found.values())))
    rows = [("test", *found, "reason")]
    rows += [(test, *(state_of(test, found, backend) for backend in found), reason_of(test, found)) for test in tests]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


def summary(found: dict[str, dict[str, Outcome]]) -> str:
    """One line for each backend: passed, failed, skipped."""
    lines = []
    for backend, outcomes in found.items():
        counts = Counter(state_of(test, found, backend) for test in outcomes)
        numbers = ", ".join(f"{counts[state]} {state}" for state in STATES)
        seconds = sum(outcome.seconds for outcome in outcomes.values())
        lines.append(f"{backend}: {len(outcomes)} tests: {numbers} ({seconds:.0f} s of tests)")
    return "\n".join(lines)
