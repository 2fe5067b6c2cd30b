# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of scripts/cost_model.py, on a machine made up so that every answer is known."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "cost_model.py"
spec = importlib.util.spec_from_file_location("cost_model", SCRIPT)
model = importlib.util.module_from_spec(spec)
sys.modules["cost_model"] = model
spec.loader.exec_module(model)

TUNING = model.Tuning(oneshot=4096, exchange=32768, part=65536)
LINE = "one-shot up to 4096 bytes, one pass up to 32768, two-shot beyond, parts of 65536 at most (measured earlier)"


def linear(us_a_byte: float) -> model.Curve:
    return model.Curve(tuple((float(size), size * us_a_byte) for size in (64, 65536, 1 << 26)))


FLOORS = model.Floors(linear(1e-5), linear(1e-4), linear(2e-4), roundtrip_us=0.3, flag_us=0.2)


def row(contender: str, size: int, us: float) -> dict:
    return {"contender": contender, "bytes": size, "median_us": us}


def report(shared_us: float = 30.0, ranks: int = 2) -> dict:
    rates = {"memcpy": 1e-5, "remote_read": 1e-4, "remote_write": 2e-4, "roundtrip": 0}
    results = [
        row(name, size, size * rate + (not rate) * 0.3) for name, rate in rates.items() for size in (64, 1 << 20)
    ]
    results += [row("shmrt", 64, 0.4), row("shmrt", 1 << 20, 300.0), row("shmrt_shared", 1 << 20, shared_us)]
    options = {"collective": "allreduce", "ranks": ranks, "dtype": "float32", "in_place": True, "buffers": "warm"}
    return {"library": {"tuning": LINE}, "options": options, "results": results}


def test_a_curve_is_a_power_between_its_points_and_a_rate_beyond():
    curve = model.Curve(((64.0, 1.0), (256.0, 4.0), (1024.0, 64.0)))
    assert curve.us(0) == 0 and curve.us(8) == 1
    assert curve.us(128) == pytest.approx(2) and curve.us(512) == pytest.approx(16)
    assert curve.us(4096) == pytest.approx(256)
    late = model.Curve(curve.points, latency_us=0.5)
    assert late.us(128) == pytest.approx(1.5) and late.us(0) == 0
    assert curve.moved(1024, 256) == pytest.approx(16)  # four times through what takes 4 us
    assert curve.moved(256, 1024) == pytest.approx(4)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (LINE, (4096, 32768, 65536)),
        ("one-shot up to 16384 bytes, two-shot beyond, parts of 1024 at most (fixed)", (16384, 16384, 1024)),
    ],
)
def test_thresholds_are_read_as_the_library_says_them(line, wanted):
    tuning = model.parse_tuning(line)
    assert (tuning.oneshot, tuning.exchange, tuning.part) == wanted


def test_the_way_follows_from_size_and_place():
    ways = [model.way_of(TUNING, size, False) for size in (4096, 4097, 32768, 32769)]
    assert ways == ["one-shot", "one pass", "one pass", "two-shot"]
    assert [model.way_of(TUNING, size, True) for size in (4096, 4097)] == ["one-shot", "direct"]


@pytest.mark.parametrize("ranks", [2, 4, 8, 12])
def test_traffic_is_that_of_the_algorithms(ranks):
    once = model.traffic_of("one-shot", ranks)
    assert (once.write, once.read) == (1, ranks - 1)
    twice = model.traffic_of("two-shot", ranks)
    assert twice.write == 1 and twice.read == pytest.approx(2 * (ranks - 1) / ranks)
    pushed = model.traffic_of("direct", ranks, rewritten=True)
    assert pushed.write == pushed.read == pytest.approx((ranks - 1) / ranks)
    assert model.traffic_of("direct", ranks).read == 0


@pytest.mark.parametrize("ranks", [4, 8, 12])
def test_a_link_carries_half_the_ranks_vectors_flat_and_one_in_two_levels(ranks):
    assert model.traffic_of("two-shot", ranks).link == 0
    assert model.traffic_of("two-shot", ranks, 2).link == pytest.approx(ranks / 2)
    assert model.traffic_of("direct", ranks, 2, rewritten=True).link == pytest.approx(ranks / 2)
    assert model.traffic_of("two-level", ranks, 2).link == 1


def test_time_is_the_sum_of_its_terms():
    size = 4096
    us = model.time_us(FLOORS, model.Machine(), model.traffic_of("one-shot", 2), TUNING, size)
    assert us == pytest.approx(0.2 + size * (2e-4 + 1e-4 + 1.5e-5))


def test_lanes_share_the_work_until_the_socket_or_the_link_is_full():
    size, two_shot = 1 << 20, model.traffic_of("two-shot", 8, 2)
    machine = model.Machine(ranks=8, sockets=2, fork_us=3)
    alone = model.time_us(FLOORS, machine, two_shot, TUNING, size)
    four = model.time_us(FLOORS, model.replace(machine, lanes=4), two_shot, TUNING, size)
    assert four - 3 - 0.4 == pytest.approx((alone - 0.4) / 4)
    narrow = model.replace(machine, lanes=64, link_gbps=10)
    assert model.time_us(FLOORS, narrow, two_shot, TUNING, size) - 3.4 == pytest.approx(4 * size / 10 / 1e3)
    slow = model.replace(machine, lanes=64, socket_gbps=10)
    moved = (1 + 2 * 7 / 8) * 4 * size
    assert model.time_us(FLOORS, slow, two_shot, TUNING, size) - 3.4 == pytest.approx(moved / 10 / 1e3)


def test_the_fixed_cost_is_what_the_smallest_size_takes_more():
    times = model.merged([report()])
    floors = model.floors_of(times, TUNING)
    assert floors.flag_us == pytest.approx(0.4 - 64 * (2e-4 + 2 * 1.5e-5))  # of 32 bytes no copy is known: as 64
    smallest, *_ = model.check_rows(times, floors, TUNING, False)
    assert smallest[0] == 64 and smallest[5] == pytest.approx(0)


def test_what_the_store_buffer_hides_is_added():
    assert model.visible([(64, 0.001), (16384, 2.0), (65536, 5.0)]) == [(64, 2.0 / 256), (16384, 2.0), (65536, 5.0)]


def test_of_several_runs_the_lowest_median_counts():
    times = model.merged([report(30.0), report(20.0), report(40.0)])
    assert times["shmrt_shared"][1 << 20] == 20.0


def test_tables_are_printed_for_a_file(tmp_path, capsys):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(report()))
    model.main([str(path), "--link-gbps", "77"])
    shown = capsys.readouterr().out
    for word in (
        "| 1 MiB | private | two-shot | 300.00 |",
        "| 1 MiB | shared | direct | 30.00 |",
        "8 ranks",
        "77 GB/s",
    ):
        assert word in shown


@pytest.mark.parametrize("content", ["", "{}", json.dumps(report(ranks=4))])
def test_what_is_no_run_of_two_ranks_is_refused(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(SystemExit, match=r"cost_model\.py: "):
        model.main([str(path)])
