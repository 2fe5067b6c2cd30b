# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of one suite against one backend, each in processes of its own with its own deadline.

Importing torch and the suite takes seconds, and every test starts several ranks. So one process imports
everything, runs nothing and stays without threads; each test is forked from it, and the test forks its ranks.
"""

import json
import os
import re
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unittest
from dataclasses import asdict, dataclass

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass
class Outcome:
    """What became of one test. `reason` is one line, `text` all that was printed, when it failed."""

    test: str
    state: str
    reason: str = ""
    text: str = ""
    seconds: float = 0.0


@dataclass
class Running:
    test: str
    pid: int
    pipe: int
    folder: str
    started: float
    text: bytes = b""


def name_of(test: unittest.TestCase) -> str:
    return f"{type(test).__name__}.{test._testMethodName}"


def one_line(text: str) -> str:
    """The last exception of a traceback, and the lines right below it."""
    lines = [line.strip() for line in text.strip().splitlines()]
    lines = lines[: next((n for n, line in enumerate(lines) if line.startswith("To execute this test")), None)]
    for n in reversed(range(len(lines))):
        if re.match(r"(\w+\.)*\w*(Error|Exception|Failure|Skip\w*)\b", lines[n]):
            return " ".join(filter(None, lines[n : n + 4]))[:300]
    return next((line[:300] for line in reversed(lines) if line), "no text")


def _judge(test: unittest.TestCase) -> Outcome:
    """Run the test in this process."""
    result = unittest.TestResult()
    unittest.TestSuite([test]).run(result)
    bad = result.errors + result.failures
    if bad:
        text = "\n".join(text for _, text in bad)
        return Outcome(name_of(test), FAILED, one_line(text), text)
    if result.unexpectedSuccesses:
        return Outcome(name_of(test), FAILED, "succeeded where its author expected a failure")
    if result.skipped:
        return Outcome(name_of(test), SKIPPED, result.skipped[0][1])
    return Outcome(name_of(test), PASSED)


def _be_the_test(test: unittest.TestCase, folder: str, pipe: int) -> None:
    """In the forked process: a session, a folder and an output of its own; then the test; never returns."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    output = os.open(f"{folder}/output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    try:
        outcome = _judge(test)
    except BaseException:
        outcome = Outcome(name_of(test), FAILED, "the test's own process failed", traceback.format_exc())
    sys.stdout.flush()
    sys.stderr.flush()
    data = json.dumps(asdict(outcome)).encode()
    while data:
        data = data[os.write(pipe, data) :]
    os._exit(0)


def _start(test: unittest.TestCase, base: str) -> Running:
    folder = tempfile.mkdtemp(dir=base)
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        _be_the_test(test, folder, theirs)
    os.close(theirs)
    return Running(name_of(test), pid, ours, folder, time.monotonic())


def _finish(run: Running, late: float | None) -> Outcome:
    """All processes of the test end here: they are one session, whose leader has not been waited for yet."""
    try:
        os.killpg(run.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    _, status = os.waitpid(run.pid, 0)
    os.close(run.pipe)
    try:
        outcome = Outcome(**json.loads(run.text))
    except ValueError:
        reason = f"no answer in {late:g} s" if late else f"its process ended with status {status}"
        outcome = Outcome(run.test, FAILED, reason)
    outcome.seconds = round(time.monotonic() - run.started, 2)
    if outcome.state == FAILED:
        with open(f"{run.folder}/output", errors="replace") as file:
            outcome.text += "\n--- output\n" + file.read()[-20000:]
    shutil.rmtree(run.folder, ignore_errors=True)
    return outcome


def run_all(tests: list[unittest.TestCase], deadline: float, jobs: int):
    """Each outcome as it comes. At most `jobs` tests at once; one that takes `deadline` seconds has failed."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"{threads} threads after importing the tests, where a fork keeps only one")
    base = tempfile.mkdtemp(prefix="conformance-")
    waiting, running = list(tests), []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(waiting.pop(0), base))
            left = min(run.started for run in running) + deadline - time.monotonic()
            ready, _, _ = select.select([run.pipe for run in running], [], [], max(0.0, left))
            for run in list(running):
                data = os.read(run.pipe, 1 << 20) if run.pipe in ready else None
                late = time.monotonic() - run.started > deadline
                if data:
                    run.text += data
                elif data == b"" or late:
                    running.remove(run)
                    yield _finish(run, deadline if data is None else None)
    finally:
        for run in running:
            _finish(run, deadline)
        shutil.rmtree(base, ignore_errors=True)
