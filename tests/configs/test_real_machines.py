# SPDX-License-Identifier: Apache-2.0
"""1 to 12 ranks on real machines, as hwloc's own tests have recorded them: cluster-on-die, KNL, POWER, ARM, cgroups.

The recordings come with hwloc's Debian source package, which is downloaded by its name into build/ and never
committed. Without network, or on another system, the test is skipped and says why.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from planning import HERE, ask
from test_any_plan import members

FOLDER = HERE.parents[1] / "build" / "hwloc-topologies"
MOST_RANKS = 12
pytestmark = pytest.mark.long


def source_lists() -> str:
    """The system's own package sources, for sources in place of binaries."""
    lines = []
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        lines.append(re.sub(r"^Types:.*", "Types: deb-src", path.read_text(), flags=re.MULTILINE))
    return "\n\n".join(lines)


def apt_get(*words: str) -> None:
    """apt-get with lists and caches of its own, so that nothing of the system changes."""
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": f"{FOLDER}/sources",
        "Dir::State::lists": f"{FOLDER}/lists",
        "Dir::Cache": f"{FOLDER}/cache",
        "Acquire::Retries": "1",
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    subprocess.run(["apt-get", "-qq", *options, *words], cwd=FOLDER, check=True, capture_output=True, timeout=180)


def download() -> Path:
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
    (FOLDER / "sources" / "here.sources").write_text(source_lists())
    apt_get("update")
    apt_get("source", "--download-only", "hwloc")
    return next(FOLDER.glob("hwloc_*.orig.tar.*"))


def unpack(archive: Path, folder: Path) -> None:
    """Only regular files, folders and links inside; recordings of /sys are full of links."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="tar")


@pytest.fixture(scope="module")
def recordings() -> Path:
    """The folder tests/hwloc of the source package."""
    if not shutil.which("apt-get") or not source_lists():
        pytest.skip("no apt-get with sources in /etc/apt/sources.list.d")
    if not list(FOLDER.glob("hwloc-*")):
        try:
            unpack(next(FOLDER.glob("hwloc_*.orig.tar.*"), None) or download(), FOLDER)
        except (subprocess.SubprocessError, StopIteration) as error:
            said = getattr(error, "stderr", None) or str(error).encode()
            pytest.skip(f"hwloc's source package cannot be had: {said.decode(errors='replace').strip()}")
    return next(FOLDER.glob("hwloc-*")) / "tests" / "hwloc"


def check_plan(what: str, ranks_asked: int, *words: str, env: dict[str, str] | None = None) -> bool:
    """Whether there is a plan; what there is has to be sound."""
    result = ask("plan", "--json", "-n", str(ranks_asked), *words, env=env)
    if result.returncode != 0:
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1), f"{what}: {result}"
        return False
    plan = json.loads(result.stdout)
    ranks, nodes = plan["ranks"], plan["machine"]["nodes"]
    giving = {node["number"] for node in nodes if node["allowed"] and node["memory_bytes"] and node["has_cpus"]}
    cores = [members(rank["cores"]) for rank in ranks]
    cpus = [members(rank["cpus"]) for rank in ranks]
    assert len(ranks) == ranks_asked
    assert set().union(*cpus) <= members(plan["machine"]["allowed_cpus"]) and all(cpus), what
    assert max(map(len, cores)) - min(map(len, cores)) <= 1, what
    is_shared = sum(map(len, cores)) > len(set().union(*cores))
    assert is_shared == any("share" in text for text in plan["warnings"]), what
    assert not is_shared or max(map(len, cores)) == 1, what
    for rank, own in zip(ranks, cpus, strict=True):
        memory = members(rank["memory"]["nodes"])
        if giving:
            assert memory and memory <= giving and rank["segment_node"] in memory, f"{what}: {rank}"
        else:
            assert rank["memory"]["policy"] == "local", f"{what}: {rank}"
        assert 1 <= rank["threads"] <= len(own), f"{what}: {rank}"
    return True


def test_plans_for_recordings_in_xml(recordings):
    planned = []
    for path in sorted((recordings / "xml").glob("*.xml")):
        results = {check_plan(path.name, n, "--topology", str(path)) for n in range(1, MOST_RANKS + 1)}
        assert len(results) == 1, f"{path.name} is planned for some numbers of ranks only"
        planned += [path.name] * results.pop()
    assert len(planned) >= 25, planned


def test_plans_for_recordings_of_linux(recordings, tmp_path):
    """These are copies of /sys and /proc, which hwloc reads in place of this machine's."""
    planned = []
    for path in sorted((recordings / "linux").glob("*.tar.bz2")):
        unpack(path, tmp_path)
        root = next(entry for entry in tmp_path.iterdir())
        env = {"HWLOC_FSROOT": str(root), "HWLOC_COMPONENTS": "linux,stop"}
        results = {check_plan(path.name, n, env=env) for n in range(1, MOST_RANKS + 1)}
        assert len(results) == 1, f"{path.name} is planned for some numbers of ranks only"
        planned += [path.name] * results.pop()
        shutil.rmtree(root)
    assert len(planned) >= 35, planned
