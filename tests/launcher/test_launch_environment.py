# SPDX-License-Identifier: Apache-2.0
"""What each rank finds in its environment, on its descriptors, and under its feet."""

import json
import os
import re
import socket
import subprocess
import sys

import pytest
from launching import told

REPORT = """
import json, os, signal
print(json.dumps({
    "env": dict(os.environ),
    "cpus": sorted(os.sched_getaffinity(0)),
    "group": os.getpgid(0) == os.getpid(),
    "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
    "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
}))
"""


def reports(launcher, *options, count, **more):
    result = launcher.run("--no-prefix", *options, *launcher.python(REPORT), **more)
    assert result.returncode == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(found) == count
    return sorted(found, key=lambda report: int(report["env"]["RANK"]))


def numbers(text):
    """Of a list such as 0-3,8."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def test_variables_of_a_rank(launcher):
    env = [report["env"] for report in reports(launcher, "-n", "3", "--restarts", "2", count=3)]
    for rank, variables in enumerate(env):
        expected = {"RANK": rank, "LOCAL_RANK": rank, "ROLE_RANK": rank}
        expected |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_SIZE", "ROLE_WORLD_SIZE"), 3)
        expected |= dict.fromkeys(("GROUP_RANK", "CROSS_RANK", "NODE_RANK"), 0)
        expected |= dict.fromkeys(("GROUP_WORLD_SIZE", "CROSS_SIZE", "NNODES"), 1)
        expected |= {"TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_MAX_RESTARTS": 2}
        expected |= {"ROLE_NAME": "default", "MASTER_ADDR": "127.0.0.1"}
        assert {name: variables.get(name) for name in expected} == {k: str(v) for k, v in expected.items()}
        assert 1024 <= int(variables["MASTER_PORT"]) <= 65535
        assert int(variables["OMP_NUM_THREADS"]) >= 1
        assert re.fullmatch("[0-9a-f]{32}", variables["SHMRT_JOB"])
        assert variables["TORCHELASTIC_RUN_ID"] == variables["SHMRT_JOB"]
        assert variables["PYTHONUNBUFFERED"] == "1"
        assert not [name for name in variables if name.startswith(("PMI_", "PMIX_", "OMP_P", "LD_PRELOAD"))]
        assert "TORCHELASTIC_USE_AGENT_STORE" not in variables
    for name in ("SHMRT_JOB", "MASTER_PORT", "SHM_LAUNCH_PLAN"):
        assert len({variables[name] for variables in env}) == 1


def test_the_node_of_the_segment(launcher):
    def nodes(*words, **env):
        return [one["env"].get("SHMRT_NODES") for one in reports(launcher, "-n", "2", *words, count=2, env=env)]

    ranks = json.loads(launcher.run("plan", "-n", "2", "--json").stdout)["ranks"]
    assert nodes() == [str(rank["segment_node"]) for rank in ranks]
    assert nodes("--mem", "local") == nodes("--no-bind") == [None, None]
    assert nodes(SHMRT_NODES="0-3") == ["0-3", "0-3"]


def test_variables_of_each_attempt(launcher):
    names = "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE"
    code = f"""
