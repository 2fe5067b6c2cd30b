# SPDX-License-Identifier: Apache-2.0
"""examples/generate.py end to end: transformers' own tensor parallelism chooses the unsharded model's tokens."""

import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUICK = ("--prompt", "9", "--new-tokens", "5", "--batch", "2", "--repeat", "2")
LAYERS = 2


@pytest.fixture
def generate(example):
    def run(*arguments, program=EXAMPLES / "generate.py", **how):
        return example(program, *arguments, **how)

    return run


def assert_right(outcome, unsharded, ranks, backend="shmrt"):
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    result = outcome.result
    assert result["tokens"] == unsharded
    distance, tokens, bits = result["checks"]
    assert 0 <= distance["value"] <= 1e-5 < 1e-3 < result["logits_spread"]
    assert tokens["value"] == bits["value"] == 0
    assert result["ranks"] == ranks == len(result["placement"])
    assert result["backend"] == backend
    for phase, count in (("prefill", 9), ("decode", 5)):
        speed = result[phase]
        assert speed["tokens_per_s"] == pytest.approx(2 * count / (sum(speed["pass_s"]) / 2))
        steps = 1 if phase == "prefill" else 5
        for rank in result["all_reduce"][phase]:
            # Two a layer; the embedding and the head go other ways.
            assert rank["calls"] == (steps * 2 * LAYERS if ranks > 1 else 0)


@pytest.mark.parametrize("backend", ["shmrt", "gloo"])
def test_eager(generate, unsharded, backend):
    outcome = generate(*QUICK, "--eager", "--backend", backend, kind="shm-launch")
    assert_right(outcome, unsharded, 2, backend)


def test_alone(generate, unsharded):
    """One rank: transformers splits nothing, and nothing is reduced."""
    assert_right(generate(*QUICK, "--eager", ranks=1), unsharded, 1)


BROKEN = """
import sys
sys.path.insert(0, {examples!r})
import generate
original = generate.load_split
def broken(*arguments):
    generate.reduce_with(lambda x: None)
    return original(*arguments)
generate.load_split = broken
sys.exit(generate.main())
"""


def test_the_checks_can_fail(generate, tmp_path):
    """An all-reduce that reduces nothing."""
    program = tmp_path / "broken.py"
    program.write_text(textwrap.dedent(BROKEN.format(examples=str(EXAMPLES))))
    outcome = generate(*QUICK, "--eager", program=program)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert not outcome.result["checks"][0]["passed"]


@pytest.mark.long
@pytest.mark.parametrize("ranks", [2, 4])
def test_compiled(generate, unsharded, ranks):
    outcome = generate(*QUICK, ranks=ranks)
    assert_right(outcome, unsharded, ranks)
    assert outcome.result["compiled"]


@pytest.mark.long
def test_bf16(generate):
    outcome = generate(*QUICK, "--eager", "--dtype", "bf16")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
