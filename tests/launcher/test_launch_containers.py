# SPDX-License-Identifier: Apache-2.0
"""In a container that has less than a machine: right all the same, and at most one line says what is lost, and why."""

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import surroundings as around
from denying import forbidding, needs_numbers
from processes import eventually

# What is missing, and words of the one line that says so; None where nothing is lost, so nothing is said.
PLACES = {
    "no_sys": ([around.no_sys], "/sys is not mounted"),
    "no_proc": ([around.no_proc], None),
    "small_shm": ([around.small_shm], None),
    "no_shm": ([around.no_shm], None),
    "read_only_root": ([around.read_only_root], None),
    "nothing": ([around.no_shm, around.no_sys, around.no_proc, around.read_only_root], "/sys is not mounted"),
}

# 96 MiB do not fit into a /dev/shm of 64.
ALL_REDUCE = """
import torch, shmrt
shmrt.init()
for count in (3, 1000, 1 << 20, 24 << 20):
    x = torch.full((count,), float(shmrt.rank() + 1))
    shmrt.all_reduce(x)
    assert bool((x == 3).all()), count
print("right", torch.ops.deepspeed.inference_all_reduce(torch.ones(5)).tolist())
shmrt.finalize()
"""


@pytest.fixture(params=["root", "rootless"])
def rootless(request) -> bool:
    reason = around.why_not(request.param == "rootless")
    if reason:
        pytest.skip(reason)
    return request.param == "rootless"


def lines_of(text: str) -> list[str]:
    """Ours: PyTorch has a word of its own for a missing /proc/cpuinfo, and other jobs may run beside the test."""
    others = ("Error in cpuinfo", "where another job runs already")
    return [line for line in text.splitlines() if not any(words in line for words in others)]


@pytest.mark.parametrize("place", PLACES)
def test_ranks_are_started(launcher, place, rootless):
    changes, words = PLACES[place]
    missing = {"TMPDIR": "/nonexistent", "HOME": "/nonexistent"}
    result = launcher.run(
        "-n", "2", "sh", "-c", "echo $RANK; id -u", env=missing, preexec_fn=around.inside(*changes, rootless=rootless)
    )
    user = os.getuid() if not rootless else 1000
    assert result.returncode == 0
    assert sorted(result.stdout.splitlines()) == sorted([f"[0] {user}", "[0] 0", f"[1] {user}", "[1] 1"])
    lines = lines_of(result.stderr)
    assert len(lines) == (1 if words else 0), lines
    assert not words or words in lines[0]


@pytest.mark.parametrize("place", PLACES)
def test_a_failure_is_reported(launcher, place, rootless):
    """Which takes a folder for the rank's traceback, where one can be made."""
    changes, _ = PLACES[place]
    inside = around.inside(*changes, rootless=rootless)
    result = launcher.run("-n", "2", "sh", "-c", "[ $RANK = 0 ] || { echo oops >&2; exit 3; }", preexec_fn=inside)
    assert result.returncode == 3
    assert "[1] oops" in result.stderr.splitlines()
    assert "exited with code 3; 1 other rank ended" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("place", PLACES)
def test_an_all_reduce_is_right(launcher, place):
    """The Python package under shm-launch, with no folder for its caches."""
    if around.why_not(rootless=True):
        pytest.skip(around.why_not(rootless=True))
    changes, words = PLACES[place]
    missing = {"TMPDIR": "/nonexistent", "HOME": "/nonexistent", "XDG_CACHE_HOME": None, "SHMRT_TUNE": "off"}
    inside = around.inside(*changes, rootless=True)
    result = launcher.run("-n", "2", *launcher.python(ALL_REDUCE), env=missing, preexec_fn=inside)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("right [2.0, 2.0, 2.0, 2.0, 2.0]") == 2
    lines = lines_of(result.stderr)
    assert len(lines) == (1 if words else 0), lines
    assert not words or words in lines[0]


