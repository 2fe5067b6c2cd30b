# SPDX-License-Identifier: Apache-2.0
"""The parts of examples/decoder.py that need no other rank."""

import math

import decoder
import engines
import pytest
import torch
import tp_llama


def facts(**changes):
    good = {"off": 1e-7, "whole_off": 1e-3, "checksum": "a", "behind": [0.0, 1e-6]}
    return [{**good, **changes}, good]


@pytest.mark.parametrize(
    ("dtype", "changes", "passed"),
    [
        ("fp32", {}, [True, True, True]),
        ("fp32", {"off": 1e-3}, [False, True, True]),
        ("fp32", {"off": math.nan}, [False, True, True]),
        ("fp32", {"behind": [0.0, 0.1]}, [True, False, True]),
        ("fp32", {"behind": [math.nan]}, [True, False, True]),
        ("fp32", {"checksum": "b"}, [True, True, False]),
        ("bf16", {"off": 1.4e-3, "behind": [2.9e-3]}, [True, True, True]),
        ("bf16", {"off": 1.6e-3, "behind": [3.1e-3]}, [False, False, True]),
    ],
)
def test_verdicts(dtype, changes, passed):
    arguments = decoder.parse_arguments(["--dtype", dtype])
    assert [check["passed"] for check in decoder.check(arguments, facts(**changes))] == passed


@pytest.mark.parametrize("name", sorted(tp_llama.PRESETS))
def test_presets_can_be_shared_by_two(name):
    shape = tp_llama.PRESETS[name]
    assert tp_llama.impossible(shape) is None
    assert {1, 2} <= set(tp_llama.possible_sizes(shape))


def test_a_single_number_replaces_the_presets():
    arguments = decoder.parse_arguments(["--size", "160m", "--layers", "3"])
    assert decoder.read_shape(arguments, 2) == {**tp_llama.PRESETS["160m"], "layers": 3}


@pytest.mark.parametrize(
    ("arguments", "ranks", "said"),
    [
        (["--hidden", "100"], 2, "8 heads do not divide a hidden size of 100"),
        (["--hidden", "24"], 2, "a head of 3 is odd"),
        (["--kv-heads", "3"], 2, "3 key and value heads do not divide 8 heads"),
        (["--ffn", "250"], 4, "a feed-forward of 250 cannot be shared by 4 ranks: take 1, 2."),
        (["--kv-heads", "2"], 4, "take 1, 2."),
    ],
)
def test_impossible_shapes_are_refused(arguments, ranks, said):
    with pytest.raises(decoder.Refused, match=said):
        decoder.read_shape(decoder.parse_arguments(arguments), ranks)


def test_a_layer_is_required(capsys):
    with pytest.raises(SystemExit):
        decoder.parse_arguments(["--layers", "0"])
    assert "argument --layers: 0 is not 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_split_head_finds_the_best_token(size):
    """An uneven split too. Rank r's all-reduce adds what all ranks would have sent."""
    torch.manual_seed(1)
    linear = torch.nn.Linear(8, 11, bias=False)
    hidden = torch.randn(5, 8)
    sent = []

    def collect(slots):
        sent.append(slots)
        return slots

    heads = [tp_llama.GreedyHead(linear, rank, size, collect) for rank in range(size)]
    logits = torch.cat([head(hidden)[1] for head in heads], dim=-1)
    torch.testing.assert_close(logits, linear(hidden))
    for head in heads:
        head.all_reduce = lambda _: torch.stack(sent[:size]).sum(0)
        assert head(hidden)[0].flatten().tolist() == linear(hidden).argmax(-1).tolist()


def test_waiting_for_a_late_rank_is_told_from_moving_data():
    notes = [
        {"entered": [0, 100, 200], "left": [50, 120, 260], "bytes": 12},
        # 40 ns after the other; before it; and after the other had already left.
        {"entered": [40, 90, 270], "left": [50, 120, 280], "bytes": 12},
    ]
    first, second = engines.split_times(notes, [1e-6, 1e-6])
    assert first["seconds"] == pytest.approx(130e-9)
    assert first["late_seconds"] == pytest.approx((40 + 0 + 60) * 1e-9)
    assert second["late_seconds"] == pytest.approx(10e-9)
    assert second["moving_share"] == pytest.approx((10 + 20 + 10) * 1e-9 / 1e-6)
    assert first["calls"] == second["calls"] == 3


def test_notes_of_different_jobs_are_refused():
    notes = [{"entered": [0], "left": [1], "bytes": 4}, {"entered": [], "left": [], "bytes": 0}]
    with pytest.raises(RuntimeError, match="not the same job"):
        engines.split_times(notes, [1.0, 1.0])


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (10, 10), (100, 99), (101, 100), (200, 198), (1000, 990)])
def test_percentile_is_one_of_the_values(count, rank):
    assert decoder.percentile(range(1, count + 1), 0.99) == rank
