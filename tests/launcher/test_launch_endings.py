# SPDX-License-Identifier: Apache-2.0
"""Exit codes, signals, and that nothing is left, however a job ends."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from launching import LIMIT_S, eventually

# Naps, since Python does not run the handler of a signal that came just before a long sleep.
WAIT = """
import time
print('ready', flush=True)
while True:
    time.sleep(0.05)
"""
STUBBORN = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
print('ready', flush=True)
time.sleep(600)
"""


def when_ready(process, count):
    """Wait for `count` lines of "ready"."""
    seen = 0
    while seen < count:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        seen += "ready" in line
    return process


def ending(process):
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def rank_code(*lines):
    return "import os, sys, time, signal\nrank = int(os.environ['RANK'])\n" + "\n".join(lines)


def test_success(launcher):
    result = launcher.run("-n", "2", "--no-bind", "true")
    assert result.returncode == 0
    assert "rank" not in result.stderr.replace("ranks share", "")


@pytest.mark.parametrize("ranks", [1, 3])
def test_the_code_of_the_rank_that_failed(launcher, ranks):
    code = rank_code(f"if rank == {ranks - 1}: sys.exit(7)", "time.sleep(600)")
    code, _, err = ending(launcher.start("-n", str(ranks), "--grace", "5", *launcher.python(code)))
    assert code == 7
    last = err.splitlines()[-1]
    assert f"rank {ranks - 1} (pid " in last and "exited with code 7" in last
    assert ("2 other ranks were ended" in last) == (ranks == 3)


def test_the_first_failure_counts(launcher):
    code = rank_code("if rank == 2: sys.exit(9)", "time.sleep(0.8)", "sys.exit(3)")
    code, _, err = ending(launcher.start("-n", "3", *launcher.python(code)))
    assert code == 9
    assert "2 other ranks ended by themselves and all failed too" in err


def test_the_others_failed_or_not(launcher):
    code = rank_code("if rank == 2: sys.exit(9)", "time.sleep(0.5)", "sys.exit(rank)")
    assert (
        "2 other ranks ended by themselves (1 failed too)"
        in ending(launcher.start("-n", "3", *launcher.python(code)))[2]
    )
    code = rank_code("if rank == 1: sys.exit(9)", "time.sleep(0.5)")
    assert "1 other rank ended by itself with success" in ending(launcher.start("-n", "2", *launcher.python(code)))[2]


def test_peers_get_a_moment_to_say_what_they_saw(launcher):
    code = rank_code("if rank == 0: os.kill(os.getpid(), signal.SIGKILL)", "time.sleep(0.5)", "sys.exit('rank 0 died')")
    code, _, err = ending(launcher.start("-n", "2", *launcher.python(code)))
    assert code == 128 + signal.SIGKILL
    assert "[1] rank 0 died" in err


def test_killed_by_a_signal(launcher):
    code, _, err = ending(launcher.start("-n", "2", "sh", "-c", "kill -SEGV $$"))
    assert code == 128 + signal.SIGSEGV
    assert "was killed by signal 11 (SIGSEGV)" in err


def test_killed_by_a_real_time_signal(launcher):
    number = signal.SIGRTMIN + 6
    code, _, err = ending(launcher.start("-n", "1", "bash", "-c", f"kill -{int(number)} $$"))
    assert code == 128 + number
    assert f"was killed by signal {int(number)} (SIGRTMIN+6)" in err


def test_ranks_that_ignore_sigterm_are_killed(launcher):
    code = rank_code("if rank == 1: time.sleep(0.3); sys.exit(5)", STUBBORN)
    code, _, err = ending(launcher.start("-n", "2", "--grace", "0.2", *launcher.python(code)))
    assert code == 5
    assert "1 other rank had to be killed" in err


@pytest.mark.parametrize("ranks", [1, 3])
def test_command_not_found(launcher, ranks):
    result = launcher.run("-n", str(ranks), "no-such-command-here")
    assert result.returncode == 127
    assert result.stderr.count("no-such-command-here") == 1, "one line, not one a rank"
    assert "No such file" in result.stderr


def test_command_not_executable(launcher, tmp_path):
    (tmp_path / "data").write_text("data")
    result = launcher.run("-n", "2", str(tmp_path / "data"))
    assert result.returncode == 126
    assert "chmod +x" in result.stderr


def test_what_people_mean_by_a_command(launcher, tmp_path):
    (tmp_path / "t.py").write_text("")
    (tmp_path / "t").write_text("")
    (tmp_path / "folder").mkdir()
    for command, code, hint in [
        ("t.py", 127, "any folder of PATH, but it is in this one: write python t.py"),
        ("t", 127, "any folder of PATH, but it is in this one: write ./t"),
        ("python t.py", 127, "(these words are one: leave out the quotes around them)"),
        ("folder", 127, "any folder of PATH"),
        ("./folder", 126, "Permission denied (this is a folder)"),
    ]:
        result = launcher.run("-n", "1", command, cwd=tmp_path)
        assert result.returncode == code
        assert result.stderr.splitlines()[-1].endswith(hint)