import os, sys
values = [os.environ[name] for name in {names}]
print(*values, flush=True)
sys.exit(values[1] == "0")
"""
    result = launcher.run("-n", "2", "--restarts", "3", "--no-prefix", *launcher.python(code))
    assert result.returncode == 0, result.stderr
    found = sorted(tuple(line.split()) for line in result.stdout.splitlines())
    assert [rank[:2] for rank in found] == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    assert len({run for _, _, run, _ in found}) == 1, "one job"
    for rank, attempt, _, file in found:
        assert file.endswith(f"/{attempt}/{rank}/error.json")


def test_all_that_torchrun_sets(launcher):
    """Each variable that torchrun gives its ranks has the same value here, but for the ends of its own store."""
    pytest.importorskip("torch")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = launcher.folder / "report.py"
    # One write a line: the ranks of torchrun share a pipe.
    script.write_text("import json, os, sys; sys.stdout.write(json.dumps(dict(os.environ)) + chr(10))")
    before = launcher.environment()
    result = subprocess.run([*torchrun, str(script)], env=before, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    theirs = sorted((json.loads(line) for line in result.stdout.splitlines()), key=lambda env: env["RANK"])
    ours = [report["env"] for report in reports(launcher, "-n", "2", count=2)]
    of_its_own = {"TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_SIGNALS_TO_HANDLE", "TORCH_NCCL_ASYNC_ERROR_HANDLING"}
    differs = {"MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE", "OMP_NUM_THREADS"}
    for their, our in zip(theirs, ours, strict=True):
        names = {name for name in their if their[name] != before.get(name)} - of_its_own
        assert len(names) >= 12
        assert {name: our.get(name) for name in names - differs} == {name: their[name] for name in names - differs}
        assert names & differs <= our.keys()


def test_the_plan_is_there_to_read(launcher):
    shown = json.loads(launcher.run("plan", "-n", "2", "--json").stdout)
    for report in reports(launcher, "-n", "2", count=2):
        line = report["env"]["SHM_LAUNCH_PLAN"]
        assert "\n" not in line
        assert len(line) < 128 * 1024
        plan = json.loads(line)
        assert plan["ranks"] == shown["ranks"]
        cpus = plan["ranks"][int(report["env"]["LOCAL_RANK"])]["cpus"]
        assert report["cpus"] == numbers(cpus)


def test_two_jobs_have_different_keys_and_ports(launcher):
    first, second = (reports(launcher, "-n", "1", count=1)[0]["env"] for _ in range(2))
    assert first["SHMRT_JOB"] != second["SHMRT_JOB"]


def test_what_an_outer_launcher_left_is_replaced(launcher):
    outer = {"RANK": "7", "WORLD_SIZE": "9", "MASTER_PORT": "1", "SHMRT_JOB": "old"}
    outer["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    (report,) = reports(launcher, "-n", "1", count=1, env=outer)
    assert (report["env"]["RANK"], report["env"]["WORLD_SIZE"]) == ("0", "1")
    assert report["env"]["MASTER_PORT"] != "1"
    assert report["env"]["SHMRT_JOB"] != "old"
    assert "TORCHELASTIC_USE_AGENT_STORE" not in report["env"]


OUTER = {
    "PMI_RANK": "0",
    "PMI_SIZE": "4",
    "PMI_FD": "9",
    "PMIX_RANK": "0",
    "PMIX_NAMESPACE": "job",
    "PMIX_SERVER_URI41": "tcp4://127.0.0.1:1",
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "OMPI_MCA_ess": "^singleton",
    "OMPI_MCA_orte_ess_num_procs": "1",
    "MPI_LOCALRANKID": "0",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_TIMER_FILE": "/nowhere",
}
SETTINGS = {"OMPI_MCA_btl": "self,vader", "PMIX_MCA_gds": "hash", "SLURM_JOB_NAME": "x", "PMIXED": "x"}


def test_an_outer_process_is_not_taken_for_the_ranks(launcher):
    result = launcher.run("-n", "2", "--no-prefix", *launcher.python(REPORT), env=OUTER | SETTINGS)
    assert (result.returncode, told(result.stderr)) == (0, "")
    for line in result.stdout.splitlines():
        env = json.loads(line)["env"]
        assert not OUTER.keys() & env.keys()
        assert {name: env.get(name) for name in SETTINGS} == SETTINGS


def test_settings_of_open_mpi_stay_without_an_mpirun(launcher):
    env = {"OMPI_MCA_orte_tmpdir_base": "/tmp", "OMPI_MCA_pmix": "pmix3x"}
    (report,) = reports(launcher, "-n", "1", count=1, env=env)
    assert {name: report["env"].get(name) for name in env} == env


def test_an_outer_world_is_told_once(launcher):
    def said(**env):
        return told(launcher.run("-n", "2", "true", env=env).stderr)

    assert said(WORLD_SIZE="9", RANK="7") == (
        "shm-launch: WORLD_SIZE=9 of a launcher around this one is replaced: the ranks of this job are 2"
    )
    assert said(WORLD_SIZE="2", RANK="1") == ""
    mpirun = {name: value for name, value in OUTER.items() if name.startswith("OMPI_")}
    assert said(WORLD_SIZE="9", **mpirun) == ""


def test_address_and_port_of_the_user(launcher):
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])

    def find(**env):
        result = launcher.run("-n", "1", "sh", "-c", "echo $MASTER_ADDR $MASTER_PORT", env=env)
        return (*result.stdout.split(), told(result.stderr))

    assert find(MASTER_ADDR="localhost", MASTER_PORT=port) == ("localhost", port, "")
    assert find(MASTER_ADDR=socket.gethostname())[::2] == (socket.gethostname(), "")
    assert "MASTER_ADDR=10.1.2.3 is set and stays" in find(MASTER_ADDR="10.1.2.3")[2]
    address, other, said = find(MASTER_ADDR="10.1.2.3", MASTER_PORT=port, RANK="0")
    assert (address, said) == ("127.0.0.1", "")
    assert other != port


def test_env(launcher):
    options = ["--env", "A=1", "--env", "B=x = y", "--env", "EMPTY=", "--env", "HOME=/x", "--env", "A=1"]
    for report in reports(launcher, "-n", "2", *options, count=2, env={"B": "old", "KEPT": "1"}):
        env = report["env"]
        found = {name: env.get(name) for name in ("A", "B", "EMPTY", "HOME", "KEPT")}
        assert found == {"A": "1", "B": "x = y", "EMPTY": "", "HOME": "/x", "KEPT": "1"}


def test_env_counts_as_the_users(launcher):
    (report,) = reports(launcher, "-n", "1", "--env", "OMP_NUM_THREADS=1", "--env", "PYTHONUNBUFFERED=", count=1)
    assert (report["env"]["OMP_NUM_THREADS"], report["env"]["PYTHONUNBUFFERED"]) == ("1", "")
    shown = launcher.run("plan", "-n", "1", "--env", "OMP_NUM_THREADS=77").stdout
    assert "OMP_NUM_THREADS=77 is set and stays" in shown
    said = launcher.run("-n", "1", "--env", "OMP_NUM_THREADS=1000", "true").stderr
    assert said.count("OMP_NUM_THREADS=1000 is set and stays, but rank 0 has") == 1


def test_env_finds_the_command_too(launcher):
    program = launcher.folder / "tool" / "only-here"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    result = launcher.run("-n", "1", "--env", f"PATH={program.parent}:/usr/bin:/bin", "only-here")
    assert (result.returncode, result.stdout) == (0, "found\n"), result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["A"], "--env A has no value: --env A=VALUE sets it"),
        (["=1"], "--env =1: the name of a variable has letters, digits and _"),
        (["1A=1"], "--env 1A=1: the name of a variable"),
        (["A B=1"], "--env A B=1: the name of a variable"),
        (["RANK=1"], "--env RANK=1: shm-launch itself gives each rank its RANK, by -n"),
        (["NNODES=2"], "gives each rank its NNODES, by --nnodes"),
        (["MASTER_ADDR=x"], "gives each rank its MASTER_ADDR, by --master-addr"),
        (["MASTER_PORT=1"], "gives each rank its MASTER_PORT, by --master-port"),
        (["TORCHELASTIC_MAX_RESTARTS=1"], "its TORCHELASTIC_MAX_RESTARTS, by --restarts"),
        (["SHM_LAUNCH_PLAN=x"], "shm-launch itself gives each rank its SHM_LAUNCH_PLAN"),
        (["A=1", "A=2"], "--env A is given twice, with different values; keep one"),
    ],
)
def test_env_refused(launcher, words, message):
    options = [part for word in words for part in ("--env", word)]
    result = launcher.run("-n", "1", *options, "echo", "started")
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


FIRST = min(os.sched_getaffinity(0))
NARROWS = "a rank's main thread may use one place only"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU cannot become fewer")
@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}, f"=close and OMP_PLACES=cores: set, .*{NARROWS}"),
        ({"OMP_PROC_BIND": "true"}, NARROWS),
        ({"OMP_PLACES": "cores"}, NARROWS),
        ({"GOMP_CPU_AFFINITY": "0-4095"}, f"GOMP_CPU_AFFINITY=0-4095: set.*{NARROWS}"),
        ({"GOMP_CPU_AFFINITY": "4000 4002-4005:2"}, r"GOMP_CPU_AFFINITY=4000 .* leaves out CPU \d+, which rank 0 has"),
        ({"GOMP_CPU_AFFINITY": f"{FIRST}-4094:4000"}, rf" leaves out CPU (?!{FIRST},)\d+, which rank 0"),
        ({"KMP_AFFINITY": "explicit,proclist=[4000,4001]"}, r"KMP_AFFINITY=.* leaves out CPU \d+, which rank 0 has"),
        ({"KMP_AFFINITY": "norespect,compact"}, "norespect lets Intel's OpenMP leave the CPUs of a rank"),
        ({"OMP_THREAD_LIMIT": "1"}, r"OMP_THREAD_LIMIT=1 is set and stays, but rank 0 is planned with \d+ threads"),
        ({"OMP_PROC_BIND": "false", "OMP_PLACES": "cores"}, None),
        ({"OMP_PROC_BIND": "close", "OMP_PLACES": "sockets"}, None),
        ({"KMP_AFFINITY": "granularity=fine,compact,1,0", "KMP_BLOCKTIME": "1"}, None),
        ({"KMP_AFFINITY": "explicit,proclist=[0-4095]"}, None),
        ({"OMP_THREAD_LIMIT": "100000", "OMP_WAIT_POLICY": "passive", "OMP_DYNAMIC": "false"}, None),
    ],
)
def test_what_works_against_the_plan_stays_and_is_told(launcher, env, message):
    result = launcher.run("-n", "1", "--no-prefix", *launcher.python(REPORT), env=env)
    variables = json.loads(result.stdout)["env"]
    assert {name: variables.get(name) for name in env} == env
    if message is None:
        assert told(result.stderr) == ""
    else:
        assert re.search(message, result.stderr), result.stderr
        unbound = launcher.run("-n", "1", "--no-bind", "true", env=env)
        assert told(unbound.stderr) == "", "nothing is bound"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU cannot become fewer")
def test_a_plan_tells_what_a_start_would(launcher):
    env = {"OMP_PROC_BIND": "close", "OMP_THREAD_LIMIT": "1", "WORLD_SIZE": "9", "MASTER_ADDR": "10.1.2.3"}
    start = told(launcher.run("-n", "1", "true", env=env).stderr).replace("shm-launch: ", "").splitlines()
    assert len(start) == 4
    shown = launcher.run("plan", "-n", "1", env=env).stdout
    assert [line for line in start if f"note: {line}\n" in shown] == start
    warnings = json.loads(launcher.run("plan", "-n", "1", "--json", env=env).stdout)["warnings"]
    assert [line for line in start if line in warnings] == start
    assert "OMP_PROC_BIND" not in launcher.run("plan", "-n", "1", "--topology", "core:2 pu:1", env=env).stdout


def test_a_plan_cannot_be_verified(launcher):
    note = "note: --verify looks at ranks that run, and a plan starts none"
    assert note in launcher.run("plan", "-n", "1", "--verify").stdout.splitlines()
    assert "verify" not in launcher.run("plan", "-n", "1").stdout


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU cannot become fewer")
@pytest.mark.parametrize(
    "env", [{"OMP_PROC_BIND": "close"}, {"OMP_PLACES": "cores"}, {"OMP_PLACES": "sockets"}, {"OMP_PROC_BIND": "false"}]
)
def test_the_warning_of_narrowing_is_true(launcher, env):
    """With the libgomp that a program loads: the mask shrinks where the line was said, and only there."""
    code = "import ctypes, os; ctypes.CDLL('libgomp.so.1'); print(len(os.sched_getaffinity(0)))"
    result = launcher.run("-n", "1", *launcher.python(code), env=env)
    if result.returncode:
        pytest.skip("no libgomp.so.1 here")
    assert (NARROWS in result.stderr) == (int(result.stdout) < len(os.sched_getaffinity(0)))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU is the first of every list")
@pytest.mark.parametrize("env", [{}, {"OMP_PLACES": "cores"}, {"OMP_PROC_BIND": "false"}])
def test_a_list_that_draws_all_ranks_to_its_first_cpu(launcher, env):
    """One line says it, and it is true of the libgomp that a program loads."""
    code = "import ctypes, os; ctypes.CDLL('libgomp.so.1'); print(min(os.sched_getaffinity(0)))"
    env = env | {"GOMP_CPU_AFFINITY": f"{FIRST} 0-4095"}
    result = launcher.run("-n", "2", "--no-prefix", *launcher.python(code), env=env)
    if result.returncode:
        pytest.skip("no libgomp.so.1 here")
    draws = f"binds the main thread of every rank to the first CPU of that list, {FIRST}, which rank 1 does not have"
    assert (draws in result.stderr) == (result.stdout.split() == [str(FIRST)] * 2)
    if len(env) == 1:
        (line,) = told(result.stderr).splitlines()
        assert draws in line and "unset it" in line


def test_libgomp_in_the_launcher_itself(launcher):
    """It has bound this process before main() ran; the plan cannot be better than that."""
    env = {"LD_PRELOAD": "libgomp.so.1", "OMP_PROC_BIND": "close"}
    said = launcher.run("-n", "1", "true", env=env).stderr
    if "cannot be preloaded" in said or "ASan" in said:
        pytest.skip("libgomp.so.1 cannot be preloaded here")
    assert "OMP_PROC_BIND=close with libgomp in LD_PRELOAD has bound shm-launch itself" in said


TORCHRUN_STYLE = """
import os, torch, torch.distributed as dist
assert dist.is_torchelastic_launched()
dist.init_process_group("gloo")
x = torch.tensor([float(os.environ["LOCAL_RANK"]) + 1])
dist.all_reduce(x)
assert dist.get_world_size() == int(os.environ["WORLD_SIZE"]) == 2
print(x.item())
dist.destroy_process_group()
"""

DEEPSPEED_STYLE = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--local_rank", type=int, default=int(os.environ["LOCAL_RANK"]))
local_rank = parser.parse_args().local_rank
machine, size = int(os.environ["CROSS_RANK"]), int(os.environ["LOCAL_SIZE"])
assert int(os.environ["WORLD_SIZE"]) == size * int(os.environ["CROSS_SIZE"])
assert int(os.environ["RANK"]) == machine * size + local_rank
print(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]) > 0, local_rank)
"""


