# SPDX-License-Identifier: Apache-2.0
"""A job of shm-launch and of real ranks, as a plain user without any capability, and another user who tries to get at
its processes. What he may send to the ranks is in test_other_user.c."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import eventually, marked

VICTIM, ATTACKER = 65533, 65534
LIMIT_S = 60
BOTH = ("shm-launch", "shm-bench")
NO_NEW_PRIVS, DROP_FROM_BOUNDING_SET = 38, 24
ATTACH, SEIZE = 16, 0x4206
PIDFD_SEND_SIGNAL, PIDFD_OPEN, PIDFD_GETFD = 424, 434, 438  # the same on all CPUs

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


def become(uid: int) -> None:
    """For good, and with nothing that a plain user of a container may lack."""
    for capability in range(64):
        libc.prctl(DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    assert libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0


@pytest.fixture(scope="module", autouse=True)
def users_are_there() -> None:
    """Root of a container may lack the right to become another user, or to give up rights for good. Tried in a child,
    as it can't be taken back."""
    child = os.fork()
    if child == 0:
        try:
            become(VICTIM)
            bounds = re.findall(r"(?m)^CapBnd:\s*(\w+)", Path("/proc/self/status").read_text())
            os._exit(0 if [int(bound, 16) for bound in bounds] == [0] else 1)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1] != 0:
        pytest.skip("only root can be two users, where it may change its ids and drop its capabilities")


def in_child(uid: int, body: Callable[[], object]) -> object:
    """What `body` answers, as JSON has it, when another user calls it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        try:
            become(uid)
            os.write(writer, json.dumps(body()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """Copies that every user can run; pytest's own folders are closed to others."""
    found = {name: os.environ.get(name.upper().replace("-", "_")) or shutil.which(name) for name in BOTH}
    with tempfile.TemporaryDirectory(prefix="shmrt-users-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        for name, path in found.items():
            assert path, f"{name} is not on PATH: build and install it first"
            shutil.copy(Path(path).resolve(), folder / name)
            (folder / name).chmod(0o755)
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        yield folder


@pytest.fixture(scope="module")
def job(programs: Path) -> Iterator[dict[int, str]]:
    """Two ranks, each of which starts ranks of its own that are at work: process ids and command lines."""
    marker = f"SHMRT_TEST_MARKER={os.getpid()}-{os.urandom(6).hex()}"
    env = {"PATH": "/usr/bin:/bin", "TMPDIR": str(programs / "tmp"), "HOME": "/nonexistent", "SHMRT_TUNE": "off"}
    env |= dict([marker.split("=")])
    bench = [str(programs / "shm-bench"), "allreduce", "-n", "2", "-s", "64K", "--seconds", "600", "-q"]
    process = subprocess.Popen(
        [str(programs / "shm-launch"), "-n", "2", "--no-bind", *bench],
        env=env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: become(VICTIM),
    )
    try:
        # The launcher, its keeper, two programs that measure, their four ranks; and those hold memory.
        yield eventually(lambda: whole(marked(marker)), "the job is at work", LIMIT_S)
    finally:
        process.terminate()
        out = process.communicate(timeout=LIMIT_S)[0]
        print(out.decode())
        eventually(lambda: not marked(marker), "the job ends", LIMIT_S)


def whole(found: dict[int, str]) -> dict[int, str]:
    def is_at_work(pid: int) -> bool:
        try:
            return "memfd:shmrt-segment" in Path(f"/proc/{pid}/maps").read_text()
        except OSError:
            return False

    return found if sum(map(is_at_work, found)) >= 4 else {}


def opened(path: str, flags: int) -> bool:
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def listed(path: str) -> bool:
    try:
        return bool(os.listdir(path))
    except OSError:
        return False


def read_memory(pid: int) -> bool:
    """At an address of this process: EPERM where the other is closed to us, EFAULT where it is just not mapped."""
    here = ctypes.create_string_buffer(8)
    part = (ctypes.c_void_p * 2)(ctypes.addressof(here), 8)
    done = libc.process_vm_readv(pid, part, 1, part, 1, 0)
    return done >= 0 or ctypes.get_errno() not in (1, 3)


def traced(pid: int, how: int) -> bool:
    if libc.ptrace(how, pid, None, None) != 0:
        return False
    os.waitpid(pid, 0) if how == ATTACH else None
    libc.ptrace(17, pid, None, None)
    return True


def took_descriptor(pid: int) -> bool:
    fd = libc.syscall(PIDFD_OPEN, pid, 0)
    return any(libc.syscall(PIDFD_GETFD, fd, number, 0) >= 0 for number in range(64))


def sent(pid: int, number: int) -> bool:
    fd = libc.syscall(PIDFD_OPEN, pid, 0)
    return libc.kill(pid, number) == 0 or libc.syscall(PIDFD_SEND_SIGNAL, fd, number, None, 0) == 0


def moved(pid: int) -> bool:
    try:
        os.sched_setaffinity(pid, {0})
    except PermissionError:
        return False
    return True


def limited(pid: int) -> bool:
    new = (ctypes.c_uint64 * 2)(0, 0)
    return libc.prlimit(pid, 7, new, None) == 0  # RLIMIT_NOFILE


def break_in(pids: list[int], also_disturb: bool) -> list[str]:
    """Which ways led to somewhere."""
    ways: dict[str, Callable[[int], bool]] = {
        f"open {name}": lambda pid, name=name: opened(f"/proc/{pid}/{name}", os.O_RDONLY)
        for name in ("mem", "maps", "smaps", "environ", "auxv", "pagemap", "numa_maps", "io")
    }
    ways |= {f"list {name}": lambda pid, name=name: listed(f"/proc/{pid}/{name}") for name in ("fd", "map_files")}
    ways["write mem"] = lambda pid: opened(f"/proc/{pid}/mem", os.O_RDWR)
    ways["open a descriptor"] = lambda pid: any(opened(f"/proc/{pid}/fd/{n}", os.O_RDONLY) for n in range(64))
    ways["read memory"] = read_memory
    ways["take a descriptor"] = took_descriptor
    ways["signal 0"] = lambda pid: sent(pid, 0)
    if also_disturb:
        ways |= {"attach": lambda pid: traced(pid, ATTACH), "seize": lambda pid: traced(pid, SEIZE)}
        ways |= {"stop": lambda pid: sent(pid, signal.SIGSTOP), "move": moved, "limit": limited}
    return sorted({name for name, way in ways.items() for pid in pids if way(pid)})


def test_another_user_gets_at_no_process_of_the_job(job: dict[int, str]):
    pids = list(job)
    assert in_child(ATTACKER, lambda: break_in(pids, True)) == []
    assert all(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "RSD" for pid in pids)
    # The same ways lead in for the job's own user: they are what would tell.
    open_to_own = in_child(VICTIM, lambda: break_in(pids, False))
    assert isinstance(open_to_own, list)
    assert {"list fd", "open environ", "signal 0", "open maps"} <= set(open_to_own)


def test_a_job_needs_no_rights(job: dict[int, str]):
    for pid in job:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1"
        assert set(status["Uid"].split()) == {str(VICTIM)}


def test_only_the_names_of_ranks_can_be_connected_to(job: dict[int, str]):
    """Nothing of the launcher's, and no port: MASTER_PORT is only held until a rank listens there."""
    inodes = set()
    for pid in job:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(entry)))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            assert words[9] not in inodes or words[3] != "0A", line
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    names = [" ".join(words[7:]) for words in lines if words[6] in inodes and int(words[3], 16) & 0x10000]
    assert len(names) >= 4
    assert all(re.fullmatch(rf"@shmrt/{VICTIM}/[0-9a-f]{{16}}/\d+/\d", name) for name in names), names


