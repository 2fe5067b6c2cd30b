# SPDX-License-Identifier: Apache-2.0
"""What `pip install .` leaves behind. Skipped where the package was not installed by pip."""

import importlib.metadata
import subprocess
import sysconfig
from pathlib import Path

import pytest
import shmrt

PACKAGE = Path(shmrt.__file__).parent


@pytest.fixture
def distribution():
    try:
        found = importlib.metadata.distribution("shmrt")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("shmrt is imported from a build folder")
    if Path(found.locate_file("shmrt")).resolve() != PACKAGE.resolve():
        pytest.skip("another shmrt is installed than the one imported")
    return found


def test_one_version_everywhere(distribution):
    assert distribution.version == shmrt.__version__


def test_programs_are_installed(distribution):
    scripts = Path(sysconfig.get_path("scripts"))
    for program in ("shm-launch", "shm-bench"):
        done = subprocess.run([scripts / program, "--help"], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and program in done.stdout + done.stderr


def test_configs_lie_where_the_launcher_looks(distribution):
    configs = Path(sysconfig.get_path("data")) / "share" / "shmrt" / "configs"
    assert {p.stem for p in configs.glob("*.yaml")} >= {"one-rank-per-socket", "one-rank-per-numa-node"}


def test_only_what_python_needs(distribution):
    """What C++ programs with the operators need, no other headers or CMake files, and each library once, not as three
    copies of one file."""
    names = [str(f) for f in distribution.files]
    for_programs = sorted(n for n in names if n.endswith((".h", ".cmake", ".pc", ".a")))
    assert for_programs == ["shmrt/include/shmrt_torch.h", "shmrt/share/cmake/shmrt_torch/shmrt_torch-config.cmake"]
    assert len([n for n in names if "libshmrt" in n]) == 2
    assert "shmrt/py.typed" in names
