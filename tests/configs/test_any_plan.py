# SPDX-License-Identifier: Apache-2.0
"""Any machine and any request, through options, configuration and JSON: a plan that keeps its promises, or one line
that says why there is none.

tests/topo has the planner's own property test, in C; this one knows nothing of the planner but what it says.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from planning import TOPOLOGIES, ask

sys.path.insert(0, str(TOPOLOGIES))
import make

RANKS_MAX = 64
CPUS_MAX = 192


@dataclass(frozen=True)
class Machine:
    """A synthetic machine, CPUs numbered as they lie: what is where follows by division."""

    packages: int
    nodes: int  # a package
    l3s: int  # a node; 0: none are reported
    cores: int  # an L3, or a node without
    cpus: int  # a core
    memory_beside: bool  # a node without CPUs beside each one with

    def topology(self, folder: Path) -> str:
        beside = " [numa(memory=4GB)]" if self.memory_beside else ""
        l3 = f" l3:{self.l3s}" if self.l3s else ""
        group = f" group:{self.nodes}" if self.nodes > 1 else ""
        return f"pack:{self.packages}{group} [numa(memory=64GB)]{beside}{l3} core:{self.cores} pu:{self.cpus}"

    @property
    def core_count(self) -> int:
        return self.packages * self.nodes * max(self.l3s, 1) * self.cores

    @property
    def cpu_count(self) -> int:
        return self.core_count * self.cpus

    @property
    def nodes_with_cpus(self) -> list[int]:
        return [i * (1 + self.memory_beside) for i in range(self.packages * self.nodes)]

    @property
    def nodes_of_memory(self) -> list[int]:
        return [i + 1 for i in self.nodes_with_cpus] if self.memory_beside else []

    @property
    def allowed_cpus(self) -> set[int]:
        return set(range(self.cpu_count))

    @property
    def giving_nodes(self) -> set[int]:
        return {*self.nodes_with_cpus, *self.nodes_of_memory}

    def core_of(self, cpu: int) -> int:
        return cpu // self.cpus

    def node_of(self, cpu: int) -> int:
        return self.nodes_with_cpus[cpu * self.packages * self.nodes // self.cpu_count]

    def package_of(self, cpu: int) -> int:
        return cpu * self.packages // self.cpu_count


machines = st.builds(
    Machine,
    packages=st.integers(1, 4),
    nodes=st.integers(1, 3),
    l3s=st.integers(0, 3),
    cores=st.integers(1, 9),
    cpus=st.sampled_from([1, 2, 2, 4]),
    memory_beside=st.booleans(),
).filter(lambda machine: machine.cpu_count <= CPUS_MAX)


@dataclass(frozen=True)
class Node:
    cores: int
    gives: bool  # has memory, which the cpuset allows
    hbm: bool  # another node beside it, without CPUs


@dataclass(frozen=True)
class UnevenMachine:
    """A machine as XML: nodes of different sizes, some without memory, and a cpuset; siblings far apart."""

    packages: tuple[tuple[Node, ...], ...]
    siblings: int
    forbidden: frozenset[int]  # CPUs, as far as they are there

    @property
    def nodes(self) -> list[Node]:
        return [node for package in self.packages for node in package]

    @property
    def core_count(self) -> int:
        return sum(node.cores for node in self.nodes)

    @property
    def cpu_count(self) -> int:
        return self.core_count * self.siblings

    @property
    def allowed_cpus(self) -> set[int]:
        return set(range(self.cpu_count)) - self.forbidden or {0}

    @property
    def nodes_with_cpus(self) -> list[int]:
        return list(range(len(self.nodes)))

    @property
    def nodes_of_memory(self) -> list[int]:
        return [len(self.nodes) + i for i, node in enumerate(self.nodes) if node.hbm]

    @property
    def giving_nodes(self) -> set[int]:
        return {i for i, node in enumerate(self.nodes) if node.gives} | set(self.nodes_of_memory)

    def core_of(self, cpu: int) -> int:
        return cpu % self.core_count

    def node_of(self, cpu: int) -> int:
        core, number = self.core_of(cpu), 0
        while core >= self.nodes[number].cores:
            core -= self.nodes[number].cores
            number += 1
        return number

    def package_of(self, cpu: int) -> int:
        number, package = self.node_of(cpu), 0
        while number >= len(self.packages[package]):
            number -= len(self.packages[package])
            package += 1
        return package

    def topology(self, folder: Path) -> str:
        packages, core, number = [], 0, 0
        for nodes in self.packages:
            groups = []
            for node in nodes:
                memory = [make.Memory(number, 32)]
                memory += [make.Memory(len(self.nodes) + number, 8, "HBM")] * node.hbm
                groups.append(make.Part("Group", make.cores(core, node.cores, self.siblings, self.core_count), memory))
                core, number = core + node.cores, number + 1
            packages.append(make.Part("Package", groups))
        machine = make.Machine("Any.", packages, allowed_cpus=self.allowed_cpus, allowed_nodes=self.giving_nodes)
        (folder / "machine.xml").write_text(make.Writer(machine).text())
        return "machine.xml"


some_nodes = st.builds(Node, cores=st.integers(1, 7), gives=st.sampled_from([True, True, False]), hbm=st.booleans())
uneven_machines = st.builds(
    UnevenMachine,
    packages=st.lists(st.lists(some_nodes, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple),
    siblings=st.integers(1, 2),
    forbidden=st.frozensets(st.integers(0, 60), max_size=40),
)


@dataclass
class Request:
    machine: Machine | UnevenMachine
    options: dict[str, str]
    in_file: set[str] = field(default_factory=set)  # the others are on the command line

    @property
    def words(self) -> list[str]:
        return [f"--{name}={value}" for name, value in self.options.items() if name not in self.in_file]

    @property
    def file(self) -> str:
        return "description: of a test\n" + "".join(f"{name}: {self.options[name]}\n" for name in sorted(self.in_file))

    def number(self, name: str, otherwise: int) -> int:
        return int(self.options.get(name, otherwise))


def listed(numbers) -> str:
    return ",".join(map(str, sorted(numbers)))


@st.composite
def requests(draw, always: frozenset[str] = frozenset()) -> Request:
    """Some options of all, and those that are @always there."""
    machine = draw(machines | uneven_machines)
    some_cpus = st.sets(st.integers(0, machine.cpu_count + 2), min_size=1).map(listed)
    listed_nodes = st.sets(st.integers(0, max(machine.nodes_with_cpus) + 1), min_size=1).map(listed)
    possible = {
        "ranks": st.integers(1, RANKS_MAX),
        "per": st.sampled_from(["spread", "socket", "numa", "l3", "core"]),
        "cores-per-rank": st.integers(1, 12),
        "threads-per-core": st.integers(1, 4),
        "reserve": st.integers(0, 4),
        "cpus": some_cpus,
        "nodes": listed_nodes,
        "mem": st.sampled_from(["bind", "prefer", "interleave", "local"]),
        "tier": st.sampled_from(["dram", "hbm", "cxl", "any"]),
        "rank-order": st.sampled_from(["near", "cyclic"]),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(possible)), max_size=6)) if not always else set()
    chosen |= always | {draw(st.sampled_from(["ranks", "per"]))}
    options = {name: str(draw(possible[name])) for name in sorted(chosen)}
    return Request(machine, options, draw(st.sets(st.sampled_from(sorted(chosen)))))


def members(text: str) -> set[int]:
    ranges = [part.partition("-") for part in text.split(",") if part]
    return {number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)}


def check_places(request: Request, ranks: list[dict], warnings: list[str]) -> None:
    """Allowed CPUs only, no core twice, and the places that go with the CPUs."""
    machine = request.machine
    allowed = members(request.options.get("cpus", f"0-{machine.cpu_count - 1}"))
    nodes = members(request.options.get("nodes", f"0-{max(machine.nodes_with_cpus)}"))
    usable = {cpu for cpu in allowed & machine.allowed_cpus if machine.node_of(cpu) in nodes}
    cores = [members(rank["cores"]) for rank in ranks]
    for rank, own in zip(ranks, cores, strict=True):
        cpus = members(rank["cpus"])
        assert cpus and cpus <= usable
        assert own == {machine.core_of(cpu) for cpu in cpus}
        assert members(rank["nodes"]) == {machine.node_of(cpu) for cpu in cpus}
        assert members(rank["packages"]) == {machine.package_of(cpu) for cpu in cpus}
        assert rank["node"] in members(rank["nodes"]) and rank["package"] in members(rank["packages"])
    in_use = set().union(*cores)
    if len(ranks) <= len({machine.core_of(cpu) for cpu in usable}):
        assert sum(map(len, cores)) == len(in_use), "a core belongs to two ranks"
    else:
        assert any("share" in text for text in warnings)
    widths = {len(own) for own in cores}
    assert max(widths) - min(widths) <= 1
    if "cores-per-rank" in request.options:
        assert widths == {request.number("cores-per-rank", 0)}


def check_threads(request: Request, rank: dict) -> None:
    machine, most = request.machine, request.number("threads-per-core", 0)
    reserved, cpus = members(rank["reserved"]), members(rank["cpus"])
    assert len(reserved) == request.number("reserve", 0) and reserved < members(rank["cores"]) | {-1}
    per_core = [sum(machine.core_of(cpu) == core for cpu in cpus) for core in members(rank["cores"]) - reserved]
    assert rank["threads"] == sum(min(most or 1, count) for count in per_core)
    assert not most or max(per_core) <= most


def check_memory(request: Request, rank: dict) -> None:
    """Every rank has memory, of the tier that was asked for and none that was ruled out."""
    machine, memory = request.machine, rank["memory"]
    tier = request.options.get("tier", "dram")
    of_tier = {
        "dram": set(machine.nodes_with_cpus),
        "any": {*machine.nodes_with_cpus, *machine.nodes_of_memory},
    }.get(tier, set(machine.nodes_of_memory))
    giving = machine.giving_nodes & of_tier
    if "nodes" in request.options:
        giving &= members(request.options["nodes"])
    wanted, nodes = request.options.get("mem", "bind"), members(memory["nodes"])
    assert rank["segment_node"] in machine.giving_nodes or not machine.giving_nodes
    if memory["policy"] == "local":
        assert wanted == "local" or not giving
        return
    assert memory["policy"] == wanted
    assert nodes and nodes <= giving
    assert rank["segment_node"] in nodes


def check_groups(ranks: list[dict]) -> None:
    """Groups are numbered in the order of ranks, one for each node and for each package."""
    for place, group in (("node", "node_group"), ("package", "package_group")):
        seen: dict[int, int] = {}
        for rank in ranks:
            assert rank[group] == seen.setdefault(rank[place], len(seen))


def check(request: Request, folder) -> None:
    event(type(request.machine).__name__)
    (folder / "c.yaml").write_text(request.file)
    result = ask(
        "plan",
        "--json",
        "--config",
        "c.yaml",
        "--topology",
        request.machine.topology(folder),
        *request.words,
        cwd=folder,
    )
    if result.returncode != 0:
        event("refused")
        assert (result.returncode, result.stdout) == (2, ""), result
        assert result.stderr.startswith("shm-launch: ") and result.stderr.count("\n") == 1 and len(result.stderr) > 40
        return
    event("planned")
    plan = json.loads(result.stdout)
    ranks = plan["ranks"]
    assert [rank["rank"] for rank in ranks] == list(range(len(ranks)))
    assert len(ranks) == request.number("ranks", len(ranks)) and ranks
    check_places(request, ranks, plan["warnings"])
    for rank in ranks:
        check_threads(request, rank)
        check_memory(request, rank)
    check_groups(ranks)


COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=200, derandomize=True, **COMMON)
@given(request=requests())
def test_any_request_has_a_sound_plan_or_a_reason(tmp_path_factory, request):
    check(request, tmp_path_factory.getbasetemp())


@settings(max_examples=150, derandomize=True, **COMMON)
@given(request=requests(frozenset({"nodes", "tier", "mem"})))
def test_any_request_for_memory_has_a_sound_plan_or_a_reason(tmp_path_factory, request):
    check(request, tmp_path_factory.getbasetemp())


@settings(max_examples=60, derandomize=True, **COMMON)
@given(machine=machines | uneven_machines, ranks=st.integers(1, RANKS_MAX))
def test_a_number_of_ranks_alone_is_never_refused(tmp_path_factory, machine, ranks):
    folder = tmp_path_factory.getbasetemp()
    request = Request(machine, {"ranks": str(ranks)})
    check(request, folder)
    assert ask("plan", "--topology", machine.topology(folder), *request.words, cwd=folder).returncode == 0


@pytest.mark.long
@settings(max_examples=10_000, print_blob=True, **COMMON)
@given(request=requests() | requests(frozenset({"nodes", "tier", "mem"})))
def test_many_requests_have_a_sound_plan_or_a_reason(tmp_path_factory, request):
    check(request, tmp_path_factory.getbasetemp())