def test_scripts_of_torchrun_run_unchanged(launcher):
    pytest.importorskip("torch")
    env = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "outer"}
    result = launcher.run("-n", "2", "--no-prefix", *launcher.python(TORCHRUN_STYLE), env=env)
    assert (result.returncode, result.stdout) == (0, "3.0\n3.0\n"), result.stderr


def test_scripts_of_deepspeed_run_unchanged(launcher):
    result = launcher.run("-n", "2", "--no-prefix", *launcher.python(DEEPSPEED_STYLE))
    assert sorted(result.stdout.splitlines()) == ["127.0.0.1 True 0", "127.0.0.1 True 1"], result.stderr


def test_threads_of_the_user_stay_and_show(launcher):
    env = {"OMP_NUM_THREADS": "3"}
    for report in reports(launcher, "-n", "2", count=2, env=env):
        assert report["env"]["OMP_NUM_THREADS"] == "3"
    plan = launcher.run("-n", "2", "--dry-run", env=env).stdout
    assert "OMP_NUM_THREADS=3 is set and stays" in plan


THREADS = 'echo "${OMP_NUM_THREADS}"'


def test_threads_of_an_outer_plan_are_not_the_users(launcher):
    """Its rank has all CPUs, and those of the job inside it a part."""
    inner = [launcher.binary, "-n", "2", "--no-prefix", "--threads-per-core", "1", "--cores-per-rank", "1"]
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("the plans of both jobs have one thread")

    def run(**env):
        result = launcher.run("-n", "1", *inner, "sh", "-c", THREADS, env=env)
        assert result.returncode == 0, result.stderr
        return result

    plain = run()
    assert (plain.stdout.split(), "OMP_NUM_THREADS" in plain.stderr) == (["1", "1"], False)
    assert run(OMP_NUM_THREADS="7").stdout.split() == ["7", "7"]


