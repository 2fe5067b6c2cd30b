# SPDX-License-Identifier: Apache-2.0
"""examples/infer.py end to end: every launcher, rank count, dtype and engine gives the same answers."""

import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def assert_answers(outcome, expected, tolerance):
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    found = outcome.result["queries"]
    assert [answer["query"] for answer in found] == [query for query, _ in expected]
    for answer, (query, matches) in zip(found, expected, strict=True):
        assert [match["sentence"] for match in answer["matches"]] == [text for _, text in matches], query
        for match, (score, _) in zip(answer["matches"], matches, strict=True):
            assert abs(match["score"] - score) < tolerance, query


def assert_exact(outcome, expected, ranks):
    """An fp32 job: the right answers, within 1e-5 of the unsharded model, one checksum."""
    assert_answers(outcome, expected, 1e-5)
    distance, bits = outcome.result["checks"]
    assert 0 <= distance["value"] <= 1e-5
    assert bits["value"] == 0
    assert outcome.result["ranks"] == ranks == len(outcome.result["placement"])
    assert len({fact["pid"] for fact in outcome.result["placement"]}) == ranks


@pytest.mark.parametrize("ranks", [3, *(pytest.param(ranks, marks=pytest.mark.long) for ranks in (1, 4, 6))])
def test_every_rank_count(infer, few, ranks):
    assert_exact(infer("--eager", *few.arguments, ranks=ranks), few.expected, ranks)


def test_the_main_job(infer, expected):
    """As `make run` does it: two ranks, compiled; only rank 0 speaks."""
    outcome = infer(kind="shm-launch")
    assert_exact(outcome, expected, 2)
    assert outcome.result["compiled"]
    for line in ("Best matches", "Speed", "Where the ranks and their buffers were", "Checks"):
        assert outcome.stdout.count(line) == 1
    # 6 layers, two all-reduces each, of every batch.
    batches = -(-outcome.result["sentences"] // 32)
    for counted in outcome.result["all_reduce"]:
        assert counted["how"] == "counters"
        assert counted["calls"] == 12 * batches
        assert 0 < counted["share"] < 1
    for fact in outcome.result["placement"]:
        assert fact["buffer"]["pages"] > 0


@pytest.mark.parametrize("kind", ["torchrun", pytest.param("mpirun", marks=pytest.mark.long)])
def test_other_launchers(infer, few, kind):
    assert_exact(infer("--eager", *few.arguments, kind=kind), few.expected, 2)


def test_alone(infer, few):
    assert_exact(infer("--eager", *few.arguments, ranks=1), few.expected, 1)


def assert_bf16(outcome):
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    distance, bits = outcome.result["checks"]
    # The limit is 1.5 times the rounding of bf16 itself, which this model shows as a few 1e-3.
    assert 1e-4 < distance["value"] <= distance["limit"] < 1e-2
    assert bits["value"] == 0


def test_bf16(infer, few):
    assert_bf16(infer("--eager", *few.arguments, "--dtype", "bf16"))


@pytest.mark.long
def test_gloo(infer, few):
    outcome = infer("--eager", *few.arguments, "--backend", "gloo")
    assert_exact(outcome, few.expected, 2)
    assert outcome.result["all_reduce"][0]["how"] == "stopwatch"


def test_five_ranks_are_refused(infer):
    outcome = infer(ranks=5, kind="shm-launch")
    assert outcome.returncode == 2
    said = outcome.stdout + outcome.stderr
    assert said.count("12 attention heads cannot be shared by 5 ranks: take 1, 2, 3, 4, 6, 12") == 1


def test_own_corpus_and_queries(infer, tmp_path):
    corpus = tmp_path / "mine.txt"
    corpus.write_text("# a comment\nThe cat sat on the mat.\n== Recipes\nBoil the eggs for six minutes.\n")
    outcome = infer("--eager", "--repeat", "1", "--corpus", str(corpus), "--queries", "how to cook", "kitten")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    cook, kitten = (answer["matches"][0] for answer in outcome.result["queries"])
    assert (cook["work"], cook["sentence"]) == ("Recipes", "Boil the eggs for six minutes.")
    assert (kitten["work"], kitten["sentence"]) == ("", "The cat sat on the mat.")


@pytest.mark.parametrize("arguments", [["--corpus", "/nonexistent"], ["--repeat", "0"], ["--dtype", "fp8"]])
def test_bad_arguments(infer, arguments):
    outcome = infer(*arguments)
    assert outcome.returncode == 2
    said = outcome.stdout + outcome.stderr
    assert said.count("infer.py: ") == 1
    assert arguments[1] in said


BROKEN = """
import sys
sys.path.insert(0, {examples!r})
import engines, infer
def broken(self, *arguments):
    whole = original(self, *arguments)
    self.all_reduce = {all_reduce}
original = engines.ShmrtEngine.__init__
engines.ShmrtEngine.__init__ = broken
sys.exit(infer.main())
"""


@pytest.mark.parametrize(
    ("all_reduce", "failing"),
    [
        ("lambda x: x.clone()", [0, 1]),
        ("(lambda sum: lambda x: sum(x) * (1 + 2e-7 * self.rank))(self.all_reduce)", [1]),
    ],
    ids=["reduces nothing", "last bits differ"],
)
def test_the_checks_can_fail(infer, tmp_path, all_reduce, failing):
    program = tmp_path / "broken.py"
    program.write_text(textwrap.dedent(BROKEN.format(examples=str(EXAMPLES), all_reduce=all_reduce)))
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("The cat sat on the mat.\nA dog barked at the moon.\nBoil the eggs for six minutes.\n")
    outcome = infer("--eager", "--repeat", "1", "--corpus", str(corpus), program=program)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    checks = outcome.result["checks"]
    assert [number for number, check in enumerate(checks) if not check["passed"]] == failing


@pytest.mark.long
@pytest.mark.parametrize("ranks", [1, 3, 4, 6, 12])
def test_every_rank_count_compiled(infer, few, ranks):
    assert_exact(infer(*few.arguments, ranks=ranks), few.expected, ranks)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["torchrun", "mpirun"])
def test_other_launchers_compiled(infer, few, kind):
    assert_exact(infer(*few.arguments, kind=kind), few.expected, 2)


@pytest.mark.long
@pytest.mark.parametrize("ranks", [2, 4, 12])
def test_bf16_compiled(infer, few, ranks):
    assert_bf16(infer(*few.arguments, "--dtype", "bf16", ranks=ranks))


@pytest.mark.long
def test_gloo_compiled(infer, few):
    assert_exact(infer(*few.arguments, "--backend", "gloo"), few.expected, 2)
