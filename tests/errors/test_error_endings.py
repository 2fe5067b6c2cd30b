# SPDX-License-Identifier: Apache-2.0
"""How jobs end: the last line of shm-launch, as docs/errors.md has it, and the exit code."""

import errno
import os
import resource
import signal

import pytest
from denying import forbidding
from error_table import assert_documented


def ending(words: str, message: str, code: str) -> None:
    """The line, without the count of the other ranks that stands behind it."""
    said = message.removeprefix("shm-launch: ").split("; ")[0]
    assert_documented(words, said, code)


@pytest.mark.parametrize(
    ("words", "code", "exit_code", "script"),
    [
        ("exited with code", "that code", 7, "exit 7"),
        ("was killed by signal {number} (SIG{name})", "128 + number", 139, "kill -SEGV $$"),
        ("(SIGRTMIN{number})", "128 + number", 128 + signal.SIGRTMIN + 6, f"kill -{signal.SIGRTMIN + 6} $$"),
    ],
)
def test_ranks(launcher, words, code, exit_code, script):
    result = launcher.run("-n", "1", "sh", "-c", script)
    assert result.returncode == exit_code
    ending(words, result.stderr.splitlines()[-1], code)


def test_timeout(launcher):
    result = launcher.run("-n", "2", "--timeout", "0.3", "sleep", "60")
    assert result.returncode == 124
    ending("the job took longer than --timeout", result.stderr.splitlines()[-1], "124")


def test_signals(launcher):
    job = launcher.start("-n", "1", "sh", "-c", "echo ready; exec sleep 60")
    job.stdout.readline()
    job.send_signal(signal.SIGTERM)
    _, error = job.communicate(timeout=60)
    assert job.returncode == 128 + signal.SIGTERM
    ending("ended by SIG", error.splitlines()[-1], "128 + number")


@pytest.mark.parametrize(
    ("command", "code"), [("no-such-command", 127), ("./no-file", 127), (".", 126), ("./text", 126)]
)
def test_starts(launcher, command, code):
    (launcher.folder / "text").write_text("no program\n")
    result = launcher.run("-n", "1", command)
    assert (result.returncode, result.stdout) == (code, "")
    ending('cannot start "{command}": {why}', result.stderr.splitlines()[-1], str(code))


def test_open_files(launcher):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    result = launcher.run("-n", "64", "true", preexec_fn=few)
    assert (result.returncode, result.stdout) == (125, "")
    ending("raise that limit (ulimit -Hn), or start fewer ranks", result.stderr.splitlines()[-1], "125")


@pytest.mark.parametrize(
    ("words", "code", "command"),
    [
        ("the plan cannot be shown:", 125, ["plan", "-n", "1"]),
        ("the difference cannot be shown:", 2, ["plan", "--diff", "a.json", "b.json"]),
    ],
)
def test_shows(launcher, words, code, command):
    for name, ranks in (("a.json", "1"), ("b.json", "2")):
        (launcher.folder / name).write_text(launcher.run("plan", "-n", ranks, "--json").stdout)
    with open("/dev/full", "w") as full:
        job = launcher.start(*command, stdout=full)
        _, error = job.communicate(timeout=60)
    assert job.returncode == code
    ending(words, error.splitlines()[-1], str(code))


def test_strict(launcher):
    result = launcher.run("-n", "1", "--strict", "true", preexec_fn=forbidding("sched_setaffinity", errno.EPERM))
    assert result.returncode == 125
    ending("nothing runs unbound with --strict", result.stderr.splitlines()[-1], "125")


def test_what_the_kernel_refuses(launcher):
    result = launcher.run("-n", "1", "true", preexec_fn=forbidding("pipe2", errno.EMFILE))
    assert result.returncode == 125
    ending("rank {rank} cannot be started:", result.stderr.splitlines()[-1], "125")


def test_the_keeper_is_killed(launcher):
    job = launcher.start("-n", "1", "sh", "-c", "echo ready; exec sleep 60")
    job.stdout.readline()
    for pid, line in launcher.relatives().items():
        if line.startswith("shm-keeper"):
            os.kill(pid, signal.SIGKILL)
    _, error = job.communicate(timeout=60)
    assert job.returncode == 125
    ending("the process that keeps the ranks (shm-keeper) was killed", error.splitlines()[-1], "125")


def test_a_full_disk(launcher):
    with open("/dev/full", "w") as full:
        job = launcher.start("-n", "2", "echo", "text", stdout=full)
        _, error = job.communicate(timeout=60)
    assert job.returncode == 125
    ending("output was lost, it cannot be passed on:", error.splitlines()[-1], "125")


def test_a_full_disk_of_logs(launcher):
    (launcher.folder / "logs").mkdir()
    (launcher.folder / "logs" / "rank-0.out").symlink_to("/dev/full")
    result = launcher.run("-n", "1", "--log-dir", "logs", "echo", "text")
    assert result.returncode == 125
    ending("output was lost, not all of it is in --log-dir", result.stderr.splitlines()[-1], "125")
