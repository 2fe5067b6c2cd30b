# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own tests of distributed backends, against Gloo and shmrt: what Gloo passes, shmrt must pass."""

import subprocess
import sys
from pathlib import Path

import pytest
import verdict
from forking import FAILED, PASSED, SKIPPED, Outcome

HERE = Path(__file__).parent

# One or two of each kind of call, and what is asked of works, groups, profiling and DDP.
QUICK = "|".join(
    [
        "test_(all_reduce|reduce|all_reduce_coalesced)_(sum|max|full_group_product)$",
        "test_(all_reduce_sum_complex|all_reduce_sum_async|sparse_all_reduce_sum|reduce_scatter)$",
        "test_(broadcast|scatter|gather|all_gather|barrier)$",
        "test_(all_gather_coalesced_with_empty|all_gather_object_default_pg|scatter_object_list)$",
        "test_(send_recv|isend_torch_profiler|send_recv_any_source|send_recv_with_tag|batch_isend_irecv_gloo_tags)$",
        "test_(get_backend|destroy_group|get_future|barrier_timeout_full_group)$",
        "test_(DistributedDataParallelCPU|ddp_logging_data_cpu|accumulate_gradients_no_sync_allreduce_hook)$",
    ]
)


def run(*arguments: str, timeout: float) -> None:
    command = [sys.executable, str(HERE / "run.py"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        text, _ = process.communicate(timeout=timeout)
    finally:
        process.terminate()  # it ends what it has started
        process.wait()
    print(text)
    assert process.returncode == 0, text[-8000:]


def test_of_each_kind_of_call_one_or_two():
    run("--world-size", "4", "--deadline", "120", "--only", QUICK, timeout=900)


@pytest.mark.long
def test_all_that_the_wheel_has():
    run(timeout=7200)


@pytest.mark.long
def test_all_to_all_which_pytorch_runs_for_mpi_only():
    run("--as-if", "mpi", "--only", "all_to_all", timeout=1800)


def found(gloo: str, shmrt: str) -> dict[str, dict[str, Outcome]]:
    return {"gloo": {"T.a": Outcome("T.a", gloo)}, "shmrt": {"T.a": Outcome("T.a", shmrt)}}


@pytest.mark.parametrize(
    ("gloo", "shmrt", "expected", "told"),
    [
        (PASSED, PASSED, False, None),
        (PASSED, FAILED, False, "fails"),
        (PASSED, SKIPPED, False, "fails"),
        (PASSED, FAILED, True, None),
        (PASSED, PASSED, True, "passes now"),
        (SKIPPED, FAILED, False, "fails"),
        (FAILED, FAILED, False, None),
        (SKIPPED, SKIPPED, False, None),
    ],
)
def test_what_gloo_passes_must_pass_or_be_in_the_list(gloo, shmrt, expected, told):
    problems = verdict.compare(found(gloo, shmrt), {"T.a": "a reason"} if expected else {}, whole=True)
    assert len(problems) == (told is not None)
    assert told is None or told in problems[0]


def test_a_test_that_one_backend_never_answered_has_failed():
    outcomes = found(PASSED, PASSED)
    del outcomes["shmrt"]["T.a"]
    assert len(verdict.compare(outcomes, {}, whole=True)) == 1


def test_what_gloo_passes_and_shmrt_skips_counts_as_failed():
    assert "shmrt: 1 tests: 0 passed, 1 failed, 0 skipped" in verdict.summary(found(PASSED, SKIPPED))
