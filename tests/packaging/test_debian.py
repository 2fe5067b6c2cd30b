# SPDX-License-Identifier: Apache-2.0
"""debian/: the packages build, lintian has nothing to say, and each file is in the package where it belongs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 1800

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not all(map(shutil.which, ("dpkg-buildpackage", "dh", "lintian"))),
        reason="debhelper or lintian is missing (requirements/long-debian.txt)",
    ),
]


def run(*words: object, **options) -> str:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=LIMIT_S, **options)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Built from the files that git knows, as a source package has them."""
    folder = tmp_path_factory.mktemp("debian")
    source = folder / "shmrt"
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    # The system's own tools, not those of a virtual environment, and no flags of the caller's.
    env = {key: value for key, value in os.environ.items() if key in ("HOME", "LANG", "TERM")}
    env |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEB_BUILD_OPTIONS": f"parallel={os.cpu_count()}"}
    run("dpkg-buildpackage", "--build=binary", "--no-sign", cwd=source, env=env)
    return {path.name.split("_")[0]: path for path in folder.glob("*.deb")} | {"": next(folder.glob("*.changes"))}


def files(package: Path) -> set[str]:
    lines = run("dpkg-deb", "--contents", package).splitlines()
    return {line.split(maxsplit=5)[5].split(" -> ")[0].removeprefix("./") for line in lines if not line.endswith("/")}


def field(package: Path, name: str) -> str:
    return run("dpkg-deb", "--field", package, name).strip()


def test_lintian(packages: dict[str, Path]):
    said = run("lintian", "--fail-on", "error,warning", "--allow-root", packages[""])
    assert not said.strip(), said


def test_each_file_is_where_it_belongs(packages: dict[str, Path]):
    triplet = run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()
    library, development, tools = (files(packages[n]) for n in ("libshmrt0", "libshmrt-dev", "shmrt-tools"))
    assert {f for f in library if f.startswith("usr/lib/")} == {
        f"usr/lib/{triplet}/libshmrt.so.0",
        f"usr/lib/{triplet}/libshmrt.so.0.1.0",
    }
    for wanted in ("usr/include/shmrt.h", "usr/include/shmrt_placement.h"):
        assert wanted in development
    for wanted in ("libshmrt.so", "pkgconfig/shmrt.pc", "cmake/shmrt/shmrt-config.cmake"):
        assert f"usr/lib/{triplet}/{wanted}" in development
    for wanted in (
        "bin/shm-launch",
        "bin/shm-bench",
        "share/man/man1/shm-launch.1.gz",
        "share/man/man1/shm-bench.1.gz",
    ):
        assert f"usr/{wanted}" in tools
    assert "usr/share/bash-completion/completions/shm-launch" in tools
    assert "usr/share/shmrt/configs/one-rank-per-socket.yaml" in tools
    assert not [f for f in library | development | tools if "python" in f or f.endswith(".a")]


def test_dependencies(packages: dict[str, Path]):
    for wanted in ("libc6", "libhwloc15", "libnuma1", "libgomp1"):
        assert wanted in field(packages["libshmrt0"], "Depends")
    assert "libshmrt0 (= " in field(packages["libshmrt-dev"], "Depends")
    for wanted in ("libhwloc15", "libjansson4", "libyaml-0-2"):
        assert wanted in field(packages["shmrt-tools"], "Depends")
    assert "matplotlib" not in field(packages["shmrt-tools"], "Depends")


def test_what_is_in_them_runs(packages: dict[str, Path], tmp_path: Path):
    for name in ("libshmrt0", "libshmrt-dev", "shmrt-tools"):
        run("dpkg-deb", "--extract", packages[name], tmp_path)
    machine = ("--config", "one-rank-per-socket", "--topology", "pack:2 numa:1 core:4 pu:1")
    assert "rank" in run(tmp_path / "usr/bin/shm-launch", "plan", *machine)
    assert "64" in run(tmp_path / "usr/bin/shm-bench", "allreduce", "-n", 2, "--sizes", "64:64", "--seconds", "0.01")
