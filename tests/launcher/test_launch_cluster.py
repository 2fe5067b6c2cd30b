# SPDX-License-Identifier: Apache-2.0
"""Several machines: which one this is, and where they meet, from options and from who started us."""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from launching import told

NAMES = "RANK LOCAL_RANK ROLE_RANK WORLD_SIZE ROLE_WORLD_SIZE LOCAL_WORLD_SIZE LOCAL_SIZE GROUP_RANK CROSS_RANK"
NAMES += " NODE_RANK GROUP_WORLD_SIZE CROSS_SIZE NNODES MASTER_ADDR MASTER_PORT SHMRT_JOB TORCHELASTIC_RUN_ID"
REPORT = f"import json, os; print(json.dumps({{name: os.environ.get(name) for name in {NAMES.split()!r}}}))"

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "n[07-09]",
    "SLURM_JOB_NUM_NODES": "3",
}
OPENMPI = {
    "OMPI_COMM_WORLD_SIZE": "3",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "PMIX_NAMESPACE": "prterun-n07-4711@1",
}
FLUX = {
    "FLUX_JOB_ID": "f2TMsNwAM",
    "FLUX_JOB_NNODES": "3",
    "FLUX_JOB_SIZE": "3",
    "FLUX_TASK_RANK": "1",
    "FLUX_TASK_LOCAL_ID": "0",
}
HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "3", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "1"}
FOUND = {"openmpi": OPENMPI, "hydra": HYDRA, "flux": FLUX, "slurm": SLURM}
ADDRESS = ("--master-addr", "n07")


def ranks(launcher, *options, count=1, env=None):
    result = launcher.run("-n", str(count), "--no-prefix", *options, *launcher.python(REPORT), env=env)
    assert result.returncode == 0, result.stderr
    found = sorted((json.loads(line) for line in result.stdout.splitlines()), key=lambda rank: int(rank["RANK"]))
    assert len(found) == count
    return found, told(result.stderr)


def refused(launcher, *options, env=None):
    result = launcher.run("-n", "1", *options, "echo", "started", env=env)
    assert (result.returncode, result.stdout) == (2, ""), "nothing is started"
    return result.stderr


def check_place(rank, machine, machines, local, count):
    first = machine * count
    expected = {
        "RANK": first + local,
        "ROLE_RANK": first + local,
        "LOCAL_RANK": local,
        "WORLD_SIZE": machines * count,
        "ROLE_WORLD_SIZE": machines * count,
        "LOCAL_WORLD_SIZE": count,
        "LOCAL_SIZE": count,
        "GROUP_RANK": machine,
        "CROSS_RANK": machine,
        "NODE_RANK": machine,
        "GROUP_WORLD_SIZE": machines,
        "CROSS_SIZE": machines,
        "NNODES": machines,
    }
    assert {name: rank[name] for name in expected} == {name: str(value) for name, value in expected.items()}


@pytest.mark.parametrize(("machine", "machines", "count"), [(0, 1, 2), (0, 2, 2), (1, 2, 2), (2, 3, 1), (4, 5, 3)])
def test_places_by_options(launcher, machine, machines, count):
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    options = ["--nnodes", str(machines), "--node-rank", str(machine), *ADDRESS, "--master-port", port]
    found, said = ranks(launcher, *options, count=count)
    for local, rank in enumerate(found):
        check_place(rank, machine, machines, local, count)
        assert (rank["MASTER_ADDR"], rank["MASTER_PORT"]) == ("n07", port)
    assert said == ""


def test_machines_agree_on_the_run_and_have_jobs_of_their_own(launcher):
    options = ["--nnodes", "3", *ADDRESS, "--master-port", "29500"]
    machines = [ranks(launcher, *options, "--node-rank", number)[0][0] for number in "12"]
    assert {rank["TORCHELASTIC_RUN_ID"] for rank in machines} == {"n07:29500"}
    assert len({rank["SHMRT_JOB"] for rank in machines}) == 2


@pytest.mark.parametrize("manager", FOUND)
def test_places_by_who_started_us(launcher, manager):
    options = {"slurm": (), "hydra": (*ADDRESS, "--master-port", "29500")}.get(manager, ADDRESS)
    found, said = ranks(launcher, *options, count=2, env=FOUND[manager])
    for local, rank in enumerate(found):
        check_place(rank, 1, 3, local, 2)
        assert rank["MASTER_ADDR"] == "n07"
        assert int(rank["MASTER_PORT"]) == 29500 if manager == "hydra" else 20000 <= int(rank["MASTER_PORT"]) < 32000
    name = {"slurm": "Slurm", "flux": "Flux"}.get(manager, "mpirun")
    assert said == (
        f"shm-launch: machine 1 of 3 ({name}), ranks 2-3 of 6, master n07:{found[0]['MASTER_PORT']}; "
        "--nnodes 1 is for this machine alone"
    )


