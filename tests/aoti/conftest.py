# SPDX-License-Identifier: Apache-2.0
"""Compiles the example once: the model by AOTInductor, and the program that runs it, beside each other."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "aoti"
LIMIT_S = 600  # of a compiler on a busy machine
RANKS = 2

sys.path.insert(0, str(ROOT / "tests" / "torch"))


def prefix() -> str:
    import shmrt
    import torch

    return f"{torch.utils.cmake_prefix_path};{shmrt.cmake_prefix_path}"


def start(log: Path, *words: object, **environment: str) -> subprocess.Popen:
    with open(log, "w") as file:
        return subprocess.Popen(
            [str(word) for word in words], stdout=file, stderr=subprocess.STDOUT, env=os.environ | environment
        )


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """program: infer, built; model: what export.py made for two ranks."""
    folder = tmp_path_factory.mktemp("aoti")
    build, model, logs = folder / "build", folder / "model", [folder / "export.log", folder / "build.log"]
    configure = ["cmake", "-G", "Ninja", "-S", EXAMPLE, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix()}"]
    configured = subprocess.run([str(word) for word in configure], capture_output=True, text=True, timeout=LIMIT_S)
    assert configured.returncode == 0, configured.stdout + configured.stderr
    cache = str(folder / "inductor")
    export = start(
        logs[0], sys.executable, EXAMPLE / "export.py", "--ranks", RANKS, model, TORCHINDUCTOR_CACHE_DIR=cache
    )
    compiler = start(logs[1], "cmake", "--build", build)
    try:
        for process, log in zip((export, compiler), logs, strict=True):
            assert process.wait(LIMIT_S) == 0, log.read_text()[-6000:]
    finally:
        for process in (export, compiler):
            process.kill()
    return SimpleNamespace(program=build / "infer", model=model)


@pytest.fixture
def infer(example):
    """Runs the program in two ranks, without anything of Python in its environment."""

    def run(model: Path = example.model, **environment: str) -> subprocess.CompletedProcess:
        launcher = os.environ.get("SHM_LAUNCH") or shutil.which("shm-launch")
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SHMRT_"))}
        return subprocess.run(
            [launcher, "-n", str(RANKS), example.program, model],
            env=env | environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    return run
