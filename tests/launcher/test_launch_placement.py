# SPDX-License-Identifier: Apache-2.0
"""A live machine: every thread of every rank is where the plan says, also in a taskset and a cgroup."""

import json
import os
import subprocess
import uuid
from pathlib import Path

import placing
import pytest
from launching import eventually

ALLOWED = sorted(os.sched_getaffinity(0))

# An OpenMP team as wide as the plan wants, threads of its own, a child and a grandchild in a session
# of its own; all of them stay until they are ended.
CROWD = """
import ctypes, os, subprocess, sys, threading, time
gomp = ctypes.CDLL("libgomp.so.1")
body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
gomp.GOMP_parallel(body, None, 0, 0)
wide = bytearray(4 << 20)
nap = "import time; time.sleep(600)"
again = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {nap!r}])"
for _ in range(3):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
subprocess.Popen([sys.executable, "-c", nap])
subprocess.Popen([sys.executable, "-c", again], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""
PROCESSES_A_RANK = 4


def crowd(launcher, *words, **options):
    """Start CROWD; hand back all processes of the ranks, by rank."""
    process = launcher.start(*words, *launcher.python(CROWD), **options)

    def ranks():
        found = {}
        for pid, line in launcher.relatives().items():
            if pid != process.pid and "shm-keeper" not in line and "RANK" in placing.environment(pid):
                found.setdefault(int(placing.environment(pid)["RANK"]), []).append(pid)
        whole = all(len(pids) == PROCESSES_A_RANK for pids in found.values())
        has_ended = process.poll() is not None
        assert not has_ended, process.communicate()
        return found if whole and len(found) == count else None

    count = int(words[words.index("-n") + 1])
    for _ in range(count):
        assert "ready" in process.stdout.readline(), process.stderr.read()
    return eventually(ranks, "all ranks have started all that they start")


def check(ranks, allowed, nodes=None):
    """Every thread has exactly the CPUs of its rank's plan, none of them outside of `allowed`."""
    for pids in ranks.values():
        plan = placing.planned(pids[0])
        cpus = placing.numbers(plan["cpus"])
        assert cpus and cpus <= set(allowed)
        threads = [len(placing.masks(pid)) for pid in pids]
        assert max(threads) >= 3 + plan["threads"]
        for pid in pids:
            assert all(mask == cpus for mask in placing.masks(pid).values()), (pid, plan)
            memory = placing.numbers(plan["memory"]["nodes"])
            assert nodes is None or memory <= nodes
            assert placing.own_pages(pid).keys() <= memory


@pytest.mark.parametrize("count", [1, 2, 4])
def test_each_thread_is_where_the_plan_says(launcher, count):
    ranks = crowd(launcher, "-n", str(count))
    check(ranks, ALLOWED)
    used = [cpu for pids in ranks.values() for cpu in placing.numbers(placing.planned(pids[0])["cpus"])]
    machine = json.loads(placing.environment(ranks[0][0])["SHM_LAUNCH_PLAN"])["machine"]
    if machine["core_kinds"] == 1:
        assert set(used) == set(ALLOWED)
    if count <= machine["cores"]:
        assert len(used) == len(set(used))


def test_a_taskset_is_kept_to(launcher):
    last = ALLOWED[-1]
    ranks = crowd(launcher, "-n", "2", preexec_fn=lambda: os.sched_setaffinity(0, {last}))
    check(ranks, {last})


def test_named_cpus_are_kept_to(launcher):
    first = ALLOWED[0]
    check(crowd(launcher, "-n", "1", "--cpus", str(first)), {first})


def cpuset_folder() -> Path:
    """A cgroup below which cpusets can be made, or a skip that says why not."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    reason = "no cgroup file system with cpusets is mounted"
    for _, where, kind, options, *_ in mounts:
        folder = Path(where)
        if kind == "cgroup" and "cpuset" in options.split(","):
            able = True
        elif kind == "cgroup2":
            control = folder / "cgroup.subtree_control"
            able = control.exists() and "cpuset" in control.read_text().split()
        else:
            continue
        if able and os.access(folder, os.W_OK):
            return folder
        reason = f"{folder}: not writable" if able else f"{folder}: cpuset is not given to groups below"
    pytest.skip(reason)


@pytest.fixture
def cpuset():
    """A group with one CPU and one node, the last of those that this process has."""
    group = cpuset_folder() / f"shmrt-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"{group}: {error.strerror}")
    nodes = placing.numbers(placing.status(Path("/proc/self/status"))["Mems_allowed_list"])
    (group / "cpuset.cpus").write_text(str(ALLOWED[-1]))
    (group / "cpuset.mems").write_text(str(max(nodes)))
    yield group
    eventually(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
    group.rmdir()


def enter(group: Path):
    return lambda: (group / "cgroup.procs").write_text(str(os.getpid()))


@pytest.mark.parametrize("count", [1, 2])
def test_a_cgroup_is_kept_to(cpuset, launcher, count):
    nodes = placing.numbers((cpuset / "cpuset.mems").read_text())
    ranks = crowd(launcher, "-n", str(count), preexec_fn=enter(cpuset))
    check(ranks, {ALLOWED[-1]}, nodes)
    for pids in ranks.values():
        allowed = placing.status(Path(f"/proc/{pids[0]}/status"))["Mems_allowed_list"]
        assert placing.numbers(allowed) == nodes


def test_the_plan_of_a_cgroup_has_its_cpus_only(cpuset, launcher):
    words = [launcher.binary, "-n", "1", "--dry-run", "--json"]
    answer = subprocess.run(words, preexec_fn=enter(cpuset), capture_output=True, text=True, check=True)
    plan = json.loads(answer.stdout)
    assert placing.numbers(plan["machine"]["allowed_cpus"]) == {ALLOWED[-1]}
    assert placing.numbers(plan["ranks"][0]["cpus"]) == {ALLOWED[-1]}


def test_cpus_outside_of_a_cgroup_are_refused(cpuset, launcher):
    if len(ALLOWED) < 2:
        pytest.skip("one CPU: there is none outside")
    result = launcher.run("-n", "1", "--cpus", str(ALLOWED[0]), "true", preexec_fn=enter(cpuset))
    assert result.returncode == 2
    assert str(ALLOWED[0]) in result.stderr
