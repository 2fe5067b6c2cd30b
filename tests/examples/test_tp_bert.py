# SPDX-License-Identifier: Apache-2.0
"""The parts of examples/infer.py that need no other rank."""

import math

import infer
import pytest
import torch
import tp_bert
from torch import nn


def facts(**changes):
    good = {"off": 1e-7, "whole_off": 1e-3, "checksum": "a"}
    return [{**good, **changes}, good]


@pytest.mark.parametrize(
    ("dtype", "changes", "passed"),
    [
        ("fp32", {}, [True, True]),
        ("fp32", {"off": 1.1e-5}, [False, True]),
        ("fp32", {"off": math.nan}, [False, True]),
        ("fp32", {"checksum": "b"}, [True, False]),
        ("bf16", {"off": 1.4e-3}, [True, True]),
        ("bf16", {"off": 1.6e-3}, [False, True]),
    ],
)
def test_verdicts(dtype, changes, passed):
    arguments = infer.parse_arguments(["--dtype", dtype])
    assert [check["passed"] for check in infer.check(arguments, facts(**changes))] == passed


def test_possible_sizes():
    config = {"num_attention_heads": 12, "intermediate_size": 1536}
    assert tp_bert.possible_sizes(config) == [1, 2, 3, 4, 6, 12]


@pytest.mark.parametrize("size", [2, 3])
def test_row_parallel_terms_add_up_with_one_bias(size):
    linear = nn.Linear(12, 5).double()
    x = torch.randn(4, 12, dtype=torch.float64)
    terms = []

    def collect(term):
        terms.append(term)
        return term

    parts = [tp_bert._split_rows(linear, rank, size, collect) for rank in range(size)]
    for part, piece in zip(parts, x.chunk(size, dim=1), strict=True):
        part(piece)
    for part in parts:
        part.all_reduce = lambda _: torch.stack(terms).sum(0)
        torch.testing.assert_close(part(x[:, : 12 // size]), linear(x))


def test_batches_hold_every_sentence_once():
    _, tokenizer = tp_bert.load_model(tp_bert.model_folder())
    sentences = [f"{'word ' * (number % 7)}number {number}" for number in range(75)]
    batches = tp_bert.make_batches(sentences, tokenizer, 32)
    assert sorted(row for rows, _, _ in batches for row in rows) == list(range(75))
    assert {token_ids.shape[0] for _, token_ids, _ in batches} == {32}
    for rows, token_ids, mask in batches:
        for row, ids, real in zip(rows, token_ids, mask, strict=False):
            text = tokenizer.decode(ids[real.bool()], skip_special_tokens=True)
            assert text.split() == sentences[row].split()


def test_corpus_is_read_by_work(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("# note\nfirst\n\n== A Book, Somebody, 1900\nsecond\n")
    assert infer.read_corpus(path) == [("", "first"), ("A Book, Somebody, 1900", "second")]
    path.write_text("# nothing\n")
    with pytest.raises(infer.Refused, match="no sentence"):
        infer.read_corpus(path)
