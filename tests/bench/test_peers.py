# SPDX-License-Identifier: Apache-2.0
"""The peers of make bench: an MPI library serves its turns with right results; what can't be had is refused."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from benching import rows

ROOT = Path(__file__).resolve().parents[2]
START = ROOT / "bench" / "peers" / "start.sh"
COLLECTIVES = "allreduce broadcast reduce allgather reduce_scatter alltoall gather scatter sendrecv barrier".split()


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder as scripts/bench.sh makes it, with the peer for Open MPI."""
    compiler = shutil.which("mpicc.openmpi")
    if not compiler or not shutil.which("mpirun.openmpi"):
        pytest.skip("the peer needs mpicc.openmpi and mpirun.openmpi (Debian: libopenmpi-dev openmpi-bin)")
    folder = tmp_path_factory.mktemp("build")
    bench = ROOT / "bench"
    sources = [bench / "peers" / "mpi.c", *(bench / f"{name}.c" for name in ("peer", "meet", "task"))]
    flags = ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-I", bench]
    subprocess.run([compiler, *flags, "-o", folder / "mpi-openmpi", *sources], check=True, timeout=120)
    return folder


@pytest.fixture
def run(bench, monkeypatch):
    """shm-bench's report of a short run beside Open MPI, which was built into a folder."""

    def report(folder: Path, *words: object) -> dict:
        monkeypatch.setenv("SHM_BENCH_BUILD", str(folder))
        return bench.report(*words, "--peer", f"openmpi:{START} openmpi")

    return report


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_open_mpi_does_every_collective(run, built, collective):
    sizes = [] if collective == "barrier" else ["--sizes", "64:64K:32"]
    report = run(built, collective, *sizes)
    (peer,) = report["peers"]
    assert peer["skipped"] is None
    assert "Open MPI" in peer["setting"]
    assert [row["bytes"] for row in rows(report, "openmpi")] == [row["bytes"] for row in rows(report, "shmrt")]


@pytest.mark.parametrize("words", [["--op", "max"], ["--dtype", "int16"], ["--out-of-place"]])
def test_open_mpi_does_other_all_reduces(run, built, words):
    assert rows(run(built, "allreduce", "--sizes", "96", *words), "openmpi")


def test_an_average_is_refused(run, built):
    (peer,) = run(built, "allreduce", "--sizes", "64", "--op", "avg")["peers"]
    assert "not supported" in peer["skipped"]


def test_what_was_not_built_is_skipped_with_the_reason(run, tmp_path):
    report = run(tmp_path, "allreduce", "--sizes", "64")
    (peer,) = report["peers"]
    assert "mpi-openmpi has not been built" in peer["skipped"]
    assert rows(report, "shmrt")


def test_the_reason_of_a_failed_step_is_listed(tmp_path):
    (tmp_path / "skipped").mkdir()
    (tmp_path / "skipped" / "mpi-impi").write_text("pip install: no such package\n")
    listed = subprocess.run(
        [START, "--list"],
        env={**os.environ, "SHM_BENCH_BUILD": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    lines = dict(line.split("\t") for line in listed.splitlines())
    assert lines["impi"] == lines["impi-avx2"] == "skipped: pip install: no such package"
    assert "has not been built" in lines["gloo"]
