# SPDX-License-Identifier: Apache-2.0
"""libshmrt built for other CPUs and run by QEMU's user mode: which kernels each CPU gets, their bits, and collectives
between processes. QEMU keeps this machine's order of memory accesses: that is proven by the models (tests/models)."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ["XDG_CACHE_HOME"], "shmrt") if "XDG_CACHE_HOME" in os.environ else ROOT / ".cache"
TRIPLETS = {
    "aarch64": "aarch64-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "s390x": "s390x-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu",
}
# More ranks take turns on this machine's CPUs, which is slow under an emulator and proves nothing more of a CPU; so do
# vectors of many parts of the ring.
FEW = {"SHMRT_TEST_MOST_RANKS": "3", "SHMRT_TEST_MOST_COUNT": "10000"}


@dataclass
class Cpu:
    """A CPU as QEMU's -cpu takes it, the rungs that run there, the last of which has to be chosen, and of the kernels'
    tests those that make test runs ("": none, as make test-long has all), on which rungs ("": all)."""

    arch: str
    cpu: str
    rungs: str
    tests: str
    tested_rungs: str = ""

    def __str__(self) -> str:
        return f"{self.arch}-{self.cpu}"


ARM = "reference neon neonfp16 neonbf16 sve svebf16"
# QEMU writes ones to what a kernel said that it does not care for (tails, masked-off elements), as a CPU may.
RVV = "rv64,v=true,vlen={},elen=64,vext_spec=v1.0,rvv_ta_all_1s=true,rvv_ma_all_1s=true"
ALL = "[a-z_]*"
CHOICE = "choice|fpenv|semantics"
LENGTH = "choice|fpenv|semantics|rungs"  # what vectors of another length change
LENGTH_NORM = f"{LENGTH}|norm"
CPUS = [
    Cpu("aarch64", "cortex-a57", "reference neon", CHOICE),
    Cpu("aarch64", "neoverse-n1", "reference neon neonfp16", CHOICE),
    Cpu("aarch64", "a64fx", "reference neon neonfp16 sve", CHOICE),
    Cpu("aarch64", "max,sve=off", "reference neon neonfp16 neonbf16", CHOICE),
    Cpu("aarch64", "max,sve128=on,sve256=off", ARM, LENGTH, "sve svebf16"),
    Cpu("aarch64", "max,sve256=on,sve512=off", ARM, ALL),
    Cpu("aarch64", "max", ARM, ""),  # vectors of 512 bits
    Cpu("riscv64", "rv64", "reference", CHOICE),
    Cpu("riscv64", RVV.format(128), "reference rvv", ALL),
    Cpu("riscv64", RVV.format(256), "reference rvv", LENGTH),
    Cpu("riscv64", RVV.format(512), "reference rvv", LENGTH_NORM),
]
# Only in make test-long.
REFERENCE_CPUS = [Cpu("s390x", "max", "reference", ALL), Cpu("ppc64le", "power9", "reference", ALL)]


def run(words: list, timeout_s: int, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in words],
        env=os.environ | environment,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
    )


def run_well(words: list, timeout_s: int, **environment: str) -> str:
    done = run(words, timeout_s, **environment)
    assert done.returncode == 0, f"{words} {environment}\n{done.stdout[-6000:]}"
    return done.stdout


def require_tools(arch: str) -> None:
    tools = [f"{TRIPLETS[arch]}-gcc", f"qemu-{arch}-static", "cmake", "ninja"]
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not here; requirements/debian-emulators.txt names the packages")


def cmocka(arch: str) -> Path:
    prefix = CACHE / "cross" / arch
    done = run([ROOT / "tests" / "cross" / "cmocka.sh", arch, prefix], 600)
    if done.returncode == 77:
        pytest.skip(f"cmocka for {arch}: {done.stdout.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-6000:]
    return prefix


@pytest.fixture(scope="module")
def build():
    """The build folder for a CPU's architecture, made or brought up to date once."""
    built = {}

    def folder(arch: str) -> Path:
        if arch not in built:
            require_tools(arch)
            prefix = cmocka(arch)
            run_well(["cmake", "--preset", arch, f"-DCMAKE_PREFIX_PATH={prefix}"], 300)
            run_well(["cmake", "--build", ROOT / "build" / arch, "-j", os.cpu_count()], 1200)
            built[arch] = ROOT / "build" / arch
        return built[arch]

    return folder


def ctest(folder: Path, pattern: str, cpu: Cpu, **environment: str) -> str:
    words = ["ctest", "--test-dir", folder, "-R", pattern, "-LE", "long", "-j", os.cpu_count(), "--no-tests=error"]
    return run_well([*words, "--output-on-failure"], 3600, QEMU_CPU=cpu.cpu, **environment)


