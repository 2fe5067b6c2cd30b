# SPDX-License-Identifier: Apache-2.0
"""Which system calls a program makes, and from where: strace with stacks."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "getpgid(1397227521)", "getpgid(1397227522)"

CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?([a-z_0-9]+)(\(| resumed)")
FRAME = re.compile(r"^ > (\S+?)\((\w*)\+0x")


@dataclass(frozen=True)
class Call:
    """The `occurrence`th call of `syscall` in its thread; `site` are the functions around it, innermost first."""

    syscall: str
    occurrence: int
    site: tuple[str, ...]
    is_first_thread: bool


def recorded(log: Path, binary: str, window: bool, within: str) -> list[Call]:
    """The calls that a thread made below the function `within`; between the marks, if there is a window.

    The sites are of functions in `binary`; other libraries count by their names.
    """
    calls, counts, unfinished = [], Counter(), {}
    is_open, current, first = not window, None, None
    for line in log.read_text(errors="replace").splitlines():
        frame, call = FRAME.match(line), CALL.match(line)
        if frame and current:
            current[2].append(frame.groups())
        elif call:
            thread, name, resumed = call[1], call[2], call[3] != "("
            first = first or thread
            if window and (BEGIN in line or END in line):
                is_open = BEGIN in line
            if not resumed:
                counts[thread, name] += 1
                current = (thread, name, [], counts[thread, name])
                if is_open:
                    calls.append(current)
                if "<unfinished" in line:
                    unfinished[thread] = current
            else:
                current = unfinished.pop(thread, None)
    return [
        Call(name, number, site_of(frames, binary), thread == first)
        for thread, name, frames, number in calls
        if not within or any(function == within for _, function in frames)
    ]


def site_of(frames: list[tuple[str, str]], binary: str) -> tuple[str, ...]:
    names = []
    for file, function in frames:
        name = function if file.endswith(binary) else Path(file).name.split(".so")[0]
        if name and name != "libc" and (not names or names[-1] != name):
            names.append(name)
    return tuple(names)


def chosen(calls: list[Call], most: int, sites: int) -> list[Call]:
    """Of each system call the first ones at each site, of `sites` sites that lie evenly over the run."""
    seen: Counter = Counter()
    of_syscall: dict[str, list[Call]] = {}
    for call in calls:
        key = (call.syscall, call.site[:4])
        seen[key] += 1
        if seen[key] <= most:
            of_syscall.setdefault(call.syscall, []).append(call)
    out = []
    for found in of_syscall.values():
        places = list(dict.fromkeys(call.site[:4] for call in found))
        kept = set(places[:: max(1, -(-len(places) // sites))])
        out += [call for call in found if call.site[:4] in kept]
    return out
