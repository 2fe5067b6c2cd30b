# SPDX-License-Identifier: Apache-2.0
"""What the tests of shm-launch share: starting it, and looking at what it leaves behind.

The binary is $SHM_LAUNCH, or shm-launch on PATH. Waits have generous limits, since nothing here
measures speed; a test that passes ends long before them.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import processes
import pytest

LIMIT_S = 60

# What shm-launch or the ranks look at, and a test sets itself.
DROPPED = ("OMP_", "GOMP_", "KMP_", "SHMRT_", "SHM_LAUNCH_", "HWLOC_", "TORCHELASTIC_", "PYTHONUNBUFFERED")
DROPPED += ("LD_PRELOAD", "RANK", "WORLD_SIZE", "MASTER_", "SLURM_", "FLUX_", "OMPI_", "PMI_", "PMIX_", "MPI_LOCAL")


def installed() -> str:
    """The path of the shm-launch that is tested."""
    binary = os.environ.get("SHM_LAUNCH") or shutil.which("shm-launch")
    if not binary or not Path(binary).exists():
        pytest.fail("shm-launch is neither in SHM_LAUNCH nor on PATH: build and install it first")
    return str(Path(binary).resolve())


class Launcher:
    """Starts shm-launch in an environment where a marker finds its ranks again."""

    def __init__(self, binary: str, folder: Path):
        self.binary = binary
        self.folder = folder
        self.marker = f"SHMRT_TEST_MARKER={uuid.uuid4().hex}"
        self.started: list[subprocess.Popen] = []

    def environment(self, **changes: str | None) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED)}
        name, value = self.marker.split("=")
        env[name] = value
        for key, change in changes.items():
            env.pop(key, None)
            if change is not None:
                env[key] = change
        return env

    def start(self, *words: str, env: dict[str, str | None] | None = None, **options) -> subprocess.Popen:
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options.setdefault("text", True)
        options.setdefault("cwd", self.folder)
        process = subprocess.Popen([self.binary, *words], env=self.environment(**(env or {})), **options)
        self.started.append(process)
        return process

    def run(self, *words: str, stdin: str | None = None, **options) -> subprocess.CompletedProcess:
        if stdin is not None:
            options["stdin"] = subprocess.PIPE
        process = self.start(*words, **options)
        out, err = process.communicate(stdin, timeout=LIMIT_S)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def python(self, code: str) -> list[str]:
        """The words of a command that runs `code`."""
        return [sys.executable, "-c", code]

    def on_terminal(self, *words: str, typed: list[tuple[bytes, bytes]] = (), code: int = 0) -> bytes:
        """Run with a controlling terminal as all of the standard descriptors; everything it showed.

        typed: what is typed, each after the text before it has been shown.
        """
        # Only a session's leader can take a terminal, and only the foreground group may read it.
        attach = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        leader, follower = pty.openpty()
        ends = {"stdin": follower, "stdout": follower, "stderr": follower}
        command = [sys.executable, "-c", attach, self.binary, *words]
        process = subprocess.Popen(command, env=self.environment(), cwd=self.folder, start_new_session=True, **ends)
        self.started.append(process)
        os.close(follower)
        waiting, seen, answered = list(typed), b"", 0
        while True:
            assert select.select([leader], [], [], LIMIT_S)[0], seen
            try:
                seen = (seen + os.read(leader, 4096)).replace(b"\r\n", b"\n")
            except OSError:  # the other side is closed
                break
            if waiting and waiting[0][0] in seen[answered:]:
                answered = len(seen)
                os.write(leader, waiting.pop(0)[1])
        os.close(leader)
        assert process.wait(LIMIT_S) == code, seen
        return seen

    def relatives(self) -> dict[int, str]:
        """Processes with our marker in their environment, whoever their parent is."""
        return processes.marked(self.marker)

    def clean_up(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait(LIMIT_S)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()


def told(stderr: str) -> str:
    """What was said, but for the state of this machine: few cores, or another job on them."""
    of_machine = ("ranks share", "where another job runs already")
    return "\n".join(line for line in stderr.splitlines() if not any(words in line for words in of_machine))


def eventually(check, what: str, limit_s: float = LIMIT_S):
    return processes.eventually(check, what, limit_s)


@contextlib.contextmanager
def launcher_in(folder: Path):
    """A launcher; at the end, everything that it has started has to end, too."""
    it = Launcher(installed(), folder)
    yield it
    it.clean_up()
    eventually(lambda: not it.relatives(), "everything that the test started ends", 20)
