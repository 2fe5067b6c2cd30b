# SPDX-License-Identifier: Apache-2.0
"""Writes the XML topologies of this folder: machines that hwloc's synthetic notation cannot say.

Nodes of different sizes, memory beside or without CPUs, kinds of cores, distances, cpusets. Run it after a change:

    python tests/configs/topologies/make.py
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GIB = 1 << 30


@dataclass
class Memory:
    number: int
    gib: int
    subtype: str = ""


@dataclass
class Part:
    """An object of the machine, with what is in it. Cores have the numbers of their CPUs instead of parts."""

    kind: str
    parts: list[Part] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    cpus: list[int] = field(default_factory=list)
    mib: int = 0

    def all_cpus(self) -> set[int]:
        return set(self.cpus).union(*(part.all_cpus() for part in self.parts))

    def all_nodes(self) -> set[int]:
        return {node.number for node in self.memory}.union(*(part.all_nodes() for part in self.parts))


@dataclass
class Machine:
    about: str
    parts: list[Part]
    memory: list[Memory] = field(default_factory=list)
    distances: list[list[int]] = field(default_factory=list)
    kinds: list[tuple[str, set[int]]] = field(default_factory=list)  # the slowest first
    allowed_cpus: set[int] | None = None
    allowed_nodes: set[int] | None = None


def mask(numbers: set[int]) -> str:
    """As hwloc writes sets: words of 32 bits, the highest first, nothing for a zero in front of others."""
    value = sum(1 << number for number in numbers)
    words = [value >> at & 0xFFFFFFFF for at in range(0, max(value.bit_length(), 1), 32)]
    texts = [f"0x{word:08x}" if word else "" for word in words]
    texts[0] = texts[0] or "0x0"
    return ",".join(reversed(texts))


class Writer:
    def __init__(self, machine: Machine):
        self.machine = machine
        self.lines = ['<?xml version="1.0" encoding="UTF-8"?>']
        self.indexes = {"gp": 0}

    def index(self, kind: str) -> int:
        self.indexes[kind] = self.indexes.get(kind, -1) + 1
        return self.indexes[kind]

    def open(self, depth: int, kind: str, cpus: set[int], nodes: set[int], more: str = "", end: str = ">") -> None:
        sets = f'cpuset="{mask(cpus)}" complete_cpuset="{mask(cpus)}"'
        sets += f' nodeset="{mask(nodes)}" complete_nodeset="{mask(nodes)}"'
        self.lines.append(f'{"  " * depth}<object type="{kind}"{more} {sets} gp_index="{self.index("gp")}"{end}')

    def write_memory(self, depth: int, nodes: list[Memory], cpus: set[int]) -> None:
        for node in nodes:
            more = f' os_index="{node.number}"'
            more += f' subtype="{node.subtype}"' if node.subtype else ""
            more += f' local_memory="{node.gib * GIB}"'
            self.open(depth, "NUMANode", cpus, {node.number}, more, "/>")

    def write_part(self, depth: int, part: Part, above: set[int]) -> None:
        cpus, nodes = part.all_cpus(), part.all_nodes() or above
        more = ""
        if part.kind in ("Package", "Core"):
            more = f' os_index="{self.index(part.kind)}"'
        elif part.kind == "L3Cache":
            more = (
                f' cache_size="{part.mib << 20}" depth="3" cache_linesize="64" cache_associativity="0" cache_type="0"'
            )
        elif part.kind == "Group":
            more = ' kind="0" subkind="0"'
        self.open(depth, part.kind, cpus, nodes, more)
        self.write_memory(depth + 1, part.memory, cpus)
        for inner in part.parts:
            self.write_part(depth + 1, inner, {node.number for node in part.memory} or above)
        for cpu in part.cpus:
            self.open(depth + 1, "PU", {cpu}, nodes, f' os_index="{cpu}"', "/>")
        self.lines.append("  " * depth + "</object>")

    def write_distances(self) -> None:
        rows = self.machine.distances
        numbers = " ".join(str(i) for i in range(len(rows)))
        self.lines.append(
            f'  <distances2 type="NUMANode" nbobjs="{len(rows)}" kind="5" name="NUMALatency" indexing="os">'
        )
        self.lines.append(f'    <indexes length="{len(numbers) + 1}">{numbers} </indexes>')
        for row in rows:
            values = " ".join(map(str, row))
            self.lines.append(f'    <u64values length="{len(values) + 1}">{values} </u64values>')
        self.lines.append("  </distances2>")

    def text(self) -> str:
        m = self.machine
        whole = Part("Machine", m.parts, m.memory)
        cpus, nodes = whole.all_cpus(), whole.all_nodes()
        self.lines.append(f"<!-- SPDX-License-Identifier: Apache-2.0\n     {m.about} Written by make.py. -->")
        self.lines.append('<!DOCTYPE topology SYSTEM "hwloc2.dtd">')
        self.lines.append('<topology version="2.0">')
        allowed = f' allowed_cpuset="{mask(m.allowed_cpus if m.allowed_cpus is not None else cpus)}"'
        allowed += f' allowed_nodeset="{mask(m.allowed_nodes if m.allowed_nodes is not None else nodes)}"'
        self.open(1, "Machine", cpus, nodes, ' os_index="0"' + allowed)
        self.write_memory(2, m.memory, cpus)
        for part in m.parts:
            self.write_part(2, part, {node.number for node in m.memory})
        self.lines.append("  </object>")
        if m.distances:
            self.write_distances()
        for speed, (kind, members) in enumerate(m.kinds):
            self.lines.append(f'  <cpukind cpuset="{mask(members)}" forced_efficiency="{speed}">')
            self.lines.append(f'    <info name="CoreType" value="{kind}"/>')
            self.lines.append("  </cpukind>")
        self.lines.append("</topology>")
        return "\n".join(self.lines) + "\n"


def cores(first: int, count: int, siblings: int = 1, apart: int = 0) -> list[Part]:
    """Cores with CPUs first, first + apart, ...: as Linux numbers siblings on x86."""
    return [Part("Core", cpus=[first + i + s * apart for s in range(siblings)]) for i in range(count)]


def latencies(count: int, far) -> list[list[int]]:
    return [[10 if a == b else far(a, b) for b in range(count)] for a in range(count)]


def xeon6_snc3() -> Machine:
    packages, first, number = [], 0, 0
    for _ in range(2):
        groups = []
        for width in (43, 43, 42):
            groups.append(Part("Group", cores(first, width, 2, 256), [Memory(number, 128)]))
            first, number = first + width, number + 1
        packages.append(Part("Package", [Part("L3Cache", groups, mib=504)]))
    return Machine(
        "Two Xeon 6980P in SNC3: three nodes a socket, of 43, 43 and 42 cores; one L3 a socket is reported.",
        packages,
        distances=latencies(6, lambda a, b: 12 if a // 3 == b // 3 else 21),
    )


def xeon_max(clusters: int) -> Machine:
    packages, number, width = [], 0, 56 // clusters
    nodes = 2 * clusters
    for package in range(2):
        groups = []
        for _ in range(clusters):
            memory = [Memory(number, 256 // clusters), Memory(number + nodes, 64 // clusters, "HBM")]
            inside = cores(number * width, width, 2, 112)
            groups.append(Part("Group", inside, memory) if clusters > 1 else Part("L3Cache", inside, memory, mib=112))
            number += 1
        packages.append(Part("Package", [Part("L3Cache", groups, mib=112)] if clusters > 1 else groups))
        if clusters == 1:
            packages[package].memory, groups[0].memory = groups[0].memory, []

    def far(a: int, b: int) -> int:
        near = a % nodes // clusters == b % nodes // clusters
        same = a % nodes == b % nodes
        if a < nodes and b < nodes:
            return 12 if near else 21
        return 13 if same else 14 if near else 23

    mode = "SNC4" if clusters > 1 else "quadrant mode"
    return Machine(
        f"Two Xeon Max 9480 in {mode}, HBM flat: each node with CPUs has one of HBM beside it.",
        packages,
        distances=latencies(2 * nodes, far),
    )


def grace_hopper() -> Machine:
    chip = Part("Package", [Part("L3Cache", cores(0, 72), mib=114)], [Memory(0, 480)])
    chip.memory += [Memory(1, 96, "GPUMemory")] + [Memory(i, 0, "GPUMemory") for i in range(2, 9)]
    return Machine(
        "GH200: one Grace, whose GPU's memory is node 1; nodes 2 to 8 are there for GPU partitions and empty.",
        [chip],
        distances=latencies(9, lambda a, b: 80 if 0 in (a, b) else 255),
    )


def grace_superchip() -> Machine:
    return Machine(
        "Grace CPU Superchip: two sockets of 72 cores, one node each.",
        [Part("Package", [Part("L3Cache", cores(72 * i, 72), mib=114)], [Memory(i, 240)]) for i in range(2)],
        distances=latencies(2, lambda a, b: 40),
    )


def laptop() -> Machine:
    fast = [Part("Core", cpus=[2 * i, 2 * i + 1]) for i in range(6)]
    return Machine(
        "Core i7-12700H: six P cores with two CPUs each, eight E cores with one.",
        [Part("Package", [Part("L3Cache", fast + cores(12, 8), mib=24)], [Memory(0, 32)])],
        kinds=[("IntelAtom", set(range(12, 20))), ("IntelCore", set(range(12)))],
    )


def container() -> Machine:
    packages = [
        Part("Package", [Part("L3Cache", cores(32 * i, 32, 2, 64), mib=48)], [Memory(i, 256)]) for i in range(2)
    ]
    ours = {*range(2, 14), *range(66, 78)}
    return Machine(
        "A container with 12 whole cores of a server with two sockets of 32, and memory of the first node only.",
        packages,
        allowed_cpus=ours,
        allowed_nodes={0},
        distances=latencies(2, lambda a, b: 20),
    )


def half_siblings() -> Machine:
    packages = [Part("Package", [Part("L3Cache", cores(4 * i, 4, 2, 8), mib=16)], [Memory(i, 64)]) for i in range(2)]
    return Machine(
        "A cpuset that has one sibling of some cores, both of others, and the memory of the second node only.",
        packages,
        allowed_cpus={0, 1, 9, 10, 4, 5, 6, 14},
        allowed_nodes={1},
    )


def cxl() -> Machine:
    packages = [Part("Package", [Part("L3Cache", cores(8 * i, 8, 2, 16), mib=32)], [Memory(i, 128)]) for i in range(2)]
    packages[1].memory.append(Memory(2, 512, "CXL"))
    return Machine(
        "Two sockets of eight cores; a CXL card at the second one is node 2, which has no CPUs.",
        packages,
        distances=latencies(3, lambda a, b: {(0, 1): 21, (0, 2): 34, (1, 2): 24}[min(a, b), max(a, b)]),
    )


def uneven() -> Machine:
    return Machine(
        "Sockets of six and four cores; the first has two nodes, of five cores and of one.",
        [
            Part("Package", [Part("Group", cores(0, 5), [Memory(0, 32)]), Part("Group", cores(5, 1), [Memory(1, 32)])]),
            Part("Package", cores(6, 4), [Memory(2, 64)]),
        ],
        distances=latencies(3, lambda a, b: 21 if 2 in (a, b) else 12),
    )


MACHINES = {
    "xeon6-2s-snc3": xeon6_snc3,
    "xeon-max-2s-flat": lambda: xeon_max(1),
    "xeon-max-2s-flat-snc4": lambda: xeon_max(4),
    "grace-superchip": grace_superchip,
    "grace-hopper": grace_hopper,
    "laptop-hybrid": laptop,
    "container-cpuset": container,
    "half-siblings": half_siblings,
    "cxl": cxl,
    "uneven": uneven,
}

if __name__ == "__main__":
    for name, make in MACHINES.items():
        (Path(__file__).parent / f"{name}.xml").write_text(Writer(make()).text())
