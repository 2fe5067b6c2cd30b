# SPDX-License-Identifier: Apache-2.0
"""What shm-launch refuses before it starts anything: each whole message is that of a row of docs/errors.md."""

import os
import re
import socket
from pathlib import Path

import pytest
from error_table import assert_documented

TOPOLOGIES = Path(__file__).parents[1] / "configs" / "topologies"
MEMORY_ONLY = Path(__file__).parents[1] / "topo" / "hbm-and-cxl.xml"
OPTION = r"-{1,2}[\w-]+: "
PLAN = ["plan", "-n", "2"]
RUN = ["-n", "2"]
DUAL = "pack:2 numa:1 core:4 pu:2"
SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "3", "SLURM_NODEID": "1"}
SLURM |= {"SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "n[07-09]"}
OPENMPI = {"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}
OPENMPI |= {"OMPI_COMM_WORLD_LOCAL_RANK": "0", "PMIX_NAMESPACE": "prterun-n07-4711@1"}
FLUX = {"FLUX_JOB_ID": "f2TMsNwAM", "FLUX_JOB_NNODES": "3", "FLUX_JOB_SIZE": "3"}
FLUX |= {"FLUX_TASK_RANK": "1", "FLUX_TASK_LOCAL_ID": "0"}
HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "3", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "1"}


def refused(launcher, words: str, *command: str, env: dict | None = None, code: int = 2, **options) -> None:
    """The code, and nothing started; the last line is the row of these words. Behind a plan notes may stand before."""
    result = launcher.run(*command, env=env, **options)
    assert (result.returncode, result.stdout) == (code, ""), result.stderr
    assert result.stderr.count("\n") == 1 or code == 125, result.stderr
    said = result.stderr.splitlines()[-1].removeprefix("shm-launch: ")
    assert_documented(words, said, str(code), OPTION)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("did you mean --{option}?", [*RUN, "--dryrun", "true"]),
        ("did you mean -{letter} {value}?", ["-np", "2", "true"]),
        ("shm-launch --help lists them", [*RUN, "--frobnicate", "true"]),
        ("{option} is given twice, with different values", [*RUN, "-n", "3", "true"]),
        ("{option} takes no value, but has", [*RUN, "--strict=yes", "true"]),
        ("{option} needs a value", ["-n"]),
        ("{option} needs two values", ["plan", "--diff", "a"]),
        ('"{value}" is not a whole number from', ["-n", "0", "true"]),
        ("is not a number of seconds from 0 to", [*RUN, "--timeout", "soon", "true"]),
        ('"{value}" is none of', [*RUN, "--per", "sokket", "true"]),
        ("it is empty; give", [*RUN, "--log-dir", "", "true"]),
        ('"{value}" is one more than', [*RUN, *[w for i in range(300) for w in ("--env", f"A{i}=1")], "true"]),
        ("is a third one; two are compared", ["plan", "--diff", "a.json", "b.json", "--diff", "c.json", "d.json"]),
        ("is neither a saved plan (FILE.json, or -)", ["plan", "--diff", "", "b.json"]),
        ("is not a rank from 0 to {most}, all or none", [*RUN, "--stdin", "some", "true"]),
        ("how many ranks? -n 2 for two", ["true"]),
        ("what shall the ranks run?", RUN),
        ("add --dry-run to see the plan, or leave it out", [*RUN, "--topology", DUAL, "true"]),
        ("--json shows a plan, and nothing is shown", [*RUN, "--json", "true"]),
        ("--strict wants everything bound", [*RUN, "--no-bind", "--strict", "true"]),
        ("--verify compares with what is bound", [*RUN, "--no-bind", "--verify", "true"]),
        ("--draw needs a file, and", [*PLAN, "--draw", "--json"]),
        ("would both go to standard output", [*PLAN, "--json", "--draw", "-"]),
        ("--draw writes SVG, and", [*PLAN, "--draw", "plan.png"]),
        ("--diff compares plans and starts nothing", [*RUN, "--diff", "a.json", "b.json", "true"]),
        ("--diff has its own configurations", ["plan", "--config", "c", "--diff", "a.json", "b.json"]),
        ("shows one plan and --diff compares two", ["plan", "--json", "--diff", "a.json", "b.json"]),
        ("--diff - -: standard input holds one plan only", ["plan", "--diff", "-", "-"]),
        ("the job has rank 0 only; give 0", ["-n", "1", "--stdin", "1", "true"]),
        ("give one of these, all or none", [*RUN, "--stdin", "5", "true"]),
        ("HWLOC_SYNTHETIC or HWLOC_XMLFILE describes another machine", [*RUN, "HWLOC", "true"]),
        ("the name of a variable has letters", [*RUN, "--env", "1A=1", "true"]),
        ("shm-launch itself gives each rank its", [*RUN, "--env", "RANK=1", "true"]),
        ("has no value: --env", [*RUN, "--env", "A", "true"]),
        ("--env {name} is given twice", [*RUN, "--env", "A=1", "--env", "A=2", "true"]),
        ("Looked for in LD_LIBRARY_PATH", [*RUN, "--preload", "nothing_such", "true"]),
        ("the dynamic linker takes blanks and colons", [*RUN, "--preload", "./a b.so", "true"]),
        ("--preload {word}: {why}", [*RUN, "--preload", "./none.so", "true"]),
        ("one library each time; several", [*RUN, "--preload", "a b", "true"]),
        ("which is more than the {most} that fit", [*RUN, "--preload", "./" + "x" * 5000, "true"]),
    ],
)
def test_options(launcher, words, command):
    env = {"HWLOC_SYNTHETIC": DUAL} if "HWLOC" in command else None
    refused(launcher, words, *[word for word in command if word != "HWLOC"], env=env)


