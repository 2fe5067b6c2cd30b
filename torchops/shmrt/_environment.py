# SPDX-License-Identifier: Apache-2.0
"""The variables that torch.distributed's env:// reads, made from those of a launcher that does not set them.

Nothing is asked of the network or of other ranks: all come to the same answer by themselves. What can't be known
everywhere alike, such as rank 0's address under an mpirun of several machines, is asked of the person.
"""

import errno
import os
import re
from collections.abc import MutableMapping
from dataclasses import dataclass

from ._errors import Error

Variables = MutableMapping[str, str]

# Ports made from a job's name, those that shm-launch takes too: above services', below those that the kernel gives.
_FIRST_PORT, _PORTS = 20000, 12000
_STEP_STRIDE = 97  # so that the steps of one job and the next jobs keep apart
_FIRST_SPECIAL_STEP = 0xFFFFFFF0  # Slurm's own: batch, extern, interactive


@dataclass(frozen=True)
class _Launcher:
    """What it calls a rank's number, and the number among those of its machine."""

    name: str
    rank: str
    size: str
    local_ranks: tuple[str, ...]
    local_sizes: tuple[str, ...]


_LAUNCHERS = (
    _Launcher("torch", "RANK", "WORLD_SIZE", ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",)),
    _Launcher(
        "Open MPI",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
    ),
    _Launcher("MPICH", "PMI_RANK", "PMI_SIZE", ("MPI_LOCALRANKID", "SLURM_LOCALID"), ("MPI_LOCALNRANKS",)),
    _Launcher("Slurm", "SLURM_PROCID", "SLURM_NTASKS", ("SLURM_LOCALID",), ()),
)


def distributed_environment() -> dict[str, str]:
    """Set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT in ``os.environ``
    from what mpirun (Open MPI, MPICH, Intel MPI) or srun has set, and return them.

    For ``torch.distributed.init_process_group()``, before it, on every rank; ``shmrt.init()`` itself needs none
    of it. What is set already stays, so under shm-launch, torchrun, deepspeed and accelerate it does nothing.
    On several machines under mpirun, MASTER_ADDR has to be given: ``mpirun -x MASTER_ADDR=...`` (MPICH: ``-genv``).
    """
    return complete(os.environ)


def complete(env: Variables) -> dict[str, str]:
    """The same for any mapping."""
    launcher = _launcher(env)
    size = _number(env, launcher.size, 1, None)
    found = {"RANK": str(_number(env, launcher.rank, 0, size - 1)), "WORLD_SIZE": str(size)}
    local_size = _local_size(env, launcher)
    for name, sources in (("LOCAL_RANK", launcher.local_ranks), ("LOCAL_WORLD_SIZE", launcher.local_sizes)):
        text = next((env[s] for s in sources if env.get(s)), "")
        if text:
            found[name] = text
    if local_size is not None:
        found.setdefault("LOCAL_WORLD_SIZE", str(local_size))
    if not (env.get("MASTER_ADDR") and env.get("MASTER_PORT")):
        address, port = _master(env, launcher, size, local_size)
        found |= {"MASTER_ADDR": env.get("MASTER_ADDR") or address, "MASTER_PORT": env.get("MASTER_PORT") or str(port)}
    for name, text in found.items():
        if not env.get(name):
            env[name] = text
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return {name: env[name] for name in names if name in env}


def _launcher(env: Variables) -> _Launcher:
    for launcher in _LAUNCHERS:
        there = [name for name in (launcher.rank, launcher.size) if env.get(name)]
        if len(there) == 2:
            return launcher
        if there:
            other = launcher.size if there == [launcher.rank] else launcher.rank
            raise Error(f"{there[0]} is set but {other} is not; set both or neither", errno.EINVAL)
    raise Error(
        "no launcher's variables are set (RANK and WORLD_SIZE, or those of Open MPI, MPICH or Slurm): start with "
        "shm-launch -n N, torchrun, mpirun or srun, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
        errno.ENOENT,
    )


def _number(env: Variables, name: str, least: int, most: int | None) -> int:
    text = env.get(name, "")
    if text.isascii() and text.isdigit() and least <= int(text) and (most is None or int(text) <= most):
        return int(text)
    limit = f"a whole number from {least}" + ("" if most is None else f" to {most}")
    raise Error(f"{name}={text} is not {limit}", errno.EINVAL)


def _local_size(env: Variables, launcher: _Launcher) -> int | None:
    """Ranks on this machine, where the launcher says it."""
    for name in launcher.local_sizes:
        if env.get(name):
            return _number(env, name, 1, None)
    if launcher.rank != "RANK" and _slurm_step(env) and env.get("SLURM_STEP_TASKS_PER_NODE"):
        counts = _tasks_by_node(env["SLURM_STEP_TASKS_PER_NODE"])
        return counts[_number(env, "SLURM_NODEID", 0, len(counts) - 1)] if len(counts) > 1 else counts[0]
    return None


def _tasks_by_node(text: str) -> list[int]:
    """Slurm's "2(x3),1": three nodes of two tasks, then one of one."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise Error(f"SLURM_STEP_TASKS_PER_NODE={text} is not as Slurm writes it, such as 2(x3),1", errno.EINVAL)
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _master(env: Variables, launcher: _Launcher, size: int, local_size: int | None) -> tuple[str, int]:
    """Where rank 0 listens, by a rule that gives all ranks the same."""
    if launcher.rank != "RANK" and _slurm_step(env):
        job, step = _number(env, "SLURM_JOB_ID", 0, None), _number(env, "SLURM_STEP_ID", 0, None)
        nodes = env.get("SLURM_STEP_NUM_NODES") or env.get("SLURM_NNODES")
        hosts = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST")
        host = "127.0.0.1" if nodes == "1" or not hosts else first_host(hosts)
        return host, _FIRST_PORT + (job + _STEP_STRIDE * step) % _PORTS
    if launcher.rank == "RANK":
        raise Error(
            "RANK and WORLD_SIZE are set but MASTER_ADDR and MASTER_PORT are not: set them too, to the address of rank "
            "0's machine (127.0.0.1 where all ranks are on one) and to a port that is free there",
            errno.ENOENT,
        )
    if local_size != size and not env.get("MASTER_ADDR"):
        raise Error(
            f"{launcher.name} runs {size} ranks on several machines and does not say where rank 0 is: give its "
            "address, mpirun -x MASTER_ADDR=ADDRESS (MPICH: -genv MASTER_ADDR ADDRESS), and MASTER_PORT likewise",
            errno.ENOENT,
        )
    return "127.0.0.1", _port_of(_job_name(env, launcher, size, local_size))


def first_host(hosts: str) -> str:
    """Of Slurm's "node[07-09,12],gpu1": node07."""
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,\[]*))?", hosts)
    if not match:
        raise Error(f"SLURM_STEP_NODELIST={hosts} does not begin with a host: set MASTER_ADDR", errno.EINVAL)
    return "".join(part or "" for part in match.groups())