def test_verify_without_proc_says_so(launcher, rootless):
    inside = around.inside(around.no_proc, rootless=rootless)
    result = launcher.run("-n", "2", "--verify", "true", preexec_fn=inside)
    assert result.returncode == 0
    assert lines_of(result.stderr) == ["shm-launch: --verify: /proc is not mounted here, so nothing can be looked at"]
    result = launcher.run("-n", "2", "--verify", "--strict", "true", preexec_fn=inside)
    assert result.returncode == 125


@needs_numbers
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_refused_memory_is_one_line(launcher, code):
    """By seccomp, to the launcher and to libshmrt in every rank; the launcher says it."""
    forbid = [forbidding(name, code) for name in ("set_mempolicy", "mbind", "move_pages")]

    def prepare():
        for each in forbid:
            each()

    result = launcher.run("-n", "2", *launcher.python(ALL_REDUCE), preexec_fn=prepare)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("right") == 2
    assert len(lines_of(result.stderr)) == 1
    assert "memory cannot be bound" in result.stderr


def run_without_launcher(launcher, prepare):
    """Two ranks that another launcher could have started: fork comes first, so that each is alone."""
    code = "import os\nif os.fork() == 0: os.environ['RANK'] = '1'\n" + ALL_REDUCE
    names = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": None, "SHMRT_JOB": launcher.marker, "SHMRT_TUNE": "off"}
    launcher.binary = sys.executable
    result = launcher.run("-c", code, env=names, preexec_fn=prepare)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("right [2.0, 2.0, 2.0, 2.0, 2.0]") == 2
    return lines_of(result.stderr)


@needs_numbers
def test_refused_memory_is_one_line_without_the_launcher(launcher):
    """The lowest rank says it for all."""
    lines = run_without_launcher(launcher, forbidding("mbind", errno.EPERM))
    assert len(lines) == 1 and "all 2 ranks: mbind" in lines[0] and "CAP_SYS_NICE" in lines[0]


def test_nothing_at_all_is_one_line_without_the_launcher(launcher):
    if around.why_not(rootless=True):
        pytest.skip(around.why_not(rootless=True))
    changes, _ = PLACES["nothing"]
    lines = run_without_launcher(launcher, around.inside(*changes, rootless=True))
    assert len(lines) == 1 and "all 2 ranks: " in lines[0] and "there is no /sys" in lines[0]


def test_a_cache_that_cannot_be_kept_is_one_line(launcher, rootless):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("ranks that share a CPU measure nothing")
    code = ALL_REDUCE.replace("24 << 20", "5")
    env = {"SHMRT_TUNE": "auto", "XDG_CACHE_HOME": None, "HOME": str(launcher.folder)}
    inside = around.inside(around.read_only_root, rootless=rootless)
    result = launcher.run("-n", "2", *launcher.python(code), env=env, preexec_fn=inside)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("right") == 2
    lines = lines_of(result.stderr)
    assert len(lines) == 1 and f"kept in {launcher.folder}/.cache/shmrt (Read-only file system)" in lines[0]


def children(pid: int) -> list[str]:
    """Their names; those that have ended and were not waited for are among them."""
    names = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):  # waited for just now
            names.append(Path(f"/proc/{child}/stat").read_text().partition("(")[2].rpartition(")")[0])
    return names


@pytest.mark.skipif(os.getuid() != 0, reason="only root may make a PID namespace")
def test_orphans_of_strangers_are_reaped(launcher):
    """What `docker exec` leaves to a container's first process, which here is shm-launch."""
    job = ("-n", "2", "sleep", "600")
    words = ("--pid", "--fork", "--kill-child", launcher.binary, *job)
    launcher.binary = "unshare"
    container = launcher.start(*words)
    eventually(lambda: children(container.pid), "the first process", 30)
    first = int(Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text())
    eventually(lambda: children(first) == ["shm-keeper"], "the keeper", 30)
    inside = ["nsenter", "--target", str(first), "--pid", "sh", "-c", "sleep 2 & true"]
    subprocess.run(inside, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: children(first) == ["shm-keeper", "sleep"], "the orphan", 30)
    eventually(lambda: children(first) == ["shm-keeper"], "its end, and that it was waited for", 30)