@pytest.mark.parametrize("option", ["--cpus", "--nodes"])
def test_lists(launcher, option):
    refused(launcher, "is not a list of numbers up to {most}, such as 0-3,8", *PLAN, option, "a-b")


@pytest.mark.parametrize(
    ("words", "env", "options"),
    [
        ("tasks on several machines, more than one on some", OPENMPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, []),
        ("says that the job has no machine at all", FLUX | {"FLUX_JOB_NNODES": "0", "FLUX_JOB_SIZE": "0"}, []),
        ("but which of them is this machine? Give --node-rank", {}, ["--nnodes", "2"]),
        ("they are numbered from 0 to {last}; --nnodes says how many", {}, ["--nnodes", "2", "--node-rank", "2"]),
        ("--restarts works on one machine only", SLURM, ["--restarts", "1"]),
        ("has a port: say --master-addr", {}, ["--master-addr", "host:29500"]),
        ("is neither the name nor the address of a machine", {"MASTER_ADDR": "a b"}, []),
        ("need --master-addr: the name or address of machine 0", OPENMPI, []),
        ("SLURM_STEP_NODELIST={text} is no list of machines", SLURM | {"SLURM_STEP_NODELIST": "n[["}, []),
        ("is not a port from 1 to 65535: unset it", SLURM | {"MASTER_PORT": "x"}, []),
        ("need --master-port: a port that is free", HYDRA, ["--master-addr", "n07"]),
    ],
)
def test_machines(launcher, words, env, options):
    refused(launcher, words, *RUN, *options, "true", env=env)


