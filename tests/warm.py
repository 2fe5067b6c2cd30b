# SPDX-License-Identifier: Apache-2.0
"""Processes that have PyTorch imported when they begin: forked from a server that imported it once, which takes
longer than most tests. What is read when a library is loaded is the server's: READ_AT_LOAD names those variables."""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver

# No library's thread is lost in a fork, as there is none. A user's variables for a job are no business of the server.
SERVER = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
SERVER |= {"HF_HUB_OFFLINE": "1"}
READ_AT_LOAD = ("OMP_", "OPENBLAS_", "MKL_", "GOMP_", "KMP_", "LD_", "TORCH_", "HF_", "SHMRT_DEEPSPEED", "DS_")

modules = ["torch", "torch._dynamo", "torch._inductor.compile_fx"]
TRANSFORMERS = [f"transformers.models.{name}" for name in ("llama.modeling_llama", "bert.modeling_bert", "auto")]
context = multiprocessing.get_context("forkserver")


def also(names: list[str]) -> None:
    """Have the server import these too. For a conftest.py, which is read before the first test runs."""
    modules.extend(names)


def start_server() -> None:
    if forkserver._forkserver._forkserver_pid is not None:
        return
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("SHMRT_", "SHM_LAUNCH_", *READ_AT_LOAD))]:
        del os.environ[name]
    os.environ.update(SERVER)
    try:
        context.set_forkserver_preload(modules)
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def can_serve(env: dict[str, str]) -> bool:
    """Is a process with these variables the same, forked from the server, as a new one?"""
    plain = SERVER | {name: text for name, text in os.environ.items() if name.startswith(("LD_", "TORCH_"))}
    return all(plain.get(name) == text for name, text in env.items() if name.startswith(READ_AT_LOAD))


def begin(env: dict[str, str], output: str, function: Callable, args: tuple) -> None:
    """In the new process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method(None, force=True)  # its own children, a DataLoader's, are as usual
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [folder for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder]
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)
    function(*args)


class Warm:
    """What is used of subprocess.Popen; the process calls function(*args). `output`: a file, for both streams."""

    def __init__(self, env: dict[str, str], output: str, function: Callable, *args: object) -> None:
        start_server()
        self.process = context.Process(target=begin, args=(env, output, function, args))
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_program(program: str, arguments: list[str]) -> None:
    sys.argv = [program, *arguments]
    sys.path.insert(0, os.path.dirname(program))
    runpy.run_path(program, run_name="__main__")


def end(processes: list[Warm]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def wait_for_all(processes: list[Warm], timeout: float) -> int:
    """As a launcher does: the code of the first that fails, which ends the others."""
    until = time.monotonic() + timeout
    while any(process.poll() is None for process in processes) and not any(p.poll() for p in processes):
        if time.monotonic() > until:
            end(processes)
            raise subprocess.TimeoutExpired("forked ranks", timeout)
        multiprocessing.connection.wait([p.process.sentinel for p in processes if p.poll() is None], 1)
    code = next((process.poll() for process in processes if process.poll()), 0)
    end(processes)
    return code