def test_the_segment_node_of_an_outer_plan_is_not_the_users(launcher):
    """Seen where the inner job has none: with local memory."""
    inner = [launcher.binary, "-n", "1", "--mem", "local", "sh", "-c", 'echo "${SHMRT_NODES-none}"']

    def nodes(**env):
        return launcher.run("-n", "1", *inner, env=env).stdout.strip()

    assert (nodes(), nodes(SHMRT_NODES="0-3")) == ("none", "0-3")


def test_threads_of_torchrun_are_not_the_users(launcher):
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "OMP_NUM_THREADS": "1", "RANK": "0"}
    planned = str(json.loads(launcher.run("plan", "-n", "1", "--json").stdout)["ranks"][0]["threads"])

    def run(*words, **env):
        result = launcher.run("-n", "1", *words, "sh", "-c", THREADS, env=torchrun | env)
        return result.stdout.strip(), "OMP_NUM_THREADS=1 is what torchrun around this job sets" in result.stderr

    assert run() == (planned, True)
    assert run("--env", "OMP_NUM_THREADS=1") == ("1", False)
    assert run(OMP_NUM_THREADS="2") == ("2", False)


@pytest.mark.parametrize("threads", ["abc", "0", "-1", "4,", "4,x", "1 2"])
def test_threads_that_are_no_number(launcher, threads):
    planned = str(json.loads(launcher.run("plan", "-n", "1", "--json").stdout)["ranks"][0]["threads"])
    for words, env in (([], {"OMP_NUM_THREADS": threads}), (["--env", f"OMP_NUM_THREADS={threads}"], {})):
        result = launcher.run("-n", "1", *words, "sh", "-c", THREADS, env=env)
        assert result.stdout.strip() == planned
        assert f"OMP_NUM_THREADS={threads} is no number of threads" in result.stderr