def _slurm_step(env: Variables) -> bool:
    """Did srun start this process? In a batch script the job's variables are there too."""
    step = env.get("SLURM_STEP_ID", "")
    return bool(env.get("SLURM_JOB_ID")) and step.isdigit() and int(step) < _FIRST_SPECIAL_STEP


def _job_name(env: Variables, launcher: _Launcher, size: int, local_size: int | None) -> str:
    """What only the ranks of this job have in common."""
    for name in ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PMI_JOBID"):
        if env.get(name):
            return env[name]
    if local_size == size:  # MPICH says nothing: all ranks are below one process that is none of them
        return f"process {_starter(launcher.rank)}"
    raise Error(f"{launcher.name} does not name the job: set MASTER_PORT, alike for all ranks", errno.ENOENT)


def _starter(variable: str) -> int:
    """The next process above that has no `variable`: the launcher's, also where a script lies between."""
    pid = os.getppid()
    while pid > 1:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if not any(word.startswith(f"{variable}=".encode()) for word in file.read().split(b"\0")):
                    break
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            break
    return pid


def _port_of(name: str) -> int:
    """FNV-1a, as shm-launch does it."""
    value = 14695981039346656037
    for byte in name.encode():
        value = ((value ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return _FIRST_PORT + value % _PORTS
