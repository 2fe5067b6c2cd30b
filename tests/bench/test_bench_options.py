# SPDX-License-Identifier: Apache-2.0
"""The command line of shm-bench: what is refused, with which words, and what help says."""

import pytest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], 'collective ""'),
        (["allgath"], 'collective "allgath"'),
        (["allreduce", "broadcast"], "name one"),
        (["allreduce", "--ranks", "0"], "give 1 to 64"),
        (["allreduce", "--ranks", "65"], "give 1 to 64"),
        (["allreduce", "--threads", "x"], 'threads "x"'),
        (["allreduce", "--sizes", "64:32"], "A <= B"),
        (["allreduce", "--sizes", "64:128:1"], "F >= 2"),
        (["allreduce", "--sizes", "1"], "whole number of elements"),
        (["allreduce", "--dtype", "fp8"], "bf16"),
        (["allreduce", "--op", "mean"], "avg"),
        (["allreduce", "--op", "avg", "--dtype", "int32"], "not defined"),
        (["allreduce", "--buffers", "hot"], "warm, cold or rewritten"),
        (["allreduce", "--seconds", "0"], "more than 0"),
        (["allreduce", "--peer-timeout", "-1"], "more than 0"),
        (["allreduce", "--peer", "mpirun -n 2 x"], "NAME:COMMAND"),
        (["allreduce", "--peer", "a b:true"], "letters"),
        (["allreduce", "--peer", "a:true", "--peer", "a:false"], "two peers"),
        (["allreduce", "--plot", "times.txt"], ".svg"),
        (["allreduce", "--sizes", "512G", "-n", "64"], "GiB"),
        (["sendrecv", "-n", "1"], "two ranks"),
        (["allreduce", "--shared=some"], "both or nothing"),
        (["allreduce_norm", "--dtype", "int32"], "fp32, bf16 or fp16"),
        (["allreduce_norm", "--op", "max"], "sums"),
        (["allreduce", "--nonsense"], "--help"),
    ],
)
def test_refused(bench, words, said):
    done = bench.run(*words)
    assert done.returncode == 2
    assert said in done.stderr and done.stdout == ""


def test_help_names_every_collective_and_option(bench):
    done = bench.run("--help")
    assert done.returncode == 0 and done.stderr == ""
    for word in ("allreduce", "reduce_scatter", "sendrecv", "allreduce_norm", "create", "remote_write"):
        assert word in done.stdout
    for word in ("--buffers", "--shared", "--probe", "--peer", "--plot"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_version(bench):
    done = bench.run("--version")
    assert done.returncode == 0 and done.stdout.startswith("shm-bench ")


def test_json_that_cannot_be_written_is_an_error(bench):
    done = bench.run("barrier", "--seconds", "0.001", "-q", "--json", "/nowhere/x.json")
    assert done.returncode == 1 and "/nowhere/x.json" in done.stderr
