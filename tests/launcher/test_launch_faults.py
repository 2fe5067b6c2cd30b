# SPDX-License-Identifier: Apache-2.0
"""Faults: after each the exit code of the manual, a report that names the culprit, and nothing left."""

import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time

import pytest
from launching import LIMIT_S, eventually

NAP = "import time\nwhile True: time.sleep(0.05)"
# Goes on when rank 1 is gone, which was the first to fail then.
AFTER_RANK_1 = """
import os, sys, time
if os.environ["RANK"] != "1":
    while not os.path.exists("pid"):
        time.sleep(0.01)
    while os.path.exists("/proc/" + open("pid").read()):
        time.sleep(0.01)
    time.sleep(0.2)

def leave(code):
    open("new", "w").write(str(os.getpid()))
    os.rename("new", "pid")
    sys.exit(code)
"""
READY = """
import os, signal, subprocess, sys, time
rank = os.environ["RANK"]
print("port", os.environ["MASTER_PORT"], flush=True)
"""
# Set up by the rank before it says that it is ready: what would outlive it.
GRANDCHILD = """
deaf = "trap '' TERM INT HUP; touch deaf." + rank + "; while :; do sleep 600; done"
subprocess.Popen(SESSION + ["sh", "-c", deaf])
while not os.path.exists("deaf." + rank):
    time.sleep(0.01)
"""
DEAF = "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n"


class Scene:
    """A job of two ranks with a TMPDIR of its own, watched for what it leaves."""

    def __init__(self, launcher):
        self.launcher = launcher
        self.tmp = launcher.folder / "tmp"
        self.tmp.mkdir()
        self.shm = set(os.listdir("/dev/shm"))

    def start(self, code, *options, command=None):
        words = command or self.launcher.python(code)
        env = {"TMPDIR": str(self.tmp)}
        options = options or ("--grace", "0.3")
        self.process = self.launcher.start("-n", "2", *options, *words, env=env)
        self.port, ready = 0, 0
        while ready < 2:
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read()
            ready += "ready" in line
            self.port = int(line.split()[-1]) if "port" in line else self.port
        return self

    def is_port_free(self):
        with socket.socket() as it:  # without SO_REUSEADDR: nobody else may have it
            try:
                it.bind(("", self.port))
                it.listen()
            except OSError:
                return False
        return True

    def keeper(self):
        (pid,) = (pid for pid, line in self.launcher.relatives().items() if line.startswith("shm-keeper"))
        return pid

    def end(self):
        out, err = self.process.communicate(timeout=LIMIT_S)
        eventually(lambda: not self.launcher.relatives(), "no process is left", 20)
        eventually(lambda: not os.listdir(self.tmp), "nothing is left in TMPDIR", 20)
        # Other programs and tests of this machine may be at work there: names like ours count, if they stay.
        new = {name for name in set(os.listdir("/dev/shm")) - self.shm if "shm-launch" in name or "shmrt" in name}
        eventually(lambda: not new & set(os.listdir("/dev/shm")), f"nothing of {new} is left in /dev/shm", 30)
        eventually(self.is_port_free, "nobody holds the port", 20)
        return self.process.returncode, out, err


@pytest.fixture
def scene(launcher):
    return Scene(launcher)


def test_a_rank_exits_7(scene):
    code, _, err = scene.start(READY + "print('ready')\nif rank == '1': sys.exit(7)\n" + NAP).end()
    assert code == 7
    assert "rank 1 (pid " in err and "exited with code 7; 1 other rank was ended" in err


def test_a_rank_crashes(scene):
    code, _, err = scene.start(READY + "print('ready')\nif rank == '0': os.kill(os.getpid(), 11)\n" + NAP).end()
    assert code == 128 + signal.SIGSEGV
    assert "rank 0 (pid " in err and "was killed by signal 11 (SIGSEGV); 1 other rank was ended" in err


def test_a_rank_ignores_sigterm(scene):
    scene.start(READY + DEAF + "print('ready')\nif rank == '0': sys.exit(5)\n" + NAP)
    code, _, err = scene.end()
    assert code == 5
    assert "1 other rank had to be killed" in err


