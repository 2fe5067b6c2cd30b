# SPDX-License-Identifier: Apache-2.0
"""Plans of known machines as text, a line a rank: what test_golden_plans.py compares with the files in plans/.

After a change of the planner, write them anew and read the difference:

    python tests/configs/golden.py
"""

from __future__ import annotations

import json
from pathlib import Path

from planning import HERE, TOPOLOGIES, ask

PLANS = HERE / "plans"
MOST_RANKS = 12

# What a configuration is tried on, beside the machine that has its name, and with which other options its
# comments speak of.
ELSEWHERE = {
    "one-rank-per-socket": ["xeon-spr-2s", "xeon6-2s-snc3", "uneven", "graviton4"],
    "one-rank-per-numa-node": ["xeon-spr-2s", "xeon6-2s-snc3", "uneven", "memory-only-nodes"],
    "grace-superchip": ["grace-hopper"],
    "container-cpuset": ["half-siblings"],
}
VARIANTS = {
    "xeon-spr-2s": ["--reserve 1"],
    "xeon-spr-2s-snc4": ["--per socket", "-n 4 --per spread"],
    "xeon6-2s-snc3": ["--per socket", "--per numa -n 4", "--per spread -n 8"],
    "xeon-max-2s-flat": ["--mem bind"],
    "xeon-max-2s-flat-snc4": ["--per socket"],
    "epyc-zen4-2s-nps1": ["-n 8 --per spread", "-n 24 --per l3"],
    "epyc-zen4-2s-nps4": ["--per socket", "-n 4 --per spread"],
    "epyc-zen5-2s-nps1": ["-n 8 --per spread"],
    "epyc-zen5-2s-nps4": ["--per socket", "-n 4 --per spread", "--cores-per-rank 24"],
    "ampere-altra-2s": ["--reserve 4"],
    "graviton4": ["-n 4"],
    "laptop-hybrid": ["-n 3", "--cpus 12-19", "--cpus 0-19"],
}

# Other words of a request, each where it shows; what is refused has to say what would work.
REQUESTS = {
    "memory-only-nodes": ["-n 2 --tier hbm", "-n 3 --tier any", "-n 2 --tier cxl", "-n 2 --tier hbm --mem interleave"],
    "xeon-max-2s-flat": ["-n 4 --tier hbm --mem prefer", "--per socket --tier any --mem interleave"],
    "cxl": ["-n 2 --tier cxl", "-n 4 --tier any --mem interleave", "-n 2 --nodes 0,2 --tier cxl", "-n 2 --nodes 2"],
    "grace-hopper": ["-n 2 --tier hbm", "-n 2 --tier any"],
    "small-nps4": [
        "-n 4 --rank-order cyclic",
        "--per numa --rank-order cyclic",
        "-n 3 --cores-per-rank 4",
        "-n 2 --nodes 1,6",
    ],
    "xeon6-2s-snc3": [
        "-n 5 --cores-per-rank 42",
        "-n 4 --cores-per-rank 64",
        "-n 7 --per numa",
        "-n 6 --cores-per-rank 43",
    ],
    "smt4": ["-n 2 --threads-per-core 4", "-n 2 --threads-per-core 8", "--per socket --threads-per-core 2 --reserve 2"],
    "desktop": ["-n 2 --cpus 0-3,8-11", "-n 2 --cpus 0-3", "-n 2 --cpus 20-30", "-n 2 --reserve 4", "-n 8 --reserve 1"],
    "half-siblings": ["--per socket", "--per numa --mem prefer", "-n 2 --threads-per-core 2", "-n 2 --nodes 0"],
    "uneven": ["--per socket", "-n 2 --cores-per-rank 4", "-n 2 --mem local"],
    "l3-of-three-cores": ["--per l3", "--per l3 -n 4", "-n 4 --cores-per-rank 3", "-n 8 --rank-order cyclic"],
    "laptop-hybrid": ["--per core", "--per l3", "-n 2 --cpus 0-13 --threads-per-core 2"],
    "one-core": ["--per core", "-n 2 --per socket", "-n 2 --cores-per-rank 1", "-n 1 --reserve 1"],
}


