# SPDX-License-Identifier: Apache-2.0
"""What shm-bench reports: complete for every collective, and consistent in itself."""

import pytest
from benching import rows

MOVED_BLOCKS = {  # of two ranks: the larger of what a rank hands in and gets out
    "allreduce": 1,
    "broadcast": 1,
    "reduce": 1,
    "allgather": 2,
    "reduce_scatter": 2,
    "alltoall": 2,
    "gather": 2,
    "scatter": 2,
    "sendrecv": 1,
}
FLOORS = ["memcpy", "roundtrip", "remote_read", "remote_write", "forkjoin"]


@pytest.mark.parametrize("collective", MOVED_BLOCKS)
def test_report_is_complete(bench, collective):
    report = bench.report(collective, "--sizes", "8:512:64")
    for contender in ("shmrt", *FLOORS):
        assert [row["bytes"] for row in rows(report, contender)] == [8, 512]
    for row in report["results"]:
        assert 0 < row["best_us"] <= row["median_us"]
        assert row["samples"] >= 8
        assert (row["p99_us"] is None) == (row["singles"] == 0)
        calls = 2 if row["contender"] == "shmrt" and collective == "sendrecv" else 1
        assert row["best_us"] * row["batch"] * calls >= 20 * 0.999
    for row in rows(report, "memcpy") + rows(report, "shmrt"):
        assert row["moved_bytes"] == row["bytes"] * MOVED_BLOCKS[collective]
    assert report["machine"]["cpus"] >= report["machine"]["cores"] >= 1
    assert report["machine"]["cpu"] and report["machine"]["kernel"] and report["machine"]["clock_ns"] > 0
    assert report["options"]["collective"] == collective and report["library"]["name"] == "shmrt"


def test_ratios_are_those_of_the_medians(bench):
    report = bench.report("allreduce", "--sizes", "4K")
    us = {row["contender"]: row["median_us"] for row in report["results"]}
    (ratio,) = report["ratios"]
    floor = us["remote_write"] + us["remote_read"] + us["memcpy"] / 2
    assert ratio["memcpy"] == pytest.approx(us["shmrt"] / us["memcpy"], rel=0.01)
    assert ratio["roundtrip"] == pytest.approx(us["shmrt"] / us["roundtrip"], rel=0.01)
    assert ratio["floor_us"] == pytest.approx(floor, rel=0.01)
    assert ratio["floor"] == pytest.approx(us["shmrt"] / floor, rel=0.01)
    assert ratio["best_peer"] is None and ratio["best_peer_name"] is None


def test_a_barrier_has_one_size_and_no_bytes(bench):
    report = bench.report("barrier")
    assert {row["contender"] for row in report["results"]} == {"shmrt", "roundtrip", "forkjoin"}
    assert {row["bytes"] for row in report["results"]} == {0}


@pytest.mark.parametrize("dtype", ["fp64", "bf16", "fp16", "int8", "uint8", "int16", "int32", "int64"])
def test_types_are_verified(bench, dtype):
    assert rows(bench.report("allreduce", "--sizes", "4K", "--dtype", dtype), "shmrt")


@pytest.mark.parametrize("op", ["min", "max", "prod"])
def test_operations_are_verified(bench, op):
    report = bench.report("reduce_scatter", "-n", 3, "--sizes", "64", "--dtype", "int8", "--op", op)
    assert rows(report, "shmrt") and report["options"]["op"] == op


@pytest.mark.parametrize("collective", ["allreduce", "reduce", "reduce_scatter"])
def test_averages_are_verified(bench, collective):
    assert rows(bench.report(collective, "-n", 3, "--sizes", "4K", "--op", "avg", "--dtype", "bf16"), "shmrt")


@pytest.mark.parametrize("ranks", [1, 5])
def test_other_numbers_of_ranks(bench, ranks):
    report = bench.report("allreduce", "-n", ranks, "--sizes", "64", "--out-of-place")
    names = {row["contender"] for row in report["results"]}
    assert ("roundtrip" in names) == (ranks > 1)
    assert report["options"]["in_place"] is False and len(report["options"]["cpus"]) == ranks


@pytest.mark.parametrize("buffers", ["cold", "rewritten"])
def test_states_of_buffers(bench, buffers):
    report = bench.report("allgather", "--sizes", "1K", "--buffers", buffers)
    assert report["options"]["buffers"] == buffers and rows(report, "shmrt")


