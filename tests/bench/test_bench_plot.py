# SPDX-License-Identifier: Apache-2.0
"""Pictures: drawn from a run and from a file, or a clear word about what is missing."""

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

RUN = ["allreduce", "--sizes", "64:512:8", "--seconds", "0.001", "-q"]


def texts(picture: Path) -> str:
    return " ".join(ElementTree.parse(picture).getroot().itertext())


def test_a_run_draws_a_picture(bench):
    pytest.importorskip("matplotlib")
    done = bench.run(*RUN, "--plot", "times.svg")
    assert done.returncode == 0, done.stderr
    shown = texts(bench.folder / "times.svg")
    for word in ("shmrt", "memcpy", "remote_read", "remote_write", "512 B", "float32"):
        assert word in shown


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_script_draws_from_a_file(bench, suffix):
    pytest.importorskip("matplotlib")
    assert bench.run(*RUN, "--json", "a.json").returncode == 0
    script = Path(bench.binary).with_name("shm-bench-plot")
    subprocess.run([sys.executable, script, "a.json", f"a.{suffix}"], cwd=bench.folder, check=True, timeout=120)
    assert (bench.folder / f"a.{suffix}").stat().st_size > 1000


def test_without_matplotlib_it_says_so(bench):
    hidden = bench.folder / "hidden"
    hidden.mkdir()
    (hidden / "matplotlib.py").write_text("raise ImportError\n")
    done = bench.run(*RUN, "--plot", "a.svg", env={"PYTHONPATH": str(hidden)})
    assert done.returncode == 1 and "pip install matplotlib" in done.stderr
    assert not (bench.folder / "a.svg").exists()


def test_without_the_script_it_says_so(bench):
    alone = shutil.copy(bench.binary, bench.folder / "shm-bench-alone")
    bench.binary = str(alone)
    done = bench.run(*RUN, "--plot", "a.svg", env={"PATH": "/nowhere"})
    assert done.returncode == 1 and "shm-bench-plot is neither beside shm-bench nor on PATH" in done.stderr


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": []}'])
def test_a_file_that_is_no_report_is_refused(bench, text):
    (bench.folder / "bad.json").write_text(text)
    script = Path(bench.binary).with_name("shm-bench-plot")
    done = subprocess.run(
        [sys.executable, script, "bad.json", "a.svg"], cwd=bench.folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "shm-bench-plot: " in done.stderr and "Traceback" not in done.stderr
