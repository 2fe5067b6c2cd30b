# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own tests of distributed backends, against Gloo and shmrt: what Gloo passes, shmrt must pass."""

import pytest
import verdict
from forking import FAILED, PASSED, SKIPPED, Outcome


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