@pytest.mark.parametrize("session", [[], ["setsid"]])
@pytest.mark.parametrize("ending", ["sys.exit(0)", "sys.exit(9)", "os.kill(os.getpid(), 9)"])
def test_a_grandchild_outlives_its_rank(scene, session, ending):
    grandchild = GRANDCHILD.replace("SESSION", repr(session))
    code, _, err = scene.start(READY + grandchild + "print('ready', flush=True)\n" + ending).end()
    assert code == {"sys.exit(0)": 0, "sys.exit(9)": 9}.get(ending, 137)
    assert ("what they left running is ended too" in err) == (code == 0)


@pytest.mark.parametrize("session", [[], ["setsid"]])
@pytest.mark.parametrize("victim", ["launcher", "keeper", "both"])
@pytest.mark.parametrize("as_rank", ["python", "bash"])
def test_killed_with_9(scene, session, victim, as_rank):
    text = READY + DEAF + GRANDCHILD.replace("SESSION", repr(session)) + "print('ready', flush=True)\n" + NAP
    (scene.launcher.folder / "rank.py").write_text(text)
    python = scene.launcher.python("")[0]
    command = [python, "rank.py"] if as_rank == "python" else ["bash", "-c", f"{python} rank.py; echo never"]
    scene.start("", command=command)
    keeper = scene.keeper()
    if victim == "both":
        os.kill(keeper, signal.SIGSTOP)  # so that the launcher's end finds it unable to act
    if victim in ("launcher", "both"):
        scene.process.kill()
    if victim == "both":
        scene.process.wait(LIMIT_S)
        os.kill(keeper, signal.SIGCONT)
    if victim == "keeper":
        os.kill(keeper, signal.SIGKILL)
    code, _, err = scene.end()
    assert code == (125 if victim == "keeper" else -signal.SIGKILL)
    assert victim != "keeper" or "shm-keeper) was killed" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_twice(scene, number):
    text = READY + DEAF + GRANDCHILD.replace("SESSION", "['setsid']") + "print('ready', flush=True)\n" + NAP
    scene.start(text, "--grace", "600")
    scene.process.send_signal(number)
    time.sleep(0.3)
    assert scene.process.poll() is None
    scene.process.send_signal(number)
    code, _, err = scene.end()
    assert code == 128 + number
    assert "2 ranks had to be killed" in err


def test_a_full_disk_under_the_logs(scene):
    (scene.launcher.folder / "logs").mkdir()
    (scene.launcher.folder / "logs" / "rank-0.out").symlink_to("/dev/full")
    code, out, err = scene.start(READY + "print('ready')\ntime.sleep(0.2)\nprint('the end')", "--log-dir", "logs").end()
    assert code == 125
    assert sorted(out.splitlines()) == ["[0] the end", "[1] the end"]
    assert "No space left on device" in err


# Who failed, and what it said


def report(err):
    return [line.removeprefix("shm-launch: ") for line in err.splitlines() if line.startswith("shm-launch: ")]


def test_the_last_lines_of_the_first_to_fail(launcher):
    """They lie far above in the others' output."""
    code = (
        AFTER_RANK_1
        + """
if os.environ["RANK"] == "1":
    for i in range(9): print("line", i, file=sys.stderr)
    print("10%\\r20%\\rbar", file=sys.stderr)
    print("\\n", file=sys.stderr)
    leave(3)
for i in range(100): print("noise", file=sys.stderr)
sys.exit(1)
"""
    )
    result = launcher.run("-n", "3", *launcher.python(code))
    assert result.returncode == 3
    lines = report(result.stderr)
    at = lines.index("rank 1 wrote last on standard error:")
    assert lines[at + 1 : at + 6] == ["  line 5", "  line 6", "  line 7", "  line 8", "  bar"]
    assert "rank 1 (pid " in lines[-1]


def test_a_byte_0_in_the_last_lines(launcher):
    last = "os.write(2, b'a\\nb\\0b\\nlast words\\n'); leave(3)"
    code = f"{AFTER_RANK_1}\nif os.environ['RANK'] == '1': {last}\nsys.exit('noise')"
    lines = report(launcher.run("-n", "2", *launcher.python(code)).stderr)
    at = lines.index("rank 1 wrote last on standard error:")
    assert lines[at + 1 : at + 4] == ["  a", "  b?b", "  last words"]