def test_nothing_secret_is_in_environment_or_command_line(job: dict[int, str], programs: Path):
    """Knowing what the launcher adds gives nothing: test_other_user.c knows
    the job key."""
    given = {"PATH", "TMPDIR", "HOME", "SHMRT_TUNE", "SHMRT_TEST_MARKER"}
    for pid, words in job.items():
        text = Path(f"/proc/{pid}/environ").read_bytes().decode()
        names = {entry.split("=")[0] for entry in text.split("\0") if entry} - given
        odd = {name for name in names if re.search("SECRET|TOKEN|PASS|COOKIE|PRIVATE|_KEY", name)}
        assert not odd, odd
        assert "SHMRT_JOB" not in words
        assert not re.search("[0-9a-f]{32}", words), words


def test_its_files_are_its_own(job: dict[int, str], programs: Path):
    folders = list((programs / "tmp").glob("shm-launch.*"))
    assert len(folders) == 1
    for path in [*folders, *folders[0].rglob("*")]:
        state = path.lstat()
        assert stat.S_IMODE(state.st_mode) & 0o077 == 0, path
        assert state.st_uid == VICTIM
    assert in_child(ATTACKER, lambda: listed(str(folders[0]))) is False
    assert not list(Path("/dev/shm").glob("*shmrt*"))


def test_borrowed_rights_are_refused(programs: Path):
    """A copy that runs as the victim, whoever starts it: it would run anything for anyone."""
    if os.statvfs(programs).f_flag & os.ST_NOSUID:
        pytest.skip("no file here can lend its owner's rights")
    copy = programs / "lending"
    shutil.copy(programs / "shm-launch", copy)
    os.chown(copy, VICTIM, VICTIM)
    copy.chmod(0o4755)

    def as_attacker() -> None:
        os.setgroups([])
        os.setresgid(ATTACKER, ATTACKER, ATTACKER)
        os.setresuid(ATTACKER, ATTACKER, ATTACKER)

    env = {"PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [str(copy), "-n", "1", "id"], env=env, cwd="/", capture_output=True, text=True, preexec_fn=as_attacker
    )
    assert result.returncode != 0
    assert "does not run with set-user-ID" in result.stderr
    assert result.stdout == ""
