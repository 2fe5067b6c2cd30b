# SPDX-License-Identifier: Apache-2.0
"""What a rank can say about itself: where it runs, where its memory lies, what it has done."""

import os
import socket
from typing import Any

from . import _C, _backend
from ._errors import Error
from ._fused import fusions


class Report(dict[str, Any]):
    """A dict whose ``str()`` is a few lines for a person, those of shmrt_comm_report()."""

    def __str__(self) -> str:
        return str(self["text"]).rstrip("\n")


def stats() -> dict[str, Any]:
    """What this rank has done since init(), as a dict.

    calls, bytes:     collectives completed (barriers too), and bytes of this rank's terms
    oneshot_calls, pipelined_calls:  of calls, by algorithm
    shared_calls:     of calls, those that used tensors of this rank where they lie, in the pool
    seconds:          spent inside all-reduce, waiting for others included, by a clock around each
    wait_seconds:     time lost in waits, and late_seconds the part of it until the late rank came
    late_by_rank:     late_seconds as a list, by the rank that was late
    sleeps:           how often a wait went to sleep
    operators:        calls completed, by operator
    fallbacks:        calls that took a longer way than they might have, by reason
    pool:             bytes of the memory behind empty() and results: its limit, taken from the system
                      so far, used by tensors now, their peak; and how often it refused one
    traffic:          three lists by rank: groups, the number of each rank's group (see SHMRT_GROUPS);
                      read_from and written_to, bytes of each other rank's memory that this one moved
    groups:           by name, each process group of the backend or of attach(): calls, bytes, waiting and
                      late_by_rank of this machine's ranks, fallbacks, and across, what went to other machines
    c10d:             operations of process groups of the backend shmrt: native, by kind, and fallback, by
                      reason, those that another engine did
    fusions:          in graphs compiled by this process: all-reduces with a norm that became one operator
    """
    try:
        own = _C.stats()
    except Error:  # no init(): there may be process groups all the same
        if not _backend.has_made_groups():
            raise
        own = {}
    groups = {name: _C.group_stats(name) for name in _C.group_names()}
    return own | {"groups": groups, "c10d": _backend.counts(), "fusions": fusions()}


def report() -> Report:
    """Where this rank and its shared memory are, asked of the kernel now; ``print()`` it.

    affinity is the list of CPUs this thread may run on, cpu_nodes their NUMA nodes; moved: they were
    others when the memory was taken. pages counts this rank's segment, through which collectives go;
    pages_on_node of them lie on `nodes`, where they belong; of pages_unknown the kernel would not tell
    (verify_errno then says why). Each has page_bytes; huge_bytes of all are in huge pages. bound: the
    memory was bound to those nodes, otherwise first touch put it there. pool_pages and its kin say
    the same of what has been taken of the pool. tuning: the sizes at which algorithms change, and
    where these are from. pool: as in stats(). text: what str() gives; it also tells where every rank is,
    which it does after a failure too, until finalize().
    """
    return Report(_C.facts(), pid=os.getpid(), host=socket.gethostname(), affinity=sorted(os.sched_getaffinity(0)))
