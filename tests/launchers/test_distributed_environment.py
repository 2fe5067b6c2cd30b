# SPDX-License-Identifier: Apache-2.0
"""shmrt.distributed_environment(): from each launcher's variables to those of env://."""

import errno
import os

import pytest
import shmrt
from shmrt._environment import complete, first_host

OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_NAMESPACE": "prterun-host-4711@1",
}
MPICH = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "3",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "6",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_NODELIST": "node[07-08,12]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
}
TORCH = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}


def test_what_is_there_stays():
    env = dict(TORCH)
    assert complete(env) == TORCH and env == TORCH
    env = OPEN_MPI | {"MASTER_ADDR": "host", "MASTER_PORT": "29500"}
    assert complete(env) == TORCH | {"LOCAL_WORLD_SIZE": "2"}


def test_open_mpi():
    env = dict(OPEN_MPI)
    found = complete(env)
    assert (found["RANK"], found["WORLD_SIZE"], found["LOCAL_RANK"], found["LOCAL_WORLD_SIZE"]) == ("1", "2", "1", "2")
    assert found["MASTER_ADDR"] == "127.0.0.1" and 20000 <= int(found["MASTER_PORT"]) < 32000
    assert env == OPEN_MPI | found
    other = complete(OPEN_MPI | {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "0"})
    assert other["MASTER_PORT"] == found["MASTER_PORT"] and other["RANK"] == "0"
    assert complete(OPEN_MPI | {"PMIX_NAMESPACE": "another"})["MASTER_PORT"] != found["MASTER_PORT"]


def test_mpich_has_no_name_for_its_job():
    """The port is then that of the process above the ranks, here the one above this test."""
    found = complete(dict(MPICH))
    assert found["MASTER_ADDR"] == "127.0.0.1" and found["MASTER_PORT"] == complete(dict(MPICH))["MASTER_PORT"]
    assert (found["RANK"], found["LOCAL_RANK"], found["LOCAL_WORLD_SIZE"]) == ("1", "1", "2")


def test_mpirun_on_several_machines_is_to_be_told_the_master():
    several = OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "4"}
    with pytest.raises(shmrt.Error, match="MASTER_ADDR=ADDRESS") as refused:
        complete(dict(several))
    assert refused.value.code == errno.ENOENT
    found = complete(several | {"MASTER_ADDR": "node7"})
    assert found["MASTER_ADDR"] == "node7" and found["MASTER_PORT"] == complete(dict(OPEN_MPI))["MASTER_PORT"]
    with pytest.raises(shmrt.Error, match="MASTER_PORT"):
        complete(MPICH | {"PMI_SIZE": "4", "MASTER_ADDR": "node7"})


def test_slurm_on_several_machines():
    found = complete(dict(SLURM))
    assert found["MASTER_ADDR"] == "node07"
    assert int(found["MASTER_PORT"]) == 20000 + 4711 + 3 * 97
    assert (found["RANK"], found["WORLD_SIZE"], found["LOCAL_RANK"], found["LOCAL_WORLD_SIZE"]) == ("5", "6", "1", "2")
    uneven = SLURM | {"SLURM_STEP_TASKS_PER_NODE": "3,2,1"}
    assert complete(dict(uneven))["LOCAL_WORLD_SIZE"] == "1"
    one = SLURM | {"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "6", "SLURM_NODEID": "0"}
    assert complete(dict(one))["MASTER_ADDR"] == "127.0.0.1"


def test_srun_with_pmi2_says_it_twice():
    found = complete(SLURM | {"PMI_RANK": "5", "PMI_SIZE": "6"})
    assert found == complete(dict(SLURM))


@pytest.mark.parametrize(
    "text, host",
    [
        ("node1", "node1"),
        ("a,b", "a"),
        ("n[3,5-9]x,m", "n3x"),
        ("n[007-012]", "n007"),
        ("gpu-1.site,gpu-2", "gpu-1.site"),
    ],
)
def test_first_host(text: str, host: str):
    assert first_host(text) == host


@pytest.mark.parametrize(
    "env, words",
    [
        ({}, "no launcher's variables"),
        ({"RANK": "0"}, "RANK is set but WORLD_SIZE is not"),
        ({"PMI_SIZE": "2"}, "PMI_SIZE is set but PMI_RANK is not"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 is not a whole number from 0 to 1"),
        ({"RANK": "0", "WORLD_SIZE": "two"}, "WORLD_SIZE=two is not"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT are not"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2 and 1"}, "SLURM_STEP_TASKS_PER_NODE=2 and 1"),
    ],
)
def test_refused(env: dict[str, str], words: str):
    before = dict(env)
    with pytest.raises(shmrt.Error, match=words):
        complete(env)
    assert env == before


def test_the_process_s_own_variables(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    for name, text in OPEN_MPI.items():
        monkeypatch.setenv(name, text)
    found = shmrt.distributed_environment()
    assert os.environ["MASTER_PORT"] == found["MASTER_PORT"] and os.environ["RANK"] == "1"
