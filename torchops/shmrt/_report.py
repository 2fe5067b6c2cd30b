# SPDX-License-Identifier: Apache-2.0
"""What a rank can say about itself: where it runs, where its memory lies, what it has done."""

import os
import socket
from typing import Any

from . import _C
from ._fused import fusions

_POOL_WORDS = {"used": "used", "peak": "at most", "taken": "taken from the system", "limit": "allowed"}


class Report(dict[str, Any]):
    """A dict whose ``str()`` is a few lines for a person."""

    def __str__(self) -> str:
        return "\n".join(
            (
                f"rank {self['rank']} of {self['size']}  pid {self['pid']} on {self['host']}",
                f"  runs on   CPUs {ranges(self['affinity'])}, {self['lanes']} lane(s), kernel {self['kernel']}",
                f"  memory    {_memory(self)}",
                f"  pool      {_pool(self['pool'])}",
                f"  tuning    {self['tuning']}",
            )
        )


def stats() -> dict[str, Any]:
    """What this rank has done since init(), as a dict.

    calls, bytes:     collectives completed (barriers too), and bytes of this rank's terms
    oneshot_calls, pipelined_calls:  of calls, by algorithm
    shared_calls:     of calls, those that used tensors of this rank where they lie, in the pool
    seconds:          spent inside all-reduce, waiting for others included, by a clock around each
    wait_seconds:     time lost in waits, and late_seconds the part of it until the late rank came
    sleeps:           how often a wait went to sleep
    operators:        calls completed, by operator
    fallbacks:        calls that took a longer way than they might have, by reason
    pool:             bytes of the memory behind empty() and results: its limit, taken from the system
                      so far, used by tensors now, their peak; and how often it refused one
    traffic:          three lists by rank: groups, the number of each rank's group (see SHMRT_GROUPS);
                      read_from and written_to, bytes of each other rank's memory that this one moved
    fusions:          in graphs compiled by this process: all-reduces with a norm that became one operator
    """
    return _C.stats() | {"fusions": fusions()}


def report() -> Report:
    """Where this rank and its shared memory are, asked of the kernel now; ``print()`` it.

    affinity is the list of CPUs this process may run on. pages counts this rank's shared memory;
    pages_on_node of them lie on `nodes`, the NUMA nodes of that affinity; of pages_unknown the
    kernel would not tell (verify_errno then says why). bound: the memory was bound to those nodes,
    otherwise first touch put it there. tuning: the sizes at which algorithms change, and where these
    are from. pool: as in stats().
    """
    return Report(_C.facts(), pid=os.getpid(), host=socket.gethostname(), affinity=sorted(os.sched_getaffinity(0)))


def ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] as "0-2,5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _pool(pool: dict[str, int]) -> str:
    if not pool["limit"]:
        return "off"
    return ", ".join(f"{pool[what] / 2**20:.1f} MiB {word}" for what, word in _POOL_WORDS.items())


def _memory(facts: Report) -> str:
    how = "bound" if facts["bound"] else "by first touch"
    nodes = ranges(facts["nodes"]) or "?"
    known = facts["pages"] - facts["pages_unknown"]
    if known == 0:
        reason = os.strerror(facts["verify_errno"]) if facts["verify_errno"] else "it gave no reason"
        return f"{facts['pages']} pages, {how}; the kernel does not say where ({reason})"
    return f"{facts['pages_on_node']} of {facts['pages']} pages on NUMA node {nodes}, {how}"
