# SPDX-License-Identifier: Apache-2.0
"""Plans as JSON: every field, what other programs read from them, and odd texts in them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CPUSET = TESTS / "topo" / "two-sockets-cpuset.xml"
TOPOLOGIES = TESTS / "configs" / "topologies"
SERVER = "pack:2 numa:2 l3:2 core:2 pu:2"

RANKS = """\
  "ranks": [
    {"rank": 0, "package": 0, "node": 0, "packages": "0", "nodes": "0-1", "cores": "0-7", "cpus": "0-15", \
"reserved": "7", "memory": {"policy": "bind", "nodes": "0-1"}, "segment_node": 0, "threads": 7, \
"node_group": 0, "package_group": 0},
    {"rank": 1, "package": 1, "node": 2, "packages": "1", "nodes": "2-3", "cores": "8-15", "cpus": "16-31", \
"reserved": "15", "memory": {"policy": "bind", "nodes": "2-3"}, "segment_node": 2, "threads": 7, \
"node_group": 1, "package_group": 1}
  ],
  "warnings": []
}
"""


def plan_text(launcher, *words, **options):
    result = launcher.run("plan", "--json", *words, **options)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def plan(launcher, *words, **options):
    return json.loads(plan_text(launcher, *words, **options))


def members(text):
    """The numbers of a set in the kernel's notation."""
    ranges = [part.split("-") for part in text.split(",") if part]
    return [number for ends in ranges for number in range(int(ends[0]), int(ends[-1]) + 1)]


def test_ranks_of_a_server(launcher):
    text = plan_text(launcher, "-n", "2", "--reserve", "1", "--topology", SERVER)
    assert text.endswith(RANKS)


def test_machine(launcher):
    text = "pack:2 [numa(memory=64GB)] [numa(memory=16GB)] l3:2 core:4 pu:2"
    whole = plan(launcher, "-n", "2", "--topology", text)
    machine = whole["machine"]
    assert whole["shm_launch_plan"] == 1
    assert whole["bound"] is True
    assert machine["topology"] == text
    assert (machine["packages"], machine["l3_caches"], machine["cores"], machine["cpus"]) == (2, 4, 16, 32)
    assert machine["allowed_cpus"] == "0-31"
    assert machine["quota_milli_cpus"] is None and machine["memory_denied"] is False
    nodes = {node["number"]: node for node in machine["nodes"]}
    assert {number: node["package"] for number, node in nodes.items()} == {0: 0, 1: 0, 2: 1, 3: 1}
    assert [nodes[number]["has_cpus"] for number in range(4)] == [True, False, True, False]
    assert [nodes[number]["host"] for number in range(4)] == [0, 0, 2, 2]
    assert [nodes[number]["tier"] for number in range(4)] == ["dram", "hbm", "dram", "hbm"]
    assert nodes[0]["memory_bytes"] == 64 * 10**9 and nodes[1]["memory_bytes"] == 16 * 10**9


def test_distances_are_those_of_the_machine(launcher):
    """Written into the file by hand: 10 on a node, 12 within a socket, 21 between them."""
    machine = plan(launcher, "-n", "1", "--topology", "xeon6-2s-snc3.xml", cwd=TOPOLOGIES)["machine"]
    packages = [node["package"] for node in machine["nodes"]]
    assert machine["distances"] == [
        [10 if i == j else 12 if packages[i] == packages[j] else 21 for j in range(6)] for i in range(6)
    ]
    assert machine["core_kinds"] == 1
    assert plan(launcher, "-n", "1", "--topology", "laptop-hybrid.xml", cwd=TOPOLOGIES)["machine"]["core_kinds"] == 2


def test_a_cpuset_is_seen_in_it(launcher):
    machine = plan(launcher, "-n", "1", "--topology", str(CPUSET))["machine"]
    assert machine["cpus"] == 8 and machine["allowed_cpus"] == "1-7"
    assert {node["number"]: node["allowed"] for node in machine["nodes"]} == {0: True, 1: False}


@pytest.mark.parametrize("ranks", [1, 3, 64])
def test_everything_is_there_for_every_rank(launcher, ranks):
    whole = plan(launcher, "-n", str(ranks), "--mem", "local", "--topology", "pack:2 numa:2 core:7 pu:2")
    assert [rank["rank"] for rank in whole["ranks"]] == list(range(ranks))
    for rank in whole["ranks"]:
        assert rank["node"] in members(rank["nodes"]) and rank["package"] in members(rank["packages"])
        assert len(members(rank["cpus"])) == 2 * len(members(rank["cores"]))
        assert rank["memory"] == {"policy": "local", "nodes": ""}
        assert 1 <= rank["threads"] <= len(members(rank["cores"]))
    assert len(whole["warnings"]) >= (ranks > 28)


def test_json_tool_accepts_it_and_gives_it_back_whole(launcher):
    text = plan_text(launcher, "-n", "5", "--topology", SERVER)
    again = subprocess.run([sys.executable, "-m", "json.tool"], input=text, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout) == json.loads(text)


def test_names_that_are_no_json_as_they_are(launcher, tmp_path):
    """A quote, a newline, and bytes that are no UTF-8, in the name of the file."""
    name = b'odd"\n\xff.xml'
    (tmp_path / name.decode(errors="surrogateescape")).write_bytes(CPUSET.read_bytes())
    assert plan(launcher, "-n", "1", "--topology", name)["machine"]["topology"] == 'odd"\n?.xml'


def test_without_binding_it_says_so(launcher):
    assert plan(launcher, "-n", "1", "--no-bind", "--topology", SERVER)["bound"] is False


def test_this_machine(launcher):
    whole = plan(launcher, "-n", "1")
    assert whole["machine"]["topology"] is None
    assert members(whole["ranks"][0]["cpus"])
