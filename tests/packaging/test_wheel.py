# SPDX-License-Identifier: Apache-2.0
"""The wheel: what it needs of the machine it is installed on, and that a fresh environment can use it.

The wheel is the one that .venv was installed from, build/wheel/shmrt-*.whl (scripts/install-shmrt.sh).
"""

import os
import re
import signal
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path

import processes
import pytest
import surroundings
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from fresh import LIMIT_S, environment_with_torch, pip, site_packages

ROOT = Path(__file__).parents[2]

# Of the C library and the compiler, which every machine that runs PyTorch has, and of PyTorch itself.
SYSTEM = re.compile(r"(libc|libm|libpthread|libdl|ld-linux.*|libgcc_s|libstdc\+\+)\.so\.\d+")
PYTORCH = re.compile(r"libtorch(_cpu|_python)?\.so|libc10\.so|libgomp\.so\.1")
OURS = re.compile(r"libshmrt(_torch)?\.so(\.\d+)?")
# What the machine that builds has, and others may not.
HIDDEN = ("libhwloc.so*", "libnuma.so*", "libyaml-0.so*", "libjansson.so*", "libudev.so*")


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = sorted((ROOT / "build" / "wheel").glob("shmrt-*.whl"))
    if not found:
        pytest.skip("no wheel in build/wheel: scripts/install-shmrt.sh makes one")
    return found[-1]


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    environment = environment_with_torch(tmp_path_factory.mktemp("fresh"))
    done = pip(environment, "install", "--no-index", wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    return environment


def programs(wheel: Path) -> dict[str, DynamicSection]:
    """Programs and libraries in it, by name."""
    found = {}
    archive = zipfile.ZipFile(wheel)
    for name in archive.namelist():
        with archive.open(name) as file:
            if file.read(4) == b"\x7fELF":
                file.seek(0)
                found[name] = ELFFile(file).get_section_by_name(".dynamic")
                found[name].tags = list(found[name].iter_tags())
    return found


def test_it_needs_nothing_but_pytorch_and_the_c_library(wheel: Path):
    seen = programs(wheel)
    assert any("shm-launch" in name for name in seen) and any("libshmrt" in name for name in seen)
    for name, section in seen.items():
        wanted = [tag.needed for tag in section.tags if tag.entry.d_tag == "DT_NEEDED"]
        strange = [w for w in wanted if not (SYSTEM.fullmatch(w) or PYTORCH.fullmatch(w) or OURS.fullmatch(w))]
        assert not strange, f"{name} needs {strange}"


def test_it_looks_for_libraries_only_within_its_environment(wheel: Path):
    for name, section in programs(wheel).items():
        for tag in section.tags:
            if tag.entry.d_tag in ("DT_RUNPATH", "DT_RPATH"):
                assert all(path.startswith("$ORIGIN") for path in tag.runpath.split(":")), (name, tag.runpath)


def test_it_carries_no_library_of_others_but_their_licenses(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    libraries = [Path(name).name for name in names if ".so" in name]
    assert [n for n in libraries if not OURS.fullmatch(n) and not n.startswith("_C.")] == []
    for library in ("hwloc", "yaml", "jansson"):
        assert f"shmrt/licenses/{library}.txt" in names


def test_auditwheel_adds_nothing(wheel: Path, tmp_path: Path):
    """As scripts/dist.sh calls it: the tag names a C library, and the content stays."""
    script = (ROOT / "scripts" / "dist.sh").read_text().replace("\\\n", " ")
    words = re.search(r"auditwheel --quiet repair (.*) --wheel-dir", script)[1].replace("'", "").split()
    command = [sys.executable, "-m", "auditwheel", "repair", *words, "--wheel-dir", tmp_path, wheel]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=os.environ | {"PATH": path})
    assert done.returncode == 0, done.stderr
    (repaired,) = tmp_path.glob("*.whl")
    assert "manylinux" in repaired.name
    before, after = (set(zipfile.ZipFile(w).namelist()) for w in (wheel, repaired))
    assert {n for n in after - before if not n.endswith("/") and "sbom" not in n} == set()


def hide(*patterns: str) -> None:
    """Put an empty file in the place of each of these libraries, in this mount namespace."""
    for folder in ("/usr/lib", "/lib", "/usr/local/lib"):
        for pattern in patterns:
            for path in {p.resolve() for p in Path(folder).rglob(pattern)}:
                surroundings.mount("/dev/null", str(path), flags=surroundings.BIND)


def run(*words: object, hidden: tuple[str, ...] = (), **more: str) -> str:
    """Run a command where the libraries `hidden` can't be loaded; what it said."""
    dropped = ("SHMRT_", "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "OMP_", "PYTHONPATH", "LD_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)} | more
    rootless = os.getuid() != 0
    prepare = None
    if hidden and not surroundings.why_not(rootless):
        prepare = surroundings.inside(lambda: hide(*hidden), rootless=rootless)
    marker = f"SHMRT_TEST_MARKER={uuid.uuid4().hex}"
    env |= dict([marker.split("=")])
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    try:
        process = subprocess.Popen([str(w) for w in words], env=env, preexec_fn=prepare, **options)
        said = process.communicate(timeout=LIMIT_S)[0]
        assert process.returncode == 0, said
        return said
    finally:
        for pid in processes.marked(marker):
            os.kill(pid, signal.SIGKILL)


