#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lets every system call that the library and the launcher make fail, one at a time, and looks at what becomes of it.

A run is recorded first, with the stack of each call; then it is done again for each call and each errno that this
call may answer, with just that one failing. Allocations, closes and messages in part fail by a library to preload.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import failure_table
from errnos import errnos
from launches import LAUNCHES, Launches
from ranks import SCENARIOS, Ranks
from recording import chosen

LIBRARY_CALLS = ("malloc", "close", "sendmsg", "recvmsg", "read", "write")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, required=True, help="where inject_rank and libinject_faults.so are")
    parser.add_argument("--launcher", type=Path, required=True, help="shm-launch of the same build")
    parser.add_argument("--only", default="", help="scenarios, with commas; all where none are named")
    parser.add_argument("--syscalls", default="", help="no others than these")
    parser.add_argument("--per-site", type=int, default=2, help="of each system call from each place in the code")
    parser.add_argument("--sites", type=int, default=9999, help="of each system call, at most this many places")
    parser.add_argument("--errnos", type=int, default=99, help="of each call, at most this many")
    parser.add_argument("--every", type=int, default=1, help="of the failing allocations and the like, every n-th")
    parser.add_argument("--jobs", type=int, default=4, help="cases at once")
    parser.add_argument("--messages", type=Path, help="see that failures bring the messages of this table; no more")
    parser.add_argument("--told", type=Path, help="write there what victims were told")
    return parser.parse_args()


def can_record() -> bool:
    """strace is there, can tell stacks, and this kernel or container lets it trace."""
    try:
        return subprocess.run(["strace", "-k", "-o", "/dev/null", "true"], stdin=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return False


def cases_of(options, runner, scenario: str, folder: Path):
    """(what, label, function that runs it) for all cases of a scenario."""
    wanted = {name for name in options.syscalls.split(",") if name}
    runner.learn(scenario)
    calls = runner.calls(scenario, folder)
    if not calls:
        raise SystemExit(f"{scenario}: strace recorded no system call of the library or the launcher")
    for call in chosen(calls, options.per_site, options.sites):
        for error in errnos(call.syscall)[: options.errnos]:
            if not wanted or call.syscall in wanted:
                label = f"{scenario}: {call.syscall} #{call.occurrence} {error} in {' < '.join(call.site[:4])}"
                yield (
                    (call.syscall, error),
                    label,
                    lambda c=call, e=error: runner.fail_syscall(scenario, c, e, folder),
                )
    for kind in LIBRARY_CALLS:
        if wanted and kind not in wanted:
            continue
        what = "fails" if kind == "malloc" else "EINTR" if kind == "close" else "in part"
        for number in range(1, runner.count(scenario, kind) + 1, options.every):
            yield (
                (f"{kind}()", what),
                f"{scenario}: {kind}() #{number} {what}",
                lambda k=kind, n=number: runner.fail_library_call(scenario, k, n),
            )


class Tally:
    def __init__(self):
        self.done, self.results = Counter(), Counter()
        self.bad: list[str] = []
        self.told: list[str] = []

    def add(self, what, label: str, outcome) -> None:
        if not outcome.is_reached and not outcome.unclean:
            self.results["not reached"] += 1
            return
        self.done[what] += 1
        self.results["unclean" if outcome.unclean else outcome.result] += 1
        if outcome.unclean:
            self.bad.append(label + "\n    " + "\n    ".join(outcome.unclean))
        elif outcome.texts:
            self.told.append("\n    ".join((label, *outcome.texts)))

    def show(self) -> None:
        by_call: dict[str, list[str]] = {}
        for (call, error), count in sorted(self.done.items()):
            by_call.setdefault(call, []).append(f"{error} {count}")
        for call, counts in by_call.items():
            print(f"  {call:18} {', '.join(counts)}")
        counts = self.results
        print(
            f"{sum(self.done.values())} failures of {len(by_call)} calls: {counts['ok']} without effect on the result,"
        )
        print(f"{counts['error']} told as an error, {len(self.bad)} not clean; ", end="")
        print(f"{counts['not reached']} more did not come to their call")


def run(options) -> int:
    tally, begun = Tally(), time.monotonic()
    ranks = Ranks((options.programs / "inject_rank").resolve(), (options.programs / "libinject_faults.so").resolve())
    launches = Launches(options.launcher.resolve(), ranks.library)
    if options.messages:
        return failure_table.check(options.messages, ranks, launches, options.jobs)
    only = [name for name in options.only.split(",") if name] or [*SCENARIOS, *LAUNCHES]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.jobs) as pool:
        for scenario in only:
            runner = launches if scenario in LAUNCHES else ranks
            cases = list(cases_of(options, runner, scenario, Path(name)))
            for (what, label, _), outcome in zip(cases, pool.map(lambda case: case[2](), cases), strict=True):
                tally.add(what, label, outcome)
                if outcome.unclean:
                    print(tally.bad[-1], flush=True)
            print(f"{scenario}: {len(cases)} cases, {time.monotonic() - begun:.0f} s so far", flush=True)
    tally.show()
    if options.told:
        options.told.write_text("\n".join(sorted(tally.told)) + "\n")
    wanted = set(options.syscalls.split(",")) - {""}
    # Of what fails by the preloaded library only malloc() is asked for without a system call of that name.
    if wanted != {"malloc"} and all(name.endswith("()") for name, _ in tally.done):
        print("no system call failed: strace injected nothing")
        return 1
    return 1 if tally.bad or not tally.done else 0


if __name__ == "__main__":
    if not can_record():
        print("skipped: strace -k can't trace here; it is in requirements/debian.txt, and needs ptrace to be allowed")
        sys.exit(77)
    sys.exit(run(parsed()))
