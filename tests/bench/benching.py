# SPDX-License-Identifier: Apache-2.0
"""What the tests of shm-bench share: starting it, and looking at what it leaves behind.

The binary is $SHM_BENCH, or shm-bench on PATH. No test here looks at how fast anything is: runs are
as short as they can be, waits have generous limits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import uuid
from pathlib import Path

import processes

LIMIT_S = 120


class Bench:
    """Starts shm-bench in an environment where a marker finds all its processes again."""

    def __init__(self, binary: str, folder: Path):
        self.binary = binary
        self.folder = folder
        self.marker = f"SHMRT_TEST_MARKER={uuid.uuid4().hex}"
        self.started: list[subprocess.Popen] = []

    def start(self, *words: object, env: dict[str, str] | None = None) -> subprocess.Popen:
        name, value = self.marker.split("=")
        kept = {key: text for key, text in os.environ.items() if not key.startswith(("OMP_", "SHMRT_"))}
        process = subprocess.Popen(
            [self.binary, *map(str, words)],
            env={**kept, name: value, **(env or {})},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        process = self.start(*words, env=env)
        out, err = process.communicate(timeout=LIMIT_S)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def report(self, *words: object, env: dict[str, str] | None = None) -> dict:
        """The JSON of a run that has to succeed; as short as a run can be."""
        done = self.run(*words, "--seconds", "0.001", "--quiet", "--json", "-", env=env)
        assert done.returncode == 0, done.stderr
        return {**json.loads(done.stdout), "stderr": done.stderr}

    def relatives(self) -> dict[int, str]:
        """Processes with our marker in their environment, whoever their parent is."""
        return processes.marked(self.marker)

    def clean_up(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait(LIMIT_S)
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()


def eventually(check, what: str, limit_s: float = LIMIT_S):
    return processes.eventually(check, what, limit_s)


def rows(report: dict, contender: str) -> list[dict]:
    return [row for row in report["results"] if row["contender"] == contender]