def ten_lines() -> str:
    code = re.search(r"## In your own script\n+```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    assert len([line for line in code.splitlines() if line.strip()]) == 10
    return code


def test_ten_lines_of_the_readme_under_torchrun(fresh: Path, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(ten_lines())
    logs = ("--log-dir", tmp_path / "logs", "--redirects", 1)  # on one pipe, ranks print into each other's lines
    torchrun = (fresh / "bin" / "python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    hidden = tuple(name for name in HIDDEN if "jansson" not in name)  # the linker, which torch.compile calls, needs it
    run(*torchrun, *logs, script, hidden=hidden, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"))
    said = "".join(path.read_text() for path in (tmp_path / "logs").rglob("stdout.log"))
    for rank in (0, 1):  # sum of 0 and 1, their maximum, and twice the sum of two ones
        assert f"{rank} tensor(1.) tensor(1.) tensor(4.)\n" in said
    assert said.count("'deepspeed::inference_all_reduce': 2") == 2


def test_programs_in_a_fresh_environment(fresh: Path):
    machine = ("--config", "one-rank-per-socket", "--topology", "pack:2 numa:1 core:4 pu:1")
    said = run(fresh / "bin" / "shm-launch", "plan", *machine, hidden=HIDDEN)
    assert "rank" in said
    bench = (fresh / "bin" / "shm-bench", "allreduce", "-n", 2, "--sizes", "64:64", "--seconds", "0.01")
    assert "64" in run(*bench, hidden=(*HIDDEN, "libgomp.so.1*"))


def test_another_pytorch_is_refused(fresh: Path):
    code = "import torch; torch.__version__ = '2.99.1+cpu'; import shmrt"
    done = subprocess.run([fresh / "bin" / "python", "-c", code], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: this shmrt was built for PyTorch 2.") and "PyTorch 2.99.1+cpu" in last
    metadata = (next(site_packages(fresh).glob("shmrt-*.dist-info")) / "METADATA").read_text()
    built = re.search(r"for PyTorch (2\.\d+) ", last)[1]
    assert f"Requires-Dist: torch=={built}.*" in metadata


def test_another_patch_of_the_same_minor_version_is_taken():
    from shmrt._torch import check_torch_version

    check_torch_version("2.13.4", "2.13.0+cpu")
    check_torch_version("2.13.0+cu130", "2.13.0+cpu")
    for other in ("2.130.0", "2.1.3", "3.13.0", "2.14.0a0"):
        with pytest.raises(ImportError, match=r"built for PyTorch 2\.13 "):
            check_torch_version(other, "2.13.0+cpu")