def check_kernels(folder: Path, cpu: Cpu, tests: str, rungs: str) -> None:
    """The CPU gets the rungs that it should, and the tests named pass on it."""
    choice = run_well(["ctest", "--test-dir", folder, "-V", "-R", "kernels.test_choice"], 300, QEMU_CPU=cpu.cpu)
    (line,) = re.findall(r"rungs tested: ([^;\n]*)", choice)
    assert line.split() == cpu.rungs.split(), choice
    ctest(folder, rf"^kernels\.test_({tests})$", cpu, **({"SHMRT_TEST_RUNGS": rungs} if rungs else {}))


def say(capsys, cpu: Cpu, rungs: str) -> None:
    with capsys.disabled():
        print(f"\n{cpu}: kernels covered: {rungs or cpu.rungs}", end=" ")


def each(cpus):
    return pytest.mark.parametrize("cpu", list(cpus), ids=str)


@each(cpu for cpu in CPUS if cpu.tests)
def test_kernels(build, cpu, capsys):
    check_kernels(build(cpu.arch), cpu, cpu.tests, cpu.tested_rungs)
    say(capsys, cpu, f"{cpu.tested_rungs or cpu.rungs} ({'all tests' if cpu.tests == ALL else cpu.tests})")


@each(cpu for cpu in CPUS if cpu.tests == ALL)
def test_collectives(build, cpu):
    ctest(build(cpu.arch), r"^coll\.test_(allreduce|few|requests|comm_split|refused|order)$", cpu, **FEW)


@each(cpu for cpu in CPUS if cpu.tests == ALL)
def test_without_hwloc(build, cpu):
    """These builds have none: what else the library does, it does."""
    ctest(build(cpu.arch), r"^(topo\.|unit\.test_(layout|slices|options|environment|pool_heap)$)", cpu)


@pytest.mark.long
@each([cpu for cpu in CPUS if cpu.tests != ALL] + REFERENCE_CPUS)
def test_all_kernels(build, cpu, capsys):
    check_kernels(build(cpu.arch), cpu, ALL, "")
    say(capsys, cpu, cpu.rungs)


@pytest.mark.long
@each(cpu for cpu in CPUS + REFERENCE_CPUS if cpu.tests == ALL)
def test_all_collectives(build, cpu):
    ctest(build(cpu.arch), r"^coll\.", cpu, SHMRT_TEST_MOST_RANKS="4", SHMRT_TEST_MOST_COUNT="100000")


# What shm-launch needs beside libc, and libc itself, which QEMU takes from the same folder.
LAUNCHER_PACKAGES = """libc6 libhwloc15 libhwloc-dev libnuma1 libnuma-dev libudev1 libcap2 libyaml-0-2 libyaml-dev
libjansson4 libjansson-dev""".split()


@pytest.fixture
def launcher() -> list:
    """shm-launch for aarch64, with hwloc, as a command."""
    require_tools("aarch64")
    root, triplet = CACHE / "cross" / "arm64-debian", TRIPLETS["aarch64"]
    done = run([ROOT / "tests" / "cross" / "debs.sh", "arm64", root, *LAUNCHER_PACKAGES], 600)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-6000:]
    folder = ROOT / "build" / "aarch64-launcher"
    settings = {
        "SHMRT_TOPO": "ON",
        "SHMRT_TOOLS": "ON",
        "SHMRT_TESTS": "OFF",
        "CMAKE_PREFIX_PATH": root / "usr",
        "CMAKE_C_FLAGS": f"-idirafter {root}/usr/include/{triplet}",
        "CMAKE_EXE_LINKER_FLAGS": f"-Wl,-rpath-link,{root}/usr/lib/{triplet}",
    }
    run_well(["cmake", "--preset", "aarch64", "-B", folder, *(f"-D{key}={settings[key]}" for key in settings)], 300)
    run_well(["cmake", "--build", folder, "-j", os.cpu_count(), "--target", "shm-launch"], 1200)
    return ["qemu-aarch64-static", "-L", root, folder / "launcher" / "shm-launch"]


@pytest.mark.long
def test_shm_launch_for_aarch64(launcher):
    said = run_well([*launcher, "-n", 2, "sh", "-c", "echo rank $RANK of $WORLD_SIZE"], 120)
    assert sorted(re.findall(r"rank \d of \d", said)) == ["rank 0 of 2", "rank 1 of 2"]
    plan = run_well([*launcher, "-n", 2, "--dry-run", "--topology", "pack:2 numa:1 core:4 pu:1", "--", "true"], 120)
    assert re.search(r"^ *0 +0 +0 +0-3 ", plan, re.M) and re.search(r"^ *1 +1 +1 +4-7 ", plan, re.M), plan
