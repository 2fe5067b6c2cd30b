# SPDX-License-Identifier: Apache-2.0
"""--verify on a live machine: what it says of ranks that are where they should be, and of others."""

import errno
import os
import re
import signal
import threading
from pathlib import Path

import pytest
from denying import forbidding, needs_numbers
from launching import LIMIT_S, eventually

needs_two_cpus = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="one CPU: there is nothing for a mask to lose"
)

# The shared memory of a rank, named as libshmrt names it; it ends when the test makes a file.
PROGRAM = """
import mmap, os, pathlib, sys, time
file = os.memfd_create(f"shmrt-segment-{os.getpid()}")
os.ftruncate(file, 1 << 20)
segment = mmap.mmap(file, 1 << 20)
segment[: 512 << 10] = bytes(512 << 10)
first = min(os.sched_getaffinity(0))
while not pathlib.Path("end").exists():
    if pathlib.Path("narrow").exists():
        os.sched_setaffinity(0, {first})
    time.sleep(0.05)
sys.exit(7)
"""
CLEAN = "all threads and pages are where the plan says"


class Verified:
    """A job under --verify, and what is said about it."""

    COLUMNS = "rank cpus nodes processes threads off stack heap huge_own segment pool huge_shared elsewhere".split()

    def __init__(self, launcher, *words, **options):
        self.folder = launcher.folder
        self.process = launcher.start("--verify", *words, **options)
        self.lines: list[str] = []
        self.limit = threading.Timer(LIMIT_S, self.process.kill)  # ends the wait for a line too
        self.limit.daemon = True
        self.limit.start()

    def until(self, words: str) -> str:
        while line := self.process.stderr.readline():
            self.lines.append(line.rstrip())
            if words in line:
                return line
        self.limit.cancel()
        raise AssertionError(f"{words!r} is not in {self.lines}")

    def table(self) -> list[dict[str, str]]:
        at = next(i for i, line in enumerate(self.lines) if "processes  threads" in line)
        rows = [re.split(r"  +", line.replace("shm-launch:", "").strip()) for line in self.lines[at + 1 :]]
        return [dict(zip(self.COLUMNS, row, strict=True)) for row in rows if row[0].isdigit()]

    def end(self) -> int:
        (self.folder / "end").touch()
        _, err = self.process.communicate(timeout=LIMIT_S)
        self.limit.cancel()
        self.lines += err.splitlines()
        return self.process.returncode


def test_a_clean_job(launcher):
    job = Verified(launcher, "-n", "2", *launcher.python(PROGRAM))
    job.until(CLEAN)
    rows = job.table()
    assert [(row["rank"], row["processes"], row["threads"], row["off"]) for row in rows] == [
        ("0", "1", "1", "0"),
        ("1", "1", "1", "0"),
    ]
    for row in rows:
        assert (row["segment"], row["pool"], row["elsewhere"]) == ("512 KiB", "0", "0")
        assert row["nodes"] != "-" and row["stack"].endswith("KiB") and row["heap"] != "0"
    assert sum("counted: pages in memory" in line for line in job.lines) == 1
    assert job.end() == 7
    assert not [line for line in job.lines if "planned" in line]


@needs_numbers
def test_where_pages_cannot_be_asked_for_one_by_one(launcher):
    job = Verified(launcher, "-n", "2", *launcher.python(PROGRAM), preexec_fn=forbidding("move_pages", errno.EPERM))
    job.until(CLEAN)
    assert all((row["segment"], row["elsewhere"]) == ("512 KiB", "0") for row in job.table())
    assert job.end() == 7


@needs_two_cpus
def test_what_narrows_later_is_told(launcher):
    job = Verified(launcher, "-n", "1", *launcher.python(PROGRAM))
    job.until(CLEAN)
    Path(launcher.folder, "narrow").touch()
    line = job.until("rank 0: 1 thread may run only on a part of the planned CPUs")
    assert "s after the start" in line and "sched_setaffinity" in line
    assert job.end() == 7


