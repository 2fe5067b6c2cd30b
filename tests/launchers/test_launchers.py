# SPDX-License-Identifier: Apache-2.0
"""examples/launchers: each script starts two ranks that find each other, and leaves no process."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import processes
import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "launchers"
BOTH = Path(__file__).parent / "both.py"
LIMIT_S = 240

# What a launcher around this test, or another test, may have set.
DROPPED = ("SHMRT_", "SHM_LAUNCH_", "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "SLURM_", "OMPI_COMM", "PMI", "PMIX_")
DROPPED += ("MPI_LOCAL", "TORCHELASTIC_", "OMP_")


def program(*names: str) -> str | None:
    """Why the launcher can't be had here, where none of its programs can."""
    return None if any(shutil.which(name) for name in names) else f"{' or '.join(names)} is not installed"


MISSING = {
    "shm-launch": program("shm-launch"),
    "torchrun": program("torchrun"),
    "openmpi": program("mpirun.openmpi", "mpirun"),
    "mpich": program("mpiexec.hydra"),
    "slurm": None,  # sets what srun sets
    "shell": None,
    "deepspeed": program("deepspeed"),
    "accelerate": program("accelerate") or program("mpirun"),
}
# The rest sets RANK and WORLD_SIZE, which other tests have too.
QUICK = ("openmpi", "mpich", "slurm")
PARAMETERS = [
    pytest.param(
        name,
        marks=[pytest.mark.skipif(bool(why), reason=why or "")] + ([] if name in QUICK else [pytest.mark.long]),
    )
    for name, why in MISSING.items()
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("launcher", PARAMETERS)
def test_two_ranks(launcher: str):
    marker = f"SHMRT_TEST_MARKER={uuid.uuid4().hex}"
    env = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED)}
    env |= dict([marker.split("=")]) | {"OMP_NUM_THREADS": "1", "SHMRT_TUNE": "off"}
    env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    if launcher in ("shell", "deepspeed", "accelerate"):  # others choose one themselves
        env["MASTER_PORT"] = str(free_port())
    run = subprocess.Popen(
        [FOLDER / f"{launcher}.sh", "2", BOTH],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = run.communicate(timeout=LIMIT_S)[0]
        assert run.returncode == 0, said
        for rank in (0, 1):
            assert len(re.findall(rf"rank {rank} of 2: right", said)) == 2, said
        processes.eventually(lambda: not processes.marked(marker), "all that was started ends", 60)
    finally:
        for pid in [*processes.marked(marker)]:
            os.kill(pid, signal.SIGKILL)


def test_each_script_is_in_the_table():
    table = (FOLDER / "README.md").read_text()
    assert {path.stem for path in FOLDER.glob("*.sh")} == set(MISSING)
    assert all(f"`{path.name}`" in table for path in FOLDER.glob("*.sh"))
