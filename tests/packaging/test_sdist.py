# SPDX-License-Identifier: Apache-2.0
"""The sdist: the sources and nothing else, and a wheel can be made from it."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from fresh import LIMIT_S

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("shmrt-*.tar.gz")
    return found


def test_it_has_the_sources_and_nothing_that_was_built(sdist: Path):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in ("CMakeLists.txt", "pyproject.toml", "LICENSE", "README.md", "PKG-INFO", "runtime/include/shmrt.h"):
        assert wanted in names
    tops = {name.split("/")[0] for name in names}
    assert not tops & {".git", ".venv", ".ci", ".cache", "build", "dist", ".mypy_cache", ".ruff_cache"}
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc", ".whl"))]


@pytest.mark.long
def test_a_wheel_can_be_made_from_it(sdist: Path, tmp_path: Path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", tmp_path]
    done = subprocess.run([*command, sdist], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("shmrt-*.whl"))) == 1