def test_threads_of_nested_regions_stay(launcher):
    result = launcher.run("-n", "1", "sh", "-c", THREADS, env={"OMP_NUM_THREADS": "1, 2"})
    assert (result.stdout.strip(), told(result.stderr)) == ("1, 2", "")


def test_more_threads_than_cpus_are_told(launcher):
    result = launcher.run("-n", "2", "true", env={"OMP_NUM_THREADS": "1000"})
    assert result.returncode == 0
    assert result.stderr.count("OMP_NUM_THREADS=1000 is set and stays, but rank 0 has") == 1
    assert "OMP" not in launcher.run("-n", "2", "true", env={"OMP_NUM_THREADS": "1"}).stderr


def test_ranks_are_bound_as_planned(launcher):
    plan = launcher.run("-n", "2", "--dry-run").stdout
    rows = [line.split() for line in plan.splitlines() if re.match(r" +\d", line)]
    for row, report in zip(rows, reports(launcher, "-n", "2", count=2), strict=True):
        assert report["cpus"] == numbers(row[5])
        assert report["env"]["OMP_NUM_THREADS"] == row[-1]


def test_no_bind_leaves_affinity_alone(launcher):
    (report,) = reports(launcher, "-n", "1", "--no-bind", count=1)
    assert report["cpus"] == sorted(os.sched_getaffinity(0))