@pytest.mark.parametrize(
    ("changes", "port"),
    [
        ({}, 24711),
        ({"SLURM_NODEID": "2", "SLURM_PROCID": "2"}, 24711),
        ({"SLURM_STEP_ID": "2"}, 24905),
        ({"SLURM_JOB_ID": "12345678"}, 29678),
    ],
)
def test_port_of_a_slurm_step(launcher, changes, port):
    (rank,), _ = ranks(launcher, env=SLURM | changes)
    assert rank["MASTER_PORT"] == str(port)


@pytest.mark.parametrize(("manager", "job"), [("flux", "FLUX_JOB_ID"), ("openmpi", "PMIX_NAMESPACE")])
def test_port_from_the_name_of_a_job(launcher, manager, job):
    env = FOUND[manager]
    ours = [ranks(launcher, *ADDRESS, env=env)[0][0]["MASTER_PORT"] for _ in range(2)]
    other = ranks(launcher, *ADDRESS, env=env | {job: "another"})[0][0]["MASTER_PORT"]
    assert ours[0] == ours[1] != other


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node", "node"),
        ("b,a", "b"),
        ("n[01-04,7]-ib", "n01-ib"),
        ("n[7]", "n7"),
        ("rack[2-3]n[10-11],x", "rack2n10"),
        ("n1.example.org,n2.example.org", "n1.example.org"),
    ],
)
def test_first_of_a_list_of_hosts(launcher, hosts, first):
    (rank,), _ = ranks(launcher, env=SLURM | {"SLURM_STEP_NODELIST": hosts})
    assert rank["MASTER_ADDR"] == first


@pytest.mark.parametrize("hosts", ["n[", "n[a-b]", "n]", ",a", "n[01-04", "a b", "x" * 300])
def test_what_is_no_list_of_hosts(launcher, hosts):
    assert "is no list of machines: give --master-addr" in refused(launcher, env=SLURM | {"SLURM_STEP_NODELIST": hosts})


@pytest.mark.parametrize("manager", FOUND)
def test_options_win(launcher, manager):
    options = ["--nnodes", "5", "--node-rank", "4", "--master-addr", "other", "--master-port", "29400"]
    (rank,), said = ranks(launcher, *options, env=FOUND[manager])
    check_place(rank, 4, 5, 0, 1)
    assert said == ""
    assert (rank["MASTER_ADDR"], rank["MASTER_PORT"]) == ("other", "29400")


@pytest.mark.parametrize("manager", FOUND)
def test_nnodes_1_leaves_it_at_this_machine(launcher, manager):
    tasks = {"SLURM_LOCALID": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "FLUX_TASK_LOCAL_ID": "1"}
    tasks |= {"MPI_LOCALRANKID": "1"} if manager == "hydra" else {}
    (rank,), said = ranks(launcher, "--nnodes", "1", env=FOUND[manager] | tasks)
    check_place(rank, 0, 1, 0, 1)
    assert rank["MASTER_ADDR"] == "127.0.0.1"
    assert said == ""


def test_an_address_is_one_line(launcher):
    for address in ("n09\n", "n\x7f"):
        assert "is neither the name nor the address" in refused(launcher, env={"MASTER_ADDR": address})


def test_own_address_and_port_stay(launcher):
    env = SLURM | {"MASTER_ADDR": "n09", "MASTER_PORT": "29300"}
    (rank,), said = ranks(launcher, env=env)
    assert (rank["MASTER_ADDR"], rank["MASTER_PORT"]) == ("n09", "29300")
    assert "machine 1 of 3 (Slurm), rank 1 of 3, master n09:29300;" in said and said.count("\n") == 0