@pytest.mark.parametrize("collective", ["allreduce", "alltoall", "broadcast"])
def test_buffers_in_shared_memory(bench, collective):
    report = bench.report(collective, "--sizes", "64:256K:64", "--shared")
    assert report["options"]["shared"] is True and len(rows(report, "shmrt")) == 3


def test_private_and_shared_buffers_take_turns(bench):
    report = bench.report("allreduce", "--sizes", "64:256K:64", "--shared=both")
    assert report["options"]["shared"] == "both"
    us = {(row["contender"], row["bytes"]): row["median_us"] for row in report["results"]}
    for ratio in report["ratios"]:
        own, copy = us[ratio["contender"], ratio["bytes"]], us["memcpy", ratio["bytes"]]
        assert ratio["memcpy"] == pytest.approx(own / copy, rel=0.01)
    assert [ratio["contender"] for ratio in report["ratios"]] == ["shmrt", "shmrt_shared"] * 3


NORM_PLACES = {"fp32": [], "bf16": ["--out-of-place"], "fp16": ["--shared=both"]}


@pytest.mark.parametrize(
    ("dtype", "place"),
    [
        pytest.param(dtype, place, marks=() if NORM_PLACES[dtype] == place else pytest.mark.long)
        for dtype in NORM_PLACES
        for place in NORM_PLACES.values()
    ],
)
def test_norm_fused_and_in_two_calls(bench, dtype, place):
    # 6144 elements of 32 bits are two rows of 3072, 12288 of 16 bits three of the longest.
    report = bench.report("allreduce_norm", "-n", 2, "--sizes", "64:24K:384", "--dtype", dtype, *place)
    wanted = {"shmrt", "shmrt_unfused"}
    wanted |= {"shmrt_shared", "shmrt_unfused_shared"} if "--shared=both" in place else set()
    assert {row["contender"] for row in report["results"] if row["kind"] == "library"} == wanted
    assert all(len(rows(report, name)) == 2 for name in wanted)


def test_creation_is_measured(bench):
    report = bench.report("create", "-n", 3, "--sizes", "4K")
    assert {row["contender"] for row in report["results"]} == {"shmrt", "roundtrip", "forkjoin"}
    assert all(row["batch"] == 1 for row in rows(report, "shmrt"))  # destroying is not timed


def test_the_thresholds_are_told(bench):
    report = bench.report("allreduce", "--sizes", "64")
    assert "one-shot up to" in report["library"]["tuning"]
    done = bench.run("allreduce", "--sizes", "64", "--seconds", "0.001", env={"SHMRT_ONESHOT_MAX": "8192"})
    assert "one-shot up to 8192 bytes" in done.stdout


def test_the_probe_measures_the_floors_again(bench):
    report = bench.report("allreduce", "--sizes", "64:4K:64", "--probe")
    for floor in FLOORS:
        assert [row["bytes"] for row in rows(report, f"probe.{floor}")] == [64, 4096]
        assert all(row["kind"] == "probe" for row in rows(report, f"probe.{floor}"))


def test_the_table_has_a_row_for_each_size(bench):
    done = bench.run("allreduce", "--sizes", "64:4K:8", "--seconds", "0.001")
    assert done.returncode == 0 and done.stderr == ""
    for size in ("64 B", "512 B", "4 KiB"):
        assert sum(line.strip().startswith(size) for line in done.stdout.splitlines()) == 2
    assert "x floor" in done.stdout and "reading the clock takes" in done.stdout


def test_traffic_is_counted_between_groups(bench):
    environment = {"SHMRT_GROUPS": "0-1/2-3", "SHMRT_EXCHANGE_MAX": "0", "SHMRT_SUM_ORDER": "rank"}
    report = bench.report("allreduce", "-n", 4, "--sizes", "1M", "--traffic", env=environment)
    (traffic,) = report["traffic"]
    size = 1 << 20
    # In two passes, each rank reads six quarters: four of them from the other group.
    assert traffic == {
        "bytes": size,
        "groups": 2,
        "within_bytes": 4 * 2 * size // 4,
        "between_bytes": 4 * 4 * size // 4,
        "busiest_bytes": 2 * 4 * size // 4,
    }