@pytest.mark.parametrize(
    ("words", "machine", "options"),
    [
        ("does not describe a machine; one that does", "pack:x", RUN),
        ("is not a topology that hwloc loads", "none.xml", RUN),
        ("one rank for each of {count} {places} is more than the limit", "pack:65 core:1", ["--per", "socket"]),
        ("can be used here; ask for {count}, or for an even spread", DUAL, ["-n", "3", "--per", "socket"]),
        ("cores a rank do not fit:", DUAL, ["-n", "2", "--per", "socket", "--cores-per-rank", "5"]),
        ("cores, and {count} can be used here; ask for {most}", DUAL, ["-n", "2", "--cores-per-rank", "5"]),
        ("threads a core do not fit: a core has", DUAL, ["-n", "2", "--threads-per-core", "3"]),
        ("no core can be reserved: {ranks} ranks have to share", DUAL, ["-n", "9", "--reserve", "1"]),
        ("no core can be reserved: rank {rank} has one only", DUAL, ["-n", "8", "--reserve", "1"]),
        ("reserved cores leave nothing of the", DUAL, ["-n", "2", "--reserve", "4"]),
        ("the machine has CPUs", DUAL, ["-n", "2", "--cpus", "100"]),
        ("the machine has NUMA nodes", DUAL, ["-n", "2", "--nodes", "7"]),
        ("ranks can run on NUMA nodes", str(MEMORY_ONLY), ["-n", "1", "--nodes", "4"]),
        ("have no CPU in common: of these nodes", DUAL, ["-n", "1", "--cpus", "0", "--nodes", "1"]),
        ("local memory is where the thread is", DUAL, ["-n", "2", "--mem", "local", "--tier", "hbm"]),
        ("the machine has no {tier}: there is", DUAL, ["-n", "2", "--tier", "hbm"]),
        ("is left: it is on NUMA node{s}", str(MEMORY_ONLY), ["-n", "1", "--tier", "cxl", "--nodes", "0"]),
    ],
)
def test_placement(launcher, words, machine, options):
    refused(launcher, words, "plan", *options, "--topology", machine)


def test_forbidden(launcher):
    """This process may use one CPU, and another is asked for."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("one CPU only")
    words = "this process may use CPUs {list} only"
    refused(
        launcher,
        words,
        *PLAN,
        "--cpus",
        str(allowed[1]),
        preexec_fn=lambda: os.sched_setaffinity(0, {allowed[0]}),
    )


def test_no_cpu_is_allowed(launcher):
    text = (TOPOLOGIES.parents[1] / "topo" / "two-sockets-cpuset.xml").read_text()
    (launcher.folder / "none.xml").write_text(re.sub(r'allowed_cpuset="[^"]*"', 'allowed_cpuset="0x0"', text))
    refused(launcher, "CPUs is allowed to this process", "plan", "-n", "1", "--topology", "none.xml")


def test_crashing_topology(launcher):
    text = (TOPOLOGIES / "uneven.xml").read_text()
    (launcher.folder / "edited.xml").write_text(re.sub(' complete_nodeset="[^"]*"', "", text))
    if launcher.run(*PLAN, "--topology", "edited.xml").returncode == 0:
        pytest.skip("this hwloc makes do with less")
    refused(launcher, "is XML that crashes hwloc (signal", *PLAN, "--topology", "edited.xml")


def test_preload_in_a_folder_that_is_gone(launcher):
    """Deleted by the process that becomes shm-launch."""
    folder = launcher.folder / "gone"
    folder.mkdir()
    command = [*RUN, "--preload", "./libone.so", "true"]
    refused(launcher, "no current folder: {why}", *command, cwd=folder, preexec_fn=lambda: folder.rmdir())


def test_preload_in_a_folder_with_a_blank(launcher):
    folder = launcher.folder / "with blank"
    folder.mkdir()
    (folder / "libone.so").symlink_to(find_libm())
    words = "which cannot be preloaded: it has a blank or a colon"
    refused(launcher, words, *RUN, "--preload", "libone.so", "true", env={"LD_LIBRARY_PATH": str(folder)})


def find_libm() -> str:
    """A library that is mapped into this very process."""
    maps = Path("/proc/self/maps").read_text()
    return re.search(r"/\S*/libm[.-]\S*", maps)[0]


def test_logs(launcher):
    (launcher.folder / "file").write_text("")
    (launcher.folder / "logs" / "rank-0.out").mkdir(parents=True)
    run = ("-n", "1", "--log-dir")
    refused(launcher, "the folder that it should lie in does not exist", *run, "no/logs", "true", code=125)
    refused(launcher, "--log-dir {dir}: {why}", *run, "file", "true", code=125)
    refused(launcher, "--log-dir: {file} cannot be written", *run, "logs", "true", code=125)


def test_a_port_in_use(launcher):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = "is already used on this machine; choose another --master-port"
        refused(launcher, words, *RUN, "--master-port", port, "true", code=125)


def test_drawing(launcher):
    refused(launcher, "--draw: {file} can't be written", *PLAN, "--draw", "no/plan.svg", code=125)
