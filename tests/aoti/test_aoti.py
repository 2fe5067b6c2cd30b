# SPDX-License-Identifier: Apache-2.0
"""The example in C++: a model compiled by AOTInductor, on two ranks that have no Python."""

import re
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch

RANK = re.compile(r"rank (\d) of 2: largest difference from the unsharded model (\S+), sum (\S+)")


def test_two_ranks_without_python(infer):
    done = infer()
    assert done.returncode == 0, done.stdout + done.stderr
    found = {rank: (float(off), total) for rank, off, total in RANK.findall(done.stdout)}
    assert sorted(found) == ["0", "1"]
    # Other kernels than eager's, and sums in another order; all ranks have the same bits.
    assert all(off < 1e-5 for off, _ in found.values()) and found["0"][1] == found["1"][1]
    assert done.stdout.count("Python is not here") == 1


def test_python_would_be_seen(infer):
    library = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME"))
    if not library.is_file():
        pytest.skip("this Python has no shared library")
    done = infer(LD_PRELOAD=str(library))
    assert done.stdout.count("Python is here") == 1, done.stdout + done.stderr


def test_wrong_results_are_seen(infer, example, tmp_path):
    """Weights of another rank: the sum over ranks is not the whole model's."""
    model = tmp_path / "model"
    shutil.copytree(example.model, model)
    shutil.copy(model / "rank-0.pt", model / "rank-1.pt")
    done = infer(model)
    assert done.returncode == 1, done.stdout + done.stderr
    assert all(float(off) > 1e-3 for _, off, _ in RANK.findall(done.stdout))


def test_a_rank_that_leaves_is_an_error_that_names_it(infer, example, tmp_path):
    """Rank 1 has no weights and ends; rank 0 is in the model then, whose exception has the reason."""
    model = tmp_path / "model"
    shutil.copytree(example.model, model)
    (model / "rank-1.pt").unlink()
    done = infer(model)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "rank-1.pt can't be read" in done.stderr
    assert re.search(r"\[0\] infer: .*rank 1 \(pid \d+\) (died|has left)", done.stderr), done.stderr


def test_weights_are_the_ranks_own(example):
    whole = [torch.load(example.model / f"rank-{rank}.pt")["layers.0.gate.weight"] for rank in range(2)]
    assert whole[0].shape == whole[1].shape and not torch.equal(*whole)