@pytest.mark.parametrize(
    ("env", "task"),
    [
        (SLURM | {"SLURM_LOCALID": "2"}, 2),
        (SLURM | {"SLURM_LOCALID": "1", "SLURM_STEP_NUM_NODES": "1", "SLURM_NODEID": "0"}, 1),
        (FLUX | {"FLUX_JOB_NNODES": "1", "FLUX_JOB_SIZE": "2", "FLUX_TASK_LOCAL_ID": "1"}, 1),
        (OPENMPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}, 1),
        (HYDRA | {"MPI_LOCALNRANKS": "3", "MPI_LOCALRANKID": "2"}, 2),
    ],
)
def test_one_task_of_a_machine_starts_the_ranks(launcher, env, task):
    result = launcher.run("-n", "1", "echo", "started", env=env)
    assert (result.returncode, result.stdout) == (0, "")
    assert f"task {task} of this machine starts nothing, since task 0 starts all ranks" in result.stderr
    assert result.stderr.count("\n") == 1


def test_tasks_whose_machine_is_not_told(launcher):
    flux = FLUX | {"FLUX_JOB_SIZE": "6"}
    mpirun = OPENMPI | {"OMPI_COMM_WORLD_SIZE": "6", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    assert "6 tasks on several machines" in refused(launcher, *ADDRESS, env=flux)
    assert "mpirun --map-by ppr:1:node" in refused(launcher, *ADDRESS, env=mpirun)
    assert "mpirun -ppn 1" in refused(launcher, *ADDRESS, env=HYDRA | {"MPI_LOCALNRANKS": "2"})


# The last is the shell that salloc may give, a step of one task with a number of its own kind.
@pytest.mark.parametrize("step", [{}, {"ID": "4294967291"}, {"ID": "4294967290", "NUM_NODES": "1"}])
def test_a_batch_script_is_no_step(launcher, step):
    env = {name: value for name, value in SLURM.items() if not name.startswith("SLURM_STEP")}
    env |= {"SLURM_NODEID": "0"} | {f"SLURM_STEP_{name}": value for name, value in step.items()}
    (rank,), said = ranks(launcher, env=env)
    check_place(rank, 0, 1, 0, 1)
    assert said.count("Slurm gave this job 3 machines") == 1
    assert ranks(launcher, env=env | {"SLURM_JOB_NUM_NODES": "1"})[1] == ""
    assert ranks(launcher, "--nnodes", "1", env=env)[1] == ""


def test_a_step_of_one_machine_is_alone(launcher):
    env = SLURM | {"SLURM_STEP_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_STEP_NODELIST": "n07"}
    (rank,), said = ranks(launcher, env=env)
    check_place(rank, 0, 1, 0, 1)
    assert rank["MASTER_ADDR"] == "127.0.0.1"
    assert said == ""


def test_a_job_inside_a_rank_is_alone(launcher):
    """The rank has inherited Slurm's variables, and each rank of two machines would be machine 1."""
    inner = f"{launcher.binary} -n 1 --no-prefix sh -c 'echo $RANK/$WORLD_SIZE $NNODES $MASTER_ADDR'"
    result = launcher.run("-n", "2", "--no-prefix", "sh", "-c", inner, env=SLURM)
    assert result.stdout == "0/1 1 127.0.0.1\n" * 2, result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nnodes", "2"], "--nnodes 2, but which of them is this machine? Give --node-rank"),
        (["--nnodes", "2", "--node-rank", "2"], "--node-rank 2 with 2 machines: they are numbered from 0 to 1"),
        (["--node-rank", "1"], "--node-rank 1 with 1 machine: they are numbered from 0 to 0; --nnodes says"),
        (["--nnodes", "2", "--node-rank", "1"], "2 machines need --master-addr"),
        (["--nnodes", "2", "--node-rank", "1", *ADDRESS], "2 machines need --master-port"),
        (["--master-addr", "n07:29500"], "say --master-addr n07 --master-port 29500"),
        (["--master-addr", "tcp://n07"], "say --master-addr tcp"),
        (["--master-addr", "n07,n08"], "neither the name nor the address of a machine"),
    ],
)
def test_refusals(launcher, options, message):
    assert message in refused(launcher, *options)


def test_refusals_where_the_manager_does_not_say_all(launcher):
    nameless = {name: value for name, value in OPENMPI.items() if name != "PMIX_NAMESPACE"}
    assert "3 machines of mpirun (or --nnodes 1, this one alone) need --master-addr" in refused(launcher, env=OPENMPI)
    assert "3 machines of mpirun (or --nnodes 1, this one alone) need --master-port" in refused(
        launcher, *ADDRESS, env=nameless
    )
    assert "3 machines of mpirun" in refused(launcher, *ADDRESS, env=HYDRA)
    assert "Flux says that the job has no machine" in refused(
        launcher, env=FLUX | {"FLUX_JOB_NNODES": "0", "FLUX_JOB_SIZE": "0"}
    )
    assert "MASTER_PORT=x is not a port" in refused(launcher, env=SLURM | {"MASTER_PORT": "x"})
    assert "--restarts works on one machine only" in refused(launcher, "--restarts", "1", env=SLURM)


