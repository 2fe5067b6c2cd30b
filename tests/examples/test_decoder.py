# SPDX-License-Identifier: Apache-2.0
"""examples/decoder.py end to end: every rank count and engine chooses the unsharded model's tokens."""

import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUICK = ("--prompt", "9", "--new-tokens", "5", "--batch", "2", "--repeat", "2")
LAYERS = 2


def assert_right(outcome, unsharded, ranks):
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    result = outcome.result
    assert [list(row) for row in zip(*result["tokens"], strict=True)] == unsharded
    distance, tokens, bits = result["checks"]
    assert 0 <= distance["value"] <= 1e-5 < 1e-3 < result["logits_spread"]
    assert tokens["value"] == bits["value"] == 0
    assert result["ranks"] == ranks == len(result["placement"])


def assert_speeds(result):
    """The figures of both phases are there and fit together."""
    for phase, tokens in (("prefill", 9), ("decode", 5)):
        speed = result[phase]
        assert len(speed["pass_s"]) == 2
        assert speed["tokens_per_s"] == pytest.approx(2 * tokens / (sum(speed["pass_s"]) / 2))
        assert 0 < speed["token_ms_median"] <= speed["token_ms_p99"]
        steps = 1 if phase == "prefill" else 5
        for rank in result["all_reduce"][phase]:
            # Two a layer and one for the choice of the token.
            assert rank["calls"] == steps * (2 * LAYERS + 1)
            assert 0 < rank["seconds"] and 0 <= rank["late_seconds"] <= rank["seconds"]
            assert 0 < rank["share"] < 1
            assert rank["share"] == pytest.approx(rank["late_share"] + rank["moving_share"])
        if result["ranks"] == 1:
            assert result["all_reduce"][phase][0]["late_seconds"] == 0


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.long), 4])
def test_every_rank_count(decoder, unsharded, ranks):
    outcome = decoder(*QUICK, "--eager", ranks=ranks)
    assert_right(outcome, unsharded, ranks)
    assert_speeds(outcome.result)


def test_compiled(decoder, unsharded):
    """Two ranks; only rank 0 speaks."""
    outcome = decoder(*QUICK, kind="shm-launch")
    assert_right(outcome, unsharded, 2)
    assert_speeds(outcome.result)
    assert outcome.result["compiled"]
    for line in ("Speed", "Where the ranks and their buffers were", "Checks"):
        assert outcome.stdout.count(line) == 1
    for counted in outcome.result["counters"]:
        assert counted["prefill"]["calls"] == 2 * LAYERS + 1
        assert counted["decode"]["calls"] == 5 * (2 * LAYERS + 1)


def test_gloo(decoder, unsharded):
    outcome = decoder(*QUICK, "--eager", "--backend", "gloo")
    assert_right(outcome, unsharded, 2)
    assert_speeds(outcome.result)
    assert outcome.result["counters"] is None


def test_bf16(decoder):
    outcome = decoder(*QUICK, "--eager", "--dtype", "bf16")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    distance, _, bits = outcome.result["checks"]
    assert 1e-5 < distance["value"] <= distance["limit"] < outcome.result["logits_spread"]
    assert bits["value"] == 0


@pytest.mark.parametrize(
    ("arguments", "ranks", "said"),
    [
        ((), 3, "cannot be shared by 3 ranks: take 1, 2, 4."),
        (("--size", "7t"), 2, "argument --size: invalid choice: '7t'"),
    ],
)
def test_bad_arguments(decoder, arguments, ranks, said):
    outcome = decoder(*arguments, ranks=ranks)
    assert outcome.returncode == 2
    everything = outcome.stdout + outcome.stderr
    assert everything.count(said) == everything.count("decoder.py: ") == 1, everything


BROKEN = """
import sys
sys.path.insert(0, {examples!r})
import decoder, engines
def broken(self, *arguments):
    whole = original(self, *arguments)
    self.all_reduce = {all_reduce}
original = engines.ShmrtEngine.__init__
engines.ShmrtEngine.__init__ = broken
sys.exit(decoder.main())
"""


@pytest.mark.parametrize(
    ("all_reduce", "failing"),
    [
        ("lambda x: x.clone()", [0, 1, 2]),
        ("(lambda sum: lambda x: sum(x) * (1 + 2e-7 * self.rank))(self.all_reduce)", [2]),
    ],
    ids=["reduces nothing", "last bits differ"],
)
def test_the_checks_can_fail(decoder, tmp_path, all_reduce, failing):
    program = tmp_path / "broken.py"
    program.write_text(textwrap.dedent(BROKEN.format(examples=str(EXAMPLES), all_reduce=all_reduce)))
    outcome = decoder(*QUICK, "--eager", program=program)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    checks = outcome.result["checks"]
    assert [number for number, check in enumerate(checks) if not check["passed"]] == failing


@pytest.mark.long
@pytest.mark.parametrize("ranks", [1, 4])
def test_every_rank_count_compiled(decoder, unsharded, ranks):
    assert_right(decoder(*QUICK, ranks=ranks), unsharded, ranks)


@pytest.mark.long
def test_gloo_compiled(decoder, unsharded):
    assert_right(decoder(*QUICK, "--backend", "gloo"), unsharded, 2)