def test_ranks_start_clean(launcher):
    for report in reports(launcher, "-n", "2", count=2):
        assert report["group"], "each rank leads a group"
        assert report["blocked"] == []
        assert len(report["fds"]) == 4, "0, 1, 2 and the listing itself"


def test_the_port_is_held_and_can_be_listened_on(launcher):
    code = """
import errno, os, socket
port = int(os.environ["MASTER_PORT"])
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")):
    try:
        with socket.socket(family) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, port))
            s.listen()
    except OSError as error:
        if family == socket.AF_INET or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
with socket.socket() as s:
    try:
        s.bind(("", port))
    except OSError:
        print("held")
"""
    result = launcher.run("-n", "1", *launcher.python(code))
    assert (result.returncode, result.stdout) == (0, "held\n"), result.stderr


def test_a_chosen_port(launcher):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = launcher.run("-n", "1", "--master-port", port, "true")
        assert result.returncode == 125
        assert f"port {port} is already used" in result.stderr
    result = launcher.run("-n", "1", "--master-port", port, "sh", "-c", "echo $MASTER_PORT")
    assert (result.returncode, result.stdout) == (0, port + "\n")


def test_input_goes_to_rank_0(launcher):
    code = "import os, sys; print(os.environ['RANK'], repr(sys.stdin.read()))"
    result = launcher.run("-n", "2", "--no-prefix", *launcher.python(code), stdin="hello\nworld\n")
    assert sorted(result.stdout.splitlines()) == ["0 'hello\\nworld\\n'", "1 ''"]


def test_ranks_meet_in_nested_jobs(launcher):
    inner = f"{launcher.binary} -n 2 --no-prefix sh -c 'echo $RANK/$WORLD_SIZE'"
    result = launcher.run("-n", "2", "sh", "-c", inner)
    lines = sorted(line for line in result.stdout.splitlines())
    assert lines == ["[0] 0/2", "[0] 1/2", "[1] 0/2", "[1] 1/2"], result.stderr
