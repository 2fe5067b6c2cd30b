# SPDX-License-Identifier: Apache-2.0
"""Ranks as processes: starts N Python workers, calls functions in all of them, never hangs.

A worker is started once and called many times, since importing torch takes longer than most tests; most are forked
from a process that has it (warm.py).
Each call has a deadline; when it passes, every worker writes down where it stands and is killed, by
its own pid.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import warm  # noqa: E402
from worker import serve  # noqa: E402

# For tests that start DeepSpeed by themselves; they say so.
OTHERS_VARIABLES = ("SHMRT_", "DS_")
LAUNCHERS_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS")


class RankFailed(AssertionError):
    """A function raised in a rank, or the rank ended or hung. The text says what each one did."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rank_environment(rank: int, size: int, job: str, port: int) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k not in LAUNCHERS_VARIABLES and not k.startswith(OTHERS_VARIABLES)}
    env |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_SIZE": str(size)}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "SHMRT_JOB": job, "OMP_NUM_THREADS": "1"}
    return env | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}


class Worker:
    """One rank: a process, the pipe to it, and the file of its output. `before`: words in front of its command."""

    def __init__(self, rank: int, env: dict[str, str], before: list[str] | None = None) -> None:
        self.rank = rank
        self.output = tempfile.NamedTemporaryFile()
        self.output_start = 0
        self.pipe, theirs = Pipe()
        if before is None and warm.can_serve(env):
            self.process = warm.Warm(env, self.output.name, serve, theirs)
        else:
            self.process = subprocess.Popen(
                [*(before or []), sys.executable, str(HERE / "worker.py"), str(theirs.fileno())],
                env=env,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=subprocess.STDOUT,
            )
        theirs.close()

    def text(self) -> str:
        self.output.seek(self.output_start)
        return self.output.read().decode(errors="replace")[-6000:]

    def forget_output(self) -> None:
        self.output_start = os.fstat(self.output.fileno()).st_size

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def join_worker() -> None:
    """In the worker: meet the others. Here, as modules named conftest are many, and pickle goes by the name."""
    import shmrt

    shmrt.init()


def renew_worker(variables: dict[str, str]) -> None:
    """In the worker: leave the communicator, and be as newly started with these variables."""
    import shmrt

    shmrt.finalize()
    os.environ.clear()
    os.environ.update(variables)


class Ranks:
    """`size` workers. Variables in `env` may be a string for all, or a list with one for each rank."""

    def __init__(self, size: int, env: dict[str, str | list[str] | None] | None = None) -> None:
        self.size = size
        self.workers = [Worker(rank, variables) for rank, variables in enumerate(self._variables(env))]

    def renew(self, env: dict[str, str | list[str] | None] | None = None) -> None:
        """The same processes as a new job. What a library reads when it is loaded stays as it was."""
        for worker, variables in zip(self.workers, self._variables(env), strict=True):
            worker.forget_output()
            self.call(renew_worker, variables, only=[worker.rank], timeout=30)

    def _variables(self, env: dict[str, str | list[str] | None] | None) -> list[dict[str, str]]:
        job, port = f"test-{uuid.uuid4().hex}", free_port()
        found = []
        for rank in range(self.size):
            variables = rank_environment(rank, self.size, job, port)
            for name, value in (env or {}).items():
                one = value[rank] if isinstance(value, list) else value
                variables.pop(name, None)
                if one is not None:
                    variables[name] = one
            found.append(variables)
        return found

    def call(self, function, *args, timeout: float = 120, only: list[int] | None = None) -> list:
        """function(*args) in every rank (or in `only` those); the results in rank order."""
        outcomes = self.outcomes(function, *args, timeout=timeout, only=only)
        bad = [text for ok, text in outcomes if not ok]
        if bad:
            raise RankFailed("\n".join(bad))
        return [value for _, value in outcomes]

    def outcomes(self, function, *args, timeout: float = 120, only: list[int] | None = None) -> list:
        """The same as pairs (True, result) or (False, what happened), raising only for a hang."""
        self.start(function, *args, only=only)
        return self.collect(timeout=timeout, only=only)

    def start(self, function, *args, only: list[int] | None = None) -> None:
        for worker in self._chosen(only):
            worker.pipe.send_bytes(pickle.dumps((function, args)))

    def collect(self, timeout: float = 120, only: list[int] | None = None) -> list:
        deadline = time.monotonic() + timeout
        waiting: dict[Connection, Worker] = {w.pipe: w for w in self._chosen(only)}
        outcomes = {}
        while waiting:
            ready = wait(list(waiting), max(0.0, deadline - time.monotonic()))
            if not ready:
                raise RankFailed(self._hung(sorted(w.rank for w in waiting.values()), timeout))
            for pipe in ready:
                worker = waiting.pop(pipe)
                outcomes[worker.rank] = self._receive(worker)
        return [outcomes[rank] for rank in sorted(outcomes)]

    def output(self, rank: int) -> str:
        """What a rank has printed so far."""
        return self.workers[rank].text()

    def alive(self) -> bool:
        """Are all processes there, and all pipes?"""
        return all(w.process.poll() is None and not w.pipe.closed for w in self.workers)

    def close(self) -> None:
        for worker in self.workers:
            worker.pipe.close()
        deadline = time.monotonic() + 5
        for worker in self.workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            worker.kill()
            worker.output.close()

    def _chosen(self, only: list[int] | None) -> list[Worker]:
        return [w for w in self.workers if only is None or w.rank in only]

    def _receive(self, worker: Worker) -> tuple[bool, object]:
        try:
            ok, value = pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, ConnectionResetError):
            code = worker.process.wait()
            return False, f"rank {worker.rank} ended with {code}:\n{worker.text()}"
        return ok, value if ok else f"rank {worker.rank}:\n{value}\n{worker.text()}"

    def _hung(self, missing: list[int], timeout: float) -> str:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGUSR1)
        time.sleep(0.5)
        texts = [f"--- rank {w.rank}\n{w.text()}" for w in self.workers]
        for worker in self.workers:
            worker.kill()
        return f"ranks {missing} gave no answer in {timeout} s\n" + "\n".join(texts)