def test_any_name_leaves_the_reason_on_its_line(launcher):
    result = launcher.run("-n", "1", "x/" * 1500)
    assert "No such file or directory" in result.stderr
    result = launcher.run("-n", "1", "./a\nb\033[2J")
    assert result.stderr.splitlines()[-1] == 'shm-launch: cannot start "./a?b?[2J": No such file or directory'
    result = launcher.run("-n", "1", "--log-dir", "no/a\nb", "true")
    assert "--log-dir no/a?b: " in result.stderr


def test_missing_interpreter(launcher, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    result = launcher.run("-n", "1", str(script))
    assert result.returncode == 127
    assert "interpreter" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on(launcher, number):
    process = when_ready(launcher.start("-n", "2", *launcher.python(WAIT)), 2)
    process.send_signal(number)
    code, _, err = ending(process)
    assert code == 128 + number
    assert f"ended by {number.name}; 2 ranks were ended" in err
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)


def test_ctrl_c_on_a_terminal(launcher):
    seen = launcher.on_terminal("-n", "2", *launcher.python(WAIT), typed=[(b"] ready", b"\3")], code=130)
    assert b"ended by SIGINT; 2 ranks were ended" in seen


def test_ctrl_c_twice_on_a_terminal(launcher):
    code = """
import os, signal, time
def stay(*_):
    time.sleep(0.3)  # what comes at once is the same request
    os.write(1, b"got it\\n")
signal.signal(signal.SIGINT, stay)
print("at work", flush=True)
while True:
    time.sleep(0.05)
"""
    typed = [(b"at work", b"\3"), (b"got it", b"\3")]
    seen = launcher.on_terminal("-n", "1", "--grace", "600", *launcher.python(code), typed=typed, code=130)
    assert b"1 rank had to be killed" in seen


def test_a_second_signal_kills_at_once(launcher):
    process = when_ready(launcher.start("-n", "2", "--grace", "600", *launcher.python(STUBBORN)), 2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, _, err = ending(process)
    assert code == 130
    assert "2 ranks had to be killed" in err


def test_grace_time_ends_in_a_kill(launcher):
    process = when_ready(launcher.start("-n", "2", "--grace", "0.3", *launcher.python(STUBBORN)), 2)
    process.send_signal(signal.SIGTERM)
    code, _, err = ending(process)
    assert code == 143
    assert "2 ranks had to be killed" in err


def test_ignored_signals_stay_ignored(launcher):
    """As under nohup."""
    code = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    result = launcher.run(
        "-n", "1", *launcher.python(code), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    assert result.stdout == "True\n"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT])
def test_other_signals_reach_the_ranks(launcher, number):
    code = f"""
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [{int(number)}])
print('ready', flush=True)
signal.sigwait([{int(number)}])
print('got it', flush=True)
"""
    process = when_ready(launcher.start("-n", "2", *launcher.python(code)), 2)
    process.send_signal(number)
    code, out, _ = ending(process)
    assert code == 0
    assert sorted(out.splitlines()) == ["[0] got it", "[1] got it"]


def test_timeout(launcher):
    result = launcher.run("-n", "2", "--timeout", "0.5", "sleep", "600")
    assert result.returncode == 124
    assert "longer than --timeout 0.5; 2 ranks were ended" in result.stderr


def test_under_timeout_one_request_is_one(launcher):
    """timeout(1) signals its child and then the whole group: ranks still get their grace time."""
    code = """
import signal, sys, time
def leave(*_):
    time.sleep(0.3)
    print('left in order', flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
time.sleep(600)
"""
    words = ["timeout", "2", launcher.binary, "-n", "1", *launcher.python(code)]
    result = subprocess.run(words, capture_output=True, text=True, env=launcher.environment(), timeout=LIMIT_S)
    assert result.returncode == 124
    assert result.stdout == "left in order\n"


# Children of a rank: in its group, in another session, and orphaned there and deaf to SIGTERM.
FAMILY = """
sleep 600 &
setsid sleep 600 &
(setsid sh -c 'trap "" TERM HUP INT; echo ready; touch $RANK.deaf; while :; do sleep 600; done' &)
while [ ! -e $RANK.deaf ]; do sleep 0.05; done
"""


def family(launcher, *options, then):
    return when_ready(launcher.start(*options, "-n", "2", "bash", "-c", FAMILY + then), 2)


