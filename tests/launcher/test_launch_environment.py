# SPDX-License-Identifier: Apache-2.0
"""What each rank finds in its environment, on its descriptors, and under its feet."""

import json
import os
import re
import socket

REPORT = """
import json, os, signal
print(json.dumps({
    "env": dict(os.environ),
    "cpus": sorted(os.sched_getaffinity(0)),
    "group": os.getpgid(0) == os.getpid(),
    "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
    "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
}))
"""


def reports(launcher, *options, count, **more):
    result = launcher.run("--no-prefix", *options, *launcher.python(REPORT), **more)
    assert result.returncode == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(found) == count
    return sorted(found, key=lambda report: int(report["env"]["RANK"]))


def test_variables_of_torch(launcher):
    env = [report["env"] for report in reports(launcher, "-n", "3", count=3)]
    for rank, variables in enumerate(env):
        for name in ("RANK", "LOCAL_RANK", "ROLE_RANK"):
            assert variables[name] == str(rank)
        for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_SIZE", "ROLE_WORLD_SIZE"):
            assert variables[name] == "3"
        assert variables["GROUP_RANK"] == "0"
        assert variables["GROUP_WORLD_SIZE"] == "1"
        assert variables["MASTER_ADDR"] == "127.0.0.1"
        assert 1024 <= int(variables["MASTER_PORT"]) <= 65535
        assert int(variables["OMP_NUM_THREADS"]) >= 1
        assert re.fullmatch("[0-9a-f]{32}", variables["SHMRT_JOB"])
        assert not [name for name in variables if name.startswith(("PMI_", "PMIX_", "OMP_P"))]
    assert len({variables["SHMRT_JOB"] for variables in env}) == 1
    assert len({variables["MASTER_PORT"] for variables in env}) == 1


def test_two_jobs_have_different_keys_and_ports(launcher):
    first, second = (reports(launcher, "-n", "1", count=1)[0]["env"] for _ in range(2))
    assert first["SHMRT_JOB"] != second["SHMRT_JOB"]


def test_what_an_outer_launcher_left_is_replaced(launcher):
    outer = {"RANK": "7", "WORLD_SIZE": "9", "MASTER_PORT": "1", "SHMRT_JOB": "old"}
    outer["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    (report,) = reports(launcher, "-n", "1", count=1, env=outer)
    assert (report["env"]["RANK"], report["env"]["WORLD_SIZE"]) == ("0", "1")
    assert report["env"]["MASTER_PORT"] != "1"
    assert report["env"]["SHMRT_JOB"] != "old"
    assert "TORCHELASTIC_USE_AGENT_STORE" not in report["env"]


def test_threads_of_the_user_stay_and_show(launcher):
    env = {"OMP_NUM_THREADS": "3"}
    for report in reports(launcher, "-n", "2", count=2, env=env):
        assert report["env"]["OMP_NUM_THREADS"] == "3"
    plan = launcher.run("-n", "2", "--dry-run", env=env).stdout
    assert "OMP_NUM_THREADS=3 is set and stays" in plan


def test_more_threads_than_cpus_are_told(launcher):
    result = launcher.run("-n", "2", "true", env={"OMP_NUM_THREADS": "1000"})
    assert result.returncode == 0
    assert result.stderr.count("OMP_NUM_THREADS=1000 is set and stays, but rank 0 has") == 1
    assert "OMP" not in launcher.run("-n", "2", "true", env={"OMP_NUM_THREADS": "1"}).stderr


def test_ranks_are_bound_as_planned(launcher):
    plan = launcher.run("-n", "2", "--dry-run").stdout
    rows = [line.split() for line in plan.splitlines() if re.match(r" +\d", line)]
    for row, report in zip(rows, reports(launcher, "-n", "2", count=2), strict=True):
        planned = []
        for part in row[5].split(","):
            first, _, last = part.partition("-")
            planned.extend(range(int(first), int(last or first) + 1))
        assert report["cpus"] == planned
        assert report["env"]["OMP_NUM_THREADS"] == row[-1]


def test_no_bind_leaves_affinity_alone(launcher):
    (report,) = reports(launcher, "-n", "1", "--no-bind", count=1)
    assert report["cpus"] == sorted(os.sched_getaffinity(0))


def test_ranks_start_clean(launcher):
    for report in reports(launcher, "-n", "2", count=2):
        assert report["group"], "each rank leads a group"
        assert report["blocked"] == []
        assert len(report["fds"]) == 4, "0, 1, 2 and the listing itself"


def test_the_port_is_held_and_can_be_listened_on(launcher):
    code = """
import errno, os, socket
port = int(os.environ["MASTER_PORT"])
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")):
    try:
        with socket.socket(family) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, port))
            s.listen()
    except OSError as error:
        if family == socket.AF_INET or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
with socket.socket() as s:
    try:
        s.bind(("", port))
    except OSError:
        print("held")
"""
    result = launcher.run("-n", "1", *launcher.python(code))
    assert (result.returncode, result.stdout) == (0, "held\n"), result.stderr


def test_a_chosen_port(launcher):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = launcher.run("-n", "1", "--master-port", port, "true")
        assert result.returncode == 125
        assert f"port {port} is already used" in result.stderr
    result = launcher.run("-n", "1", "--master-port", port, "sh", "-c", "echo $MASTER_PORT")
    assert (result.returncode, result.stdout) == (0, port + "\n")


def test_input_goes_to_rank_0(launcher):
    code = "import os, sys; print(os.environ['RANK'], repr(sys.stdin.read()))"
    result = launcher.run("-n", "2", "--no-prefix", *launcher.python(code), stdin="hello\nworld\n")
    assert sorted(result.stdout.splitlines()) == ["0 'hello\\nworld\\n'", "1 ''"]


def test_ranks_meet_in_nested_jobs(launcher):
    inner = f"{launcher.binary} -n 2 --no-prefix sh -c 'echo $RANK/$WORLD_SIZE'"
    result = launcher.run("-n", "2", "sh", "-c", inner)
    lines = sorted(line for line in result.stdout.splitlines())
    assert lines == ["[0] 0/2", "[0] 1/2", "[1] 0/2", "[1] 1/2"], result.stderr
