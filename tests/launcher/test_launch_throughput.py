# SPDX-License-Identifier: Apache-2.0
"""Much output of many ranks: whole, unmixed, and at no less than the speed of mpirun --tag-output."""

import shutil
import statistics
import subprocess
import sys
import time

import pytest
from launching import LIMIT_S

RANKS = 8
LINE_BYTES = 100
# A line is "3 line 000000017 ddd...": rank, number, and a letter that goes with the number.
WRITE = f"""
import os, sys
rank = os.environ.get("RANK") or os.environ["OMPI_COMM_WORLD_RANK"]
lines = int(sys.argv[1])
for begin in range(0, lines, 1000):
    numbers = range(begin, min(begin + 1000, lines))
    text = "".join(f"{{rank}} line {{i:09d}} ".ljust({LINE_BYTES - 1}, chr(97 + i % 26)) + "\\n" for i in numbers)
    sys.stdout.write(text)
"""


def lines_a_rank(total_bytes):
    return total_bytes // RANKS // LINE_BYTES


def check(stream, lines):
    """Every line of every rank, in its order, under its own prefix."""
    seen = [0] * RANKS
    letters = [bytes([97 + i]) for i in range(26)]
    for line in stream:
        rank = line[1] - 48
        i = seen[rank]
        begin = b"[%d] %d line %09d " % (rank, rank, i)
        assert line == begin.ljust(LINE_BYTES + 3, letters[i % 26]) + b"\n"
        seen[rank] = i + 1
    assert seen == [lines] * RANKS


def all_of_it(launcher, total_bytes, *options):
    lines = lines_a_rank(total_bytes)
    words = ["-n", str(RANKS), "--no-bind", *options, *launcher.python(WRITE), str(lines)]
    process = launcher.start(*words, text=False, env={"PYTHONUNBUFFERED": ""}, stderr=subprocess.DEVNULL)
    check(process.stdout, lines)
    assert process.wait(LIMIT_S) == 0
    return lines


def test_40_megabytes(launcher):
    all_of_it(launcher, 40_000_000)


def test_40_megabytes_and_logs(launcher):
    lines = all_of_it(launcher, 40_000_000, "--log-dir", "logs")
    for rank in range(RANKS):
        with open(launcher.folder / "logs" / f"rank-{rank}.out", "rb") as log:
            for i, line in enumerate(log):
                assert line.startswith(b"%d line %09d " % (rank, i)) and len(line) == LINE_BYTES
        assert i == lines - 1


@pytest.mark.long
def test_a_gigabyte(launcher):
    all_of_it(launcher, 1_000_000_000)


@pytest.mark.long
def test_at_least_as_fast_as_mpirun(launcher):
    """In turns, since other programs of the machine may slow both down."""
    mpirun = shutil.which("mpirun")
    if not mpirun:
        pytest.skip("no mpirun to compare with")
    words = [sys.executable, "-c", WRITE, str(lines_a_rank(20_000_000))]
    commands = {
        "shm-launch": [launcher.binary, "-n", str(RANKS), "--no-bind", *words],
        "mpirun": [mpirun, "--allow-run-as-root", "--oversubscribe", "--tag-output", "-n", str(RANKS), *words],
    }
    env = launcher.environment()
    seconds = {name: [] for name in commands}
    for _ in range(5):
        for name, command in commands.items():
            start = time.perf_counter()
            result = subprocess.run(command, capture_output=True, env=env, timeout=LIMIT_S)
            seconds[name].append(time.perf_counter() - start)
            if name == "mpirun" and result.returncode:
                pytest.skip(f"mpirun does not work here: {result.stderr[-300:]}")
            assert result.returncode == 0
            assert result.stdout.count(b"\n") >= RANKS * lines_a_rank(20_000_000)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    print(f"shm-launch takes {medians['shm-launch'] / medians['mpirun']:.2f} of mpirun's time: {medians} s")
    assert medians["shm-launch"] <= medians["mpirun"], medians