def test_only_machine_0_holds_the_port(launcher):
    code = "import os, socket; s = socket.socket(); s.bind(('', int(os.environ['MASTER_PORT']))); print('free')"
    with socket.socket() as taken:
        taken.bind(("", 0))
        port = str(taken.getsockname()[1])
    options = ["-n", "1", "--nnodes", "2", *ADDRESS, "--master-port", port, "--node-rank"]
    here = launcher.run(*options, "0", *launcher.python(code))
    other = launcher.run(*options, "1", *launcher.python(code))
    assert here.returncode != 0 and "in use" in here.stderr
    assert (other.returncode, other.stdout) == (0, "free\n"), other.stderr


@pytest.mark.parametrize("mpirun", ["mpirun.openmpi", "mpirun.mpich"])
def test_under_mpirun(launcher, mpirun):
    """Two tasks, one machine: one starts, and its ranks are no processes of that mpirun's job."""
    if shutil.which(mpirun) is None:
        pytest.skip(f"{mpirun} is not installed")
    code = "import json, os; print(json.dumps(list(os.environ)))"
    own = ["--oversubscribe", "--bind-to", "none"] if mpirun == "mpirun.openmpi" else []
    command = [mpirun, *own, "-n", "2", launcher.binary, "-n", "2", "--no-prefix"]
    allow = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    env = launcher.environment(**allow)
    result = subprocess.run([*command, *launcher.python(code)], env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "task 1 of this machine starts nothing" in result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2, result.stdout
    for line in lines:
        outer = "PMI", "OMPI_COMM_WORLD_", "OMPI_MCA_ess", "MPI_LOCAL", "HYDI_"
        left = [name for name in json.loads(line) if name.startswith(outer)]
        assert [name for name in left if not name.startswith("PMIX_MCA_")] == []


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU cannot become fewer")
def test_a_task_that_mpirun_has_bound(launcher):
    one = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    run = [launcher.binary, "-n", "1", "true"]
    bound = launcher.environment(OMPI_MCA_orte_bound_at_launch="1")
    is_few = len(os.sched_getaffinity(0)) < os.cpu_count()
    for command, env, is_told in ((one + run, bound, True), (run, bound, is_few), (one + run, None, False)):
        result = subprocess.run(command, env=env or launcher.environment(), capture_output=True, text=True, timeout=60)
        assert ("mpirun --bind-to none leaves them all" in result.stderr) == is_told


ALL_REDUCE = """
import os, torch, torch.distributed as dist
import shmrt
dist.init_process_group("gloo")
shmrt.init(rank=int(os.environ["LOCAL_RANK"]), size=int(os.environ["LOCAL_SIZE"]))
x = torch.tensor([float(dist.get_rank())])
shmrt.all_reduce(x)
here = x.item()
dist.all_reduce(x)
print("sum", here, x.item(), "of", dist.get_world_size(), "as", os.environ["RANK"], "on", os.uname().nodename)
shmrt.finalize()
dist.destroy_process_group()
"""


def test_two_machines_of_two_ranks(launcher):
    """Network namespaces, each with one end of a cable: shmrt sums on a machine, Gloo over both."""
    pytest.importorskip("torch")
    pytest.importorskip("shmrt")
    script = Path(__file__).with_name("two_machines.sh")
    possible = subprocess.run([script, "true"], capture_output=True, text=True, timeout=60)
    if possible.returncode:
        pytest.skip(f"no network namespaces here: {possible.stderr.strip()}")
    options = "-n 2 --no-prefix --nnodes 2 --master-addr 10.77.0.1 --master-port 29400"
    words = [launcher.binary, *options.split(), "--node-rank", "MACHINE", *launcher.python(ALL_REDUCE)]
    env = launcher.environment(GLOO_SOCKET_IFNAME="cable", OMP_NUM_THREADS="1")
    result = subprocess.run([script, *words], env=env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert sorted(line for line in result.stdout.splitlines()) == [
        "sum 1.0 12.0 of 4 as 0 on machine0",
        "sum 1.0 12.0 of 4 as 1 on machine0",
        "sum 5.0 12.0 of 4 as 2 on machine1",
        "sum 5.0 12.0 of 4 as 3 on machine1",
    ]
    assert os.uname().nodename not in ("machine0", "machine1")
