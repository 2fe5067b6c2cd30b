# SPDX-License-Identifier: Apache-2.0
"""The table that says which failure brings which message, and whether it does."""

from __future__ import annotations

import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launches import LAUNCHES


def rows(table: Path) -> list[list[str]]:
    lines = [line for line in table.read_text().splitlines() if line and not line.startswith("#")]
    return [[word.strip() for word in line.split(" | ")] for line in lines]


def pattern(message: str) -> re.Pattern:
    """{name} stands for anything."""
    return re.compile(".+".join(re.escape(part) for part in re.split(r"\{\w+\}", message)))


def outcomes_of(row: list[str], runner, calls, folder: Path, pool) -> list:
    scenario, call, function, error, _ = row
    if call.endswith("()"):
        numbers = range(1, runner.count(scenario, call[:-2]) + 1)
        return list(pool.map(lambda n: runner.fail_library_call(scenario, call[:-2], n), numbers))
    found = [c for c in calls if c.syscall == call and function in c.site]
    return list(pool.map(lambda c: runner.fail_syscall(scenario, c, error, folder), found[:2]))


def check(table: Path, ranks, launches, jobs: int) -> int:
    """Of an allocation any one may bring the message; of another call the first or second from that function."""
    recorded, counted, missing = {}, {}, 0
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        folder = Path(name)
        for row in rows(table):
            scenario, call = row[:2]
            runner = launches if scenario in LAUNCHES else ranks
            if scenario not in recorded:
                runner.learn(scenario)
                recorded[scenario] = runner.calls(scenario, folder)
            if not call.endswith("()") or (scenario, call) not in counted:
                counted[scenario, call] = outcomes_of(row, runner, recorded[scenario], folder, pool)
            told = [text for outcome in counted[scenario, call] for text in outcome.texts]
            unclean = [text for outcome in counted[scenario, call] for text in outcome.unclean]
            if not any(pattern(row[-1]).match(text) for text in told) or unclean:
                print(f"{' | '.join(row)}\n    was not told in {len(counted[scenario, call])} cases:", told, unclean)
                missing += 1
    print(f"{len(rows(table)) - missing} of {len(rows(table))} messages were told")
    return 1 if missing else 0
