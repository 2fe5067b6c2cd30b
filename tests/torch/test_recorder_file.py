# SPDX-License-Identifier: Apache-2.0
"""Files of SHMRT_RECORDER and the program that reads them: a whole job killed, damaged files."""

import random
import re
import struct
import subprocess
import sys
import time

import pytest
import shmrt
import torch
from shmrt import recorder


def join_and_reduce(calls: int) -> int:
    shmrt.init()
    for _ in range(calls):
        shmrt.all_reduce(torch.ones(100))
    return calls


def wait_for_rank_1() -> None:
    if shmrt.rank() == 1:
        time.sleep(60)
    shmrt.barrier()


@pytest.fixture
def files(fresh_ranks, tmp_path):
    """Two ranks: 5 all-reduces, then rank 0 waits for rank 1 in a barrier; then both are killed."""
    settings = {"SHMRT_RECORDER": str(tmp_path / "rec"), "SHMRT_TUNE": "off"}
    pool = fresh_ranks(2, settings)
    pool.call(join_and_reduce, 5)
    pool.start(wait_for_rank_1)
    found = sorted(tmp_path.iterdir())
    limit = time.monotonic() + 30
    while not recorder.read(str(found[0])).waits and time.monotonic() < limit:
        time.sleep(0.05)
    for worker in pool.workers:
        worker.kill()
    return sorted(tmp_path.iterdir())


def run(*arguments: str) -> subprocess.CompletedProcess:
    """By its path, as on a machine without torch."""
    return subprocess.run([sys.executable, "-S", recorder.__file__, *arguments], capture_output=True, text=True)


def test_files_tell_who_was_where(files):
    assert [re.sub(r"\d+$", "PID", file.name) for file in files] == ["rec.rank0.PID", "rec.rank1.PID"]
    done = run(*map(str, files), "--last", "2")
    assert done.returncode == 0, done.stderr
    head, first, *middle = done.stdout.splitlines()
    assert head.endswith(": 2 ranks")
    waiting = r"  rank 0    pid \d+, in barrier #6, waiting since \d\d:\d\d:\d\d\.\d{3} for rank 1"
    assert re.fullmatch(waiting, first), done.stdout
    assert middle[:2] == ["            > barrier #6", "              all-reduce #5 (sum of 100 float32)"]
    behind = r"  rank 1    pid \d+, after all-reduce #5 \(sum of 100 float32\), 1 behind"
    assert re.fullmatch(behind, middle[2]), done.stdout
    alone = run(str(files[1]))
    assert "  rank 0    pid " in alone.stdout and "no file" in alone.stdout


def test_files_that_are_none_are_refused(files, tmp_path):
    whole = files[0].read_bytes()
    changed = {
        "empty": b"",
        "short": whole[:1000],
        "cut": whole[:-40],
        "other": b"x" * len(whole),
        "newer": whole[:8] + struct.pack("=I", 2) + whole[12:],
        "far": whole[:24] + struct.pack("=I", 1 << 31) + whole[28:],
        "large": whole + bytes(1 << 20),
    }
    for name, content in changed.items():
        path = tmp_path / name
        path.write_bytes(content)
        done = run(str(path))
        assert done.returncode == 1 and str(path) in done.stderr and "Traceback" not in done.stderr, (name, done.stderr)
    assert run(str(tmp_path / "missing")).returncode == 1


def test_damaged_files_never_crash_the_reader(files):
    """Any bytes changed: an answer, or NotAFile."""
    whole = files[0].read_bytes()
    draw = random.Random(20)
    answers = 0
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 3, 40))):
            data[draw.randrange(len(data) if draw.random() < 0.5 else 4400)] = draw.randrange(256)
        try:
            answers += bool(recorder.describe([recorder.parse(bytes(data))], last=64))
        except recorder.NotAFile:
            pass
    assert 30 < answers < 600, answers


def test_names_are_the_librarys(files):
    """The reader has its own copy of the names; these are in a report, those in a file."""
    assert recorder.DTYPES == shmrt_names("dtype") and recorder.OPS == shmrt_names("op")


def shmrt_names(kind: str) -> list[str]:
    import ctypes
    from pathlib import Path

    library = ctypes.CDLL(str(next(Path(shmrt.__file__).parent.glob("lib/libshmrt.so*"))))
    function = getattr(library, f"shmrt_{kind}_name")
    function.restype = ctypes.c_char_p
    names = []
    while (name := function(len(names))) is not None:
        names.append(name.decode())
    return names
