# SPDX-License-Identifier: Apache-2.0
"""--restarts: after a failure all ranks begin anew, and only then."""

import json
import os
import signal
import time

import pytest
from launching import LIMIT_S, eventually

FAIL_UNTIL = "[ $TORCHELASTIC_RESTART_COUNT -ge {} ] || exit 3"


def restarts_in(text):
    return [line for line in text.splitlines() if "all ranks are started again" in line]


def test_until_it_works(launcher):
    result = launcher.run("-n", "2", "--restarts", "5", "sh", "-c", FAIL_UNTIL.format(2) + "; echo done")
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["[0] done", "[1] done"]
    told = [f"shm-launch: restart {i} of 5: all ranks are started again" for i in (1, 2)]
    assert restarts_in(result.stderr) == told
    assert result.stderr.count("exited with code 3") == 2, "each failure is told"


def test_the_code_of_the_last_attempt(launcher):
    result = launcher.run("-n", "2", "--restarts", "2", "sh", "-c", "exit $((10 + TORCHELASTIC_RESTART_COUNT))")
    assert result.returncode == 12
    assert len(restarts_in(result.stderr)) == 2


def test_all_ranks_are_started_again_each_time_as_another_job(launcher):
    code = """
import json, os, sys
names = ("RANK", "SHMRT_JOB", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
print(json.dumps([os.environ[name] for name in names]))
sys.exit(int(os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] != "2"))
"""
    result = launcher.run("-n", "2", "--no-prefix", "--restarts", "2", *launcher.python(code))
    assert result.returncode == 0, result.stderr
    seen = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted((attempt, rank) for rank, _, _, attempt in seen) == [(a, r) for a in "012" for r in "01"]
    assert len({key for _, key, _, _ in seen}) == 3
    for attempt in "012":
        assert len({(key, port) for _, key, port, a in seen if a == attempt}) == 1


def test_a_port_of_the_user_stays(launcher):
    command = "echo $MASTER_PORT; exit 1"
    result = launcher.run("-n", "1", "--master-port", "29876", "--restarts", "1", "sh", "-c", command)
    if "already used" in result.stderr:
        pytest.skip("somebody else has that port")
    assert result.stdout == "29876\n29876\n"


def test_nothing_of_an_attempt_outlives_it(launcher):
    code = r"""
import os, subprocess, sys, time
first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
if first:
    deaf = "trap '' TERM INT HUP; touch deaf.$RANK; while :; do sleep 600; done"
    subprocess.Popen(["setsid", "sh", "-c", deaf])
    while not os.path.exists("deaf." + os.environ["RANK"]):
        time.sleep(0.01)
    sys.exit(1)
mine = next(v for k, v in os.environ.items() if k == "SHMRT_TEST_MARKER")
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        env = open(f"/proc/{pid}/environ", "rb").read()
        line = open(f"/proc/{pid}/cmdline", "rb").read()
    except OSError:
        continue
    if mine.encode() in env and line.startswith(b"sh\0-c"):
        found.append(line)
print(found)
"""
    result = launcher.run("-n", "2", "--grace", "0.2", "--restarts", "1", *launcher.python(code))
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["[0] []", "[1] []"]


@pytest.mark.parametrize("words", [["no-such-command-here"], ["--timeout", "0.3", "sleep", "600"]])
def test_what_is_no_failure_of_a_rank_starts_nothing_again(launcher, words):
    result = launcher.run("-n", "2", "--restarts", "3", *words)
    assert result.returncode in (124, 127)
    assert not restarts_in(result.stderr)


def test_the_timeout_is_for_all_attempts_together(launcher):
    before = time.monotonic()
    result = launcher.run("-n", "1", "--restarts", "1000", "--timeout", "1", "sh", "-c", "sleep 0.2; exit 1")
    assert result.returncode == 124
    assert 1 <= len(restarts_in(result.stderr)) <= 5
    assert time.monotonic() - before >= 1


def test_who_asked_for_the_end_gets_no_restart(launcher):
    """Also when a rank had failed before, and its peers were just being waited for."""
    command = '[ $RANK = 0 ] && exit 3; trap "" TERM INT; echo ready; sleep 600 & wait; sleep 600'
    process = launcher.start("-n", "2", "--restarts", "3", "--grace", "0.3", "sh", "-c", command)
    assert "ready" in process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 3
    assert not restarts_in(err)


def test_ctrl_c_in_a_later_attempt(launcher):
    command = "[ $TORCHELASTIC_RESTART_COUNT = 0 ] && exit 3; echo ready; exec sleep 600"
    process = launcher.start("-n", "2", "--restarts", "3", "sh", "-c", command)
    assert "ready" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert len(restarts_in(err)) == 1
    assert "ended by SIGINT" in err


@pytest.mark.parametrize("who", ["0", "all"])
def test_the_next_attempt_reads_the_rest_of_the_input(launcher, who):
    command = "read line; echo got $line; sleep 0.3; " + FAIL_UNTIL.format(1)
    process = launcher.start("-n", "2", "--no-prefix", "--stdin", who, "--restarts", "1", "sh", "-c", command, stdin=-1)
    lines = []
    for text in ("one", "two"):
        process.stdin.write(text + "\n")
        process.stdin.flush()
        lines += [process.stdout.readline() for _ in range(2)]
        while text == "one" and "started again" not in process.stderr.readline():
            assert process.poll() is None
    assert process.wait(LIMIT_S) == 0
    assert [line.split()[1:] for line in sorted(lines)].count(["one"]) == (2 if who == "all" else 1)
    assert [line.split()[1:] for line in sorted(lines)].count(["two"]) == (2 if who == "all" else 1)


def test_many_restarts_leave_no_descriptor_open(launcher):
    """With few allowed, a single one left by each attempt would end this."""
    words = ["-n", "1", "--restarts", "120", "sh", "-c", FAIL_UNTIL.format(120)]
    result = launcher.run("--log-dir", "logs", *words, preexec_fn=few_files)
    assert result.returncode == 0, result.stderr[-500:]
    assert len(restarts_in(result.stderr)) == 120


def few_files():
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def test_no_folder_of_errors_is_left_by_any_attempt(launcher):
    (launcher.folder / "tmp").mkdir()
    env = {"TMPDIR": str(launcher.folder / "tmp")}
    result = launcher.run("-n", "2", "--restarts", "2", "sh", "-c", "echo $TORCHELASTIC_ERROR_FILE; exit 1", env=env)
    assert result.returncode == 1
    files = {line.split()[1] for line in result.stdout.splitlines()}
    assert sorted(os.path.relpath(file, env["TMPDIR"]).split("/")[1:] for file in files) == [
        [attempt, rank, "error.json"] for attempt in "012" for rank in "01"
    ]
    eventually(lambda: not os.listdir(launcher.folder / "tmp"), "nothing is left")
