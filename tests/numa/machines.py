# SPDX-License-Identifier: Apache-2.0
"""The machines that the guests are, as QEMU takes them. What runs in each is in checks/NAME.sh."""

from __future__ import annotations

from dataclasses import dataclass, field

HOTPLUG_MIB = 256


@dataclass(frozen=True)
class Machine:
    name: str
    smp: str
    nodes: tuple[tuple[str, int], ...]  # CPUs ("" for none) and MiB (0 for none)
    distances: dict[tuple[int, int], int] = field(default_factory=dict)
    kernel_words: str = ""
    hotplug_nodes: tuple[int, ...] = ()  # a module of HOTPLUG_MIB on each, offline at the start

    def arguments(self) -> list[str]:
        mib = sum(mib for _, mib in self.nodes)
        words = ["-smp", self.smp, "-m", f"{mib}M,slots=4,maxmem={mib + 4 * HOTPLUG_MIB}M"]
        for number, (cpus, mib) in enumerate(self.nodes):
            node = f"node,nodeid={number}" + (f",cpus={cpus}" if cpus else "")
            if mib:
                words += ["-object", f"memory-backend-ram,size={mib}M,id=m{number}"]
                node += f",memdev=m{number}"
            words += ["-numa", node]
        for (a, b), distance in self.distances.items():
            words += ["-numa", f"dist,src={a},dst={b},val={distance}"]
        for number in self.hotplug_nodes:
            words += ["-object", f"memory-backend-ram,size={HOTPLUG_MIB}M,id=h{number}"]
            words += ["-device", f"pc-dimm,id=dimm{number},memdev=h{number},node={number}"]
        return words


def two_sockets(per_socket: int, inside: int, across: int) -> dict[tuple[int, int], int]:
    """Distances between the nodes of two sockets."""
    nodes = range(2 * per_socket)
    return {(a, b): inside if a // per_socket == b // per_socket else across for a in nodes for b in nodes if a < b}


MACHINES = (
    Machine("two", "4,sockets=2,cores=2,threads=1", (("0-1", 768), ("2-3", 768)), {(0, 1): 21}),
    # Node 3 has memory only, as CXL memory does; node 0 is nearest to it.
    Machine(
        "four",
        "8,sockets=2,cores=4,threads=1",
        (("0-3", 512), ("4-5", 512), ("6-7", 512), ("", 512)),
        {(0, 1): 21, (0, 2): 21, (0, 3): 17, (1, 2): 12, (1, 3): 28, (2, 3): 28},
    ),
    # Sub-NUMA clusters: sockets of three nodes each.
    Machine(
        "six",
        "12,sockets=2,cores=6,threads=1",
        tuple((f"{2 * node}-{2 * node + 1}", 512) for node in range(6)),
        two_sockets(3, 12, 21),
    ),
    # Nodes 1 and 3 get memory only when it is brought online; node 1 has CPUs all the same.
    Machine(
        "odd",
        "6,sockets=3,cores=2,threads=1",
        (("0-1", 512), ("2-3", 0), ("4-5", 512), ("", 0)),
        {(0, 1): 20, (0, 2): 30, (0, 3): 30, (1, 2): 15, (1, 3): 30, (2, 3): 20},
        "memhp_default_state=offline",
        hotplug_nodes=(1, 3),
    ),
)