@pytest.mark.parametrize("length", [3000, 4096, 10000])
def test_a_last_line_that_is_long(launcher, length):
    """Its end is kept and the begin of that is shown."""
    code = f"{AFTER_RANK_1}\nif os.environ['RANK'] == '1': os.write(2, b'x' * {length}); leave(3)\nsys.exit('noise')"
    result = launcher.run("-n", "2", *launcher.python(code))
    lines = report(result.stderr)
    assert lines[lines.index("rank 1 wrote last on standard error:") + 1] == "  " + "x" * 1000


@pytest.mark.parametrize("ranks", [1, 2])
def test_what_stands_last_on_the_screen_is_not_repeated(launcher, ranks):
    code = "import os, sys\nif os.environ['RANK'] == '0': sys.exit('what went wrong')\nimport time; time.sleep(600)"
    result = launcher.run("-n", str(ranks), *launcher.python(code))
    assert result.stderr.count("what went wrong") == 1
    assert "wrote last" not in result.stderr


def test_a_rank_without_words(launcher):
    result = launcher.run("-n", "2", "false")
    assert result.returncode == 1
    assert "wrote last" not in result.stderr and "traceback" not in result.stderr


def leaves(text):
    """A rank 1 that leaves `text` as its error and then fails among others that speak after it."""
    return f"""{AFTER_RANK_1}
if os.environ["RANK"] == "1":
    open(os.environ["TORCHELASTIC_ERROR_FILE"], "w").write({text!r})
    print("on standard error", file=sys.stderr)
    leave(1)
sys.exit("noise")
"""


STACK = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nValueError: bad\n'


@pytest.mark.parametrize(
    "error, shown",
    [
        ({"message": {"message": "ValueError: bad", "extraInfo": {"py_callstack": STACK}}}, STACK.splitlines()),
        ({"message": {"message": "only this"}}, ["only this"]),
        ({"message": "a bare message"}, ["a bare message"]),
        (
            {"message": {"message": "x", "extraInfo": {"py_callstack": "\n".join(map(str, range(1000)))}}},
            [str(i) for i in range(950, 1000)],
        ),
    ],
)
def test_an_error_file_is_shown(launcher, error, shown):
    result = launcher.run("-n", "2", *launcher.python(leaves(json.dumps(error))))
    lines = report(result.stderr)
    at = lines.index("traceback of rank 1:")
    assert lines[at + 1 : -1] == ["  " + line for line in shown]
    assert "wrote last" not in result.stderr


@pytest.mark.parametrize("text", ["", "no JSON", '{"message": 3}', "[]", '{"message": {}}', "{" * 100000, '{"a": 1}'])
def test_an_error_file_that_makes_no_sense(launcher, text):
    result = launcher.run("-n", "2", *launcher.python(leaves(text)))
    assert result.returncode == 1
    lines = report(result.stderr)
    assert lines[lines.index("rank 1 wrote last on standard error:") + 1] == "  on standard error"


def test_a_script_under_torchs_record(launcher):
    pytest.importorskip("torch")
    script = launcher.folder / "script.py"
    script.write_text(
        """
import os, time
from torch.distributed.elastic.multiprocessing.errors import record

@record
def main():
    if os.environ["RANK"] == "1":
        raise ValueError("the cause")
    time.sleep(600)

main()
"""
    )
    result = launcher.run("-n", "2", *launcher.python("")[:1], str(script))
    assert result.returncode == 1
    lines = report(result.stderr)
    screen = [line for line in result.stderr.splitlines() if line.startswith("[1] ")]
    # Shown once: by the rank itself if nothing came after it, else again at the end.
    shown = lines if "traceback of rank 1:" in lines else [line.removeprefix("[1] ") for line in screen]
    assert any("ValueError: the cause" in line for line in shown)
    assert any("in main" in line for line in shown)


def test_errors_work_without_a_place_for_temporary_files(launcher):
    result = launcher.run("-n", "2", "sh", "-c", "exit 4", env={"TMPDIR": "/no/such/folder"})
    assert result.returncode == 4