@pytest.mark.parametrize("victim", ["launcher", "keeper"])
def test_nothing_is_left_after_kill_9(launcher, victim):
    process = family(launcher, then="wait")
    eventually(lambda: len(launcher.relatives()) == 2 + 2 * 5, "launcher, keeper, five processes a rank")
    keepers = [pid for pid, line in launcher.relatives().items() if line.startswith("shm-keeper")]
    assert len(keepers) == 1
    os.kill(process.pid if victim == "launcher" else keepers[0], signal.SIGKILL)
    code, _, err = ending(process)
    assert code == (-signal.SIGKILL if victim == "launcher" else 125)
    assert victim == "launcher" or "shm-keeper" in err
    eventually(lambda: not launcher.relatives(), "nothing is left", 10)


def test_ranks_die_with_both_their_keepers(launcher):
    env = {"TMPDIR": str(launcher.folder)}  # nobody is left to remove the folder of errors
    process = when_ready(launcher.start("-n", "2", *launcher.python(STUBBORN), env=env), 2)
    (keeper,) = (pid for pid, line in launcher.relatives().items() if line.startswith("shm-keeper"))
    os.kill(keeper, signal.SIGSTOP)  # so that it cannot act on the launcher's death
    process.kill()
    process.wait(LIMIT_S)
    os.kill(keeper, signal.SIGKILL)
    eventually(lambda: not launcher.relatives(), "nothing is left", 10)


def test_nothing_is_left_after_a_failure(launcher):
    process = family(launcher, "--grace", "0.3", then="exit 3")
    code, _, _ = ending(process)
    assert code == 3
    assert not launcher.relatives()


def test_nothing_is_left_after_success(launcher):
    process = family(launcher, "--grace", "0.3", then="exit 0")
    code, _, err = ending(process)
    assert code == 0
    assert "what they left running is ended too" in err
    assert not launcher.relatives()


def test_nothing_is_left_after_ctrl_c(launcher):
    process = family(launcher, "--grace", "0.3", then="wait")
    process.send_signal(signal.SIGINT)
    code, _, _ = ending(process)
    assert code == 130
    assert not launcher.relatives()


def test_a_slow_filter_behind_a_rank_may_finish(launcher):
    command = "echo text > >(sleep 0.5; cat)"
    result = launcher.run("-n", "2", "bash", "-c", command)
    assert result.returncode == 0
    assert sorted(result.stdout.splitlines()) == ["[0] text", "[1] text"]
    assert result.stderr.count("left running") == 0


def test_stopped_ranks_still_end(launcher):
    process = when_ready(launcher.start("-n", "2", *launcher.python(WAIT)), 2)
    for pid, line in launcher.relatives().items():
        if "time.sleep" in line and launcher.binary not in line:
            os.kill(pid, signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    code, _, err = ending(process)
    assert code == 143
    assert "2 ranks were ended" in err, "by SIGTERM, which they got when they went on"


def states(launcher):
    """The scheduler's letter for launcher and ranks; the keeper goes on in any case."""
    found = []
    for pid, line in launcher.relatives().items():
        if not line.startswith("shm-keeper"):
            found.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
    return found


def test_stop_and_go_on(launcher):
    """What Ctrl-Z and fg do."""
    process = when_ready(launcher.start("-n", "2", *launcher.python(WAIT)), 2)
    process.send_signal(signal.SIGTSTP)
    eventually(lambda: states(launcher) == ["T"] * 3, "launcher and ranks stop")
    process.send_signal(signal.SIGCONT)
    eventually(lambda: "T" not in states(launcher), "they go on")
    process.send_signal(signal.SIGTERM)
    code, _, err = ending(process)
    assert code == 143
    assert "2 ranks were ended" in err


def test_a_stopped_keeper_still_ends_the_job(launcher):
    process = when_ready(launcher.start("-n", "2", *launcher.python(WAIT)), 2)
    (keeper,) = (pid for pid, line in launcher.relatives().items() if line.startswith("shm-keeper"))
    os.kill(keeper, signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    code, _, err = ending(process)
    assert code == 143
    assert "2 ranks were ended" in err


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_as_another_user(launcher):
    # A signal between Python's look for one and a long sleep would go unheard.
    code = "import os, time; print('ready', os.getuid(), flush=True)\nwhile True: time.sleep(0.1)"
    try:
        process = launcher.start("-n", "2", "/usr/bin/python3", "-c", code, user=65534, group=65534, cwd="/")
    except PermissionError:
        pytest.skip("that user cannot reach shm-launch here")
    when_ready(process, 2)
    process.send_signal(signal.SIGINT)
    code, _, err = ending(process)
    assert code == 130, err
    assert "2 ranks were ended" in err