@needs_two_cpus
def test_what_a_rank_starts_is_looked_at_too(launcher):
    first = min(os.sched_getaffinity(0))
    script = f"taskset -c {first} sleep 600 & wait"
    job = Verified(launcher, "-n", "1", "--strict", "--", "sh", "-c", script)
    line = job.until("rank 0: 1 thread may run only on a part of the planned CPUs")
    assert f"on {first}; " in line and "sleep" in line
    row = job.table()[0]
    assert (row["processes"], row["threads"], row["off"]) == ("2", "2", "1")
    job.until("rank 0")
    assert job.end() == 125
    assert "not where the plan says, and --strict forbids that" in job.lines[-1]


@needs_two_cpus
def test_what_has_lost_its_parent_is_looked_at_too(launcher):
    """The keeper has become its parent, but it is in the rank's session still."""
    first = min(os.sched_getaffinity(0))
    script = f"(taskset -c {first} sleep 600 &) ; exec sleep 600"
    job = Verified(launcher, "-n", "1", "--strict", "--", "sh", "-c", script)
    line = job.until("rank 0: 1 thread may run only on a part of the planned CPUs")
    assert f"on {first}; " in line and "sleep" in line
    assert job.table()[0]["processes"] == "2"
    assert job.end() == 125


@needs_two_cpus
@pytest.mark.parametrize("strict", [[], ["--strict"]])
def test_openmp_that_narrows_the_main_thread_is_named(launcher, strict):
    """The trap: OMP_PROC_BIND with OMP_PLACES=cores, and `import torch`."""
    pytest.importorskip("torch")
    trap = {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}
    program = PROGRAM.replace("first =", "import torch\nfirst =").replace("shmrt-segment", "other")
    job = Verified(launcher, *strict, "-n", "1", *launcher.python(program), env=trap)
    line = job.until("rank 0: ")
    assert "may run only on a part of the planned CPUs" in line and "python" in line
    assert "OMP_PROC_BIND=true OMP_PLACES=cores is set" in line and "unset" in line
    if strict:
        assert job.process.wait(LIMIT_S) == 125
    assert job.end() == (125 if strict else 7)


def test_ranks_that_are_too_quick_are_named(launcher):
    result = launcher.run("-n", "2", "--verify", "true")
    assert result.returncode == 0
    assert "--verify: ranks 0-1 ended before the look" in result.stderr


def test_ranks_that_are_too_quick_are_no_success_with_strict(launcher):
    def run(*words):
        result = launcher.run("-n", "2", "--verify", "--strict", *words)
        return result.returncode, result.stderr.splitlines()[-1]

    assert run("true") == (
        125,
        "shm-launch: 2 ranks ended before --verify could look, and --strict wants all looked at",
    )
    assert run("sh", "-c", "exit 3")[0] == 3
    code, line = run("sh", "-c", "[ $RANK = 0 ] || sleep 4")
    assert (code, line.split(": ")[1][:28]) == (125, "1 rank ended before --verify")


def test_nothing_bound_is_nothing_to_verify(launcher):
    result = launcher.run("-n", "2", "--verify", "--no-bind", "true")
    assert result.returncode == 2
    assert "keep one" in result.stderr


def looker(launcher):
    """The process that looks, once it is there."""

    def find():
        names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in launcher.relatives()}
        return next((pid for pid, name in names.items() if name == "shm-verify"), None)

    return eventually(find, "the process that looks has started")


def test_the_job_outlives_the_process_that_looks(launcher):
    job = Verified(launcher, "-n", "1", *launcher.python(PROGRAM))
    os.kill(looker(launcher), signal.SIGKILL)
    job.until("--verify: the process that looks was killed")
    assert job.end() == 7


def test_the_process_that_looks_dies_with_the_launcher(launcher):
    job = Verified(launcher, "-n", "1", *launcher.python(PROGRAM))
    looker(launcher)
    job.process.kill()
    eventually(lambda: not launcher.relatives(), "nothing is left")
    assert job.end() == -signal.SIGKILL