def test_a_folder_that_both_keepers_left_goes_with_the_next_job(launcher):
    tmp = launcher.folder / "tmp"
    for name in ("aaaaaa", "bbbbbb", "cccccc"):
        (tmp / f"shm-launch.{name}" / "0" / "1").mkdir(parents=True)
        (tmp / f"shm-launch.{name}" / "0" / "1" / "error.json").write_text("{}")
        (tmp / f"shm-launch.{name}").chmod(0o700)
        if name != "cccccc":  # which may be about to be locked
            os.utime(tmp / f"shm-launch.{name}", (0, 0))
    (tmp / "shm-launch.notes").mkdir()
    in_use = os.open(tmp / "shm-launch.bbbbbb", os.O_RDONLY)
    fcntl.flock(in_use, fcntl.LOCK_SH)
    assert launcher.run("-n", "1", "true", env={"TMPDIR": str(tmp)}).returncode == 0
    os.close(in_use)
    assert sorted(os.listdir(tmp)) == ["shm-launch.bbbbbb", "shm-launch.cccccc", "shm-launch.notes"]


def test_a_folder_of_a_job_that_runs_is_locked(launcher):
    tmp = launcher.folder / "tmp"
    tmp.mkdir()
    process = launcher.start("-n", "1", "sh", "-c", "echo ready; sleep 600", env={"TMPDIR": str(tmp)})
    assert process.stdout.readline() == "ready\n"
    (theirs,) = tmp.iterdir()
    os.utime(theirs, (0, 0))
    assert launcher.run("-n", "1", "true", env={"TMPDIR": str(tmp)}).returncode == 0
    assert theirs.exists()
    process.terminate()
    process.communicate(timeout=LIMIT_S)


# Limits


def limit(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_most_ranks_with_1024_files(launcher):
    words = ["-n", "64", "--no-bind", "--log-dir", "logs", "--stdin", "all", "cat"]
    result = launcher.run(*words, stdin="text\n", preexec_fn=limit(1024, 1024))
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == sorted(f"[{rank}] text" for rank in range(64))
    assert len(os.listdir(launcher.folder / "logs")) == 128


def test_a_soft_limit_is_raised_for_us_only(launcher):
    result = launcher.run("-n", "64", "--no-prefix", "sh", "-c", "ulimit -Sn", preexec_fn=limit(256, 1024))
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["256"] * 64


def test_too_few_files_are_told_before_the_start(launcher):
    result = launcher.run("-n", "64", "touch", "started", preexec_fn=limit(256, 256))
    assert result.returncode == 125
    assert "64 ranks need up to 352 open files here, and only 256 are allowed" in result.stderr
    assert not (launcher.folder / "started").exists()
    assert launcher.run("-n", "40", "true", preexec_fn=limit(256, 256)).returncode == 0


def test_ranks_inherit_no_descriptor_of_ours(launcher):
    code = "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"
    words = ["-n", "3", "--no-prefix", "--log-dir", "logs", "--stdin", "all", *launcher.python(code)]
    result = launcher.run(*words, stdin="")
    assert result.stdout == "[0, 1, 2, 3]\n" * 3, "the last one is the listing itself"


# What cannot be killed

NO_PROC = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]


def out_of_sight(launcher, code):
    """Start a rank that leaves a process which nobody finds: in another session, and without /proc."""
    script = f"mount -t tmpfs none /proc || exit 77; {launcher.binary} --no-bind -n 1 --grace 0.2 bash -c '{code}'"
    words = [*NO_PROC, "bash", "-c", script]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=launcher.environment())
    launcher.started.append(process)
    return process


def test_what_cannot_be_killed_is_left_behind(launcher):
    """The launcher says so and ends, after the five seconds that SIGKILL is given."""
    if not shutil.which("unshare"):
        pytest.skip("no unshare(1) to hide /proc with")
    failed = out_of_sight(launcher, "setsid sleep 600 & exit 3")
    lost = out_of_sight(launcher, "setsid sleep 600 & kill -9 $PPID; sleep 600")
    ends = [(it.communicate(timeout=LIMIT_S)[1], it.returncode) for it in (failed, lost)]
    if "unshare:" in ends[0][0] or ends[0][1] == 77:
        pytest.skip("no mount in a user namespace here")
    if "LeakSanitizer" in ends[0][0]:
        pytest.skip("a sanitizer that looks for leaks at the end needs /proc")
    assert ends[0][1] == 3 and "do not die even of SIGKILL; the keeper (pid " in ends[0][0]
    assert ends[1][1] == 125 and "do not die even of SIGKILL; they are left behind" in ends[1][0]
