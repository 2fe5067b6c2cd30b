# SPDX-License-Identifier: Apache-2.0
"""Where processes are, from /proc; and where the plan that they were given says."""

from __future__ import annotations

import json
import re
from pathlib import Path


def numbers(text: str) -> set[int]:
    """The set that the kernel writes as "0-3,8"."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def environment(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def status(path: Path) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)


def masks(pid: int) -> dict[int, set[int]]:
    """The CPUs that each thread of a process may run on."""
    folders = Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name): numbers(status(task / "status")["Cpus_allowed_list"]) for task in folders}


def own_pages(pid: int) -> dict[int, int]:
    """Pages of heap, stacks and anonymous memory on each node; {} where the kernel does not say."""
    pages: dict[int, int] = {}
    try:
        lines = Path(f"/proc/{pid}/numa_maps").read_text().splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        if " file=" not in line:
            for node, count in re.findall(r" N(\d+)=(\d+)", line):
                pages[int(node)] = pages.get(int(node), 0) + int(count)
    return pages


def planned(pid: int) -> dict:
    """What the plan says about the rank that this process belongs to."""
    variables = environment(pid)
    return json.loads(variables["SHM_LAUNCH_PLAN"])["ranks"][int(variables["LOCAL_RANK"])]