def topologies() -> dict[str, str]:
    """What --topology takes, by name: synthetic texts and files."""
    lines = (TOPOLOGIES / "synthetic.txt").read_text().splitlines()
    pairs = [line.partition(": ")[::2] for line in lines if line and not line.startswith("#")]
    return dict(pairs) | {path.stem: str(path) for path in sorted(TOPOLOGIES.glob("*.xml"))}


def rank_line(rank: dict) -> str:
    memory = rank["memory"]
    words = [
        f"{rank['rank']:>2}: {rank['threads']} thread{'s' * (rank['threads'] != 1)} on cores {rank['cores']}",
        f"CPUs {rank['cpus']}",
        f"node {rank['nodes']}"
        if rank["nodes"] == str(rank["node"])
        else f"nodes {rank['nodes']} most on {rank['node']}",
        f"socket {rank['packages']}",
        " ".join(filter(None, [memory["policy"], memory["nodes"]])),
        f"segment {rank['segment_node']}",
        f"groups {rank['node_group']} {rank['package_group']}",
    ]
    if rank["reserved"]:
        words.insert(1, f"{rank['reserved']} reserved")
    return ", ".join(words)


def plan_lines(*words: str) -> list[str]:
    """The plan for these options, or the words that refuse it."""
    result = ask("plan", "--json", *words)
    if result.returncode == 2 and result.stderr.count("\n") == 1 and not result.stdout:
        return [result.stderr.rstrip().replace(f"{TOPOLOGIES}/", "").replace("shm-launch: ", "refused: ")]
    assert (result.returncode, result.stderr) == (0, ""), f"{words}: {result.returncode} {result.stderr}"
    plan = json.loads(result.stdout)
    return [rank_line(rank) for rank in plan["ranks"]] + [f"note: {text}" for text in plan["warnings"]]


def plans_of_ranks(topology: str) -> str:
    """A machine with 1 to 12 ranks."""
    where = topologies()[topology]
    parts = []
    for ranks in range(1, MOST_RANKS + 1):
        parts += [f"-n {ranks}", *("  " + line for line in plan_lines("-n", str(ranks), "--topology", where)), ""]
    return "\n".join(parts)


def plans_of_config(name: str) -> str:
    """A configuration on the machines it is for, and with the other options that its comments name."""
    known = topologies()
    runs = [(machine, "") for machine in ELSEWHERE.get(name, [])]
    if name in known:
        runs = [(name, ""), *((name, variant) for variant in VARIANTS.get(name, [])), *runs]
    parts = []
    for machine, variant in runs:
        lines = plan_lines("--config", name, *variant.split(), "--topology", known[machine])
        parts += [f"--config {name} {variant}".rstrip() + f" on {machine}", *("  " + line for line in lines), ""]
    return "\n".join(parts)


def plans_of_requests(topology: str) -> str:
    """A machine with requests of more than a number of ranks."""
    parts = []
    for words in REQUESTS[topology]:
        lines = plan_lines(*words.split(), "--topology", topologies()[topology])
        parts += [words, *("  " + line for line in lines), ""]
    return "\n".join(parts)


def golden_files(names_of_configs: list[str]) -> dict[Path, tuple]:
    """Each file, with the function and the argument that make its text."""
    files = {PLANS / "ranks" / f"{name}.txt": (plans_of_ranks, name) for name in topologies()}
    files |= {PLANS / "requests" / f"{name}.txt": (plans_of_requests, name) for name in REQUESTS}
    files |= {PLANS / "configs" / f"{name}.txt": (plans_of_config, name) for name in names_of_configs}
    return files


if __name__ == "__main__":
    from planning import CONFIGS

    for path, (make, name) in golden_files([path.stem for path in CONFIGS.glob("*.yaml")]).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(name))
