#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an all-reduce costs, computed from the floors of a run of shm-bench.

    shm-bench allreduce -n 2 --shared=both --sizes 64:64M --json run.json
    scripts/cost_model.py run.json                     computed beside measured, and two larger machines
    scripts/cost_model.py run.json --link-gbps 100     with another socket link

Of several runs with the same options the lowest median counts, for floors and collectives alike.
docs/performance.md says what the terms are. One number is fitted, to the time of the smallest size: what a call
with one exchange of flags costs. All else comes from the floors. The larger machines are computed with this
machine's cores and with assumptions, which are options.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

LANE_BYTES = 32 * 1024  # SHMRT_LANE_MIN
PREDICTED = [64, 8 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20]
SERVERS = [("Two sockets of 64 cores", 8, 16), ("Two sockets of three sub-NUMA nodes of 20 cores", 12, 10)]
WRITE_SHOWS_BYTES = 16 * 1024  # below, the store buffer hides from remote_write what the reader waits for
MAX_SLOTS = 16  # of a ring (SHMRT_MAX_RING_SLOTS), where SHMRT_SEGMENT has room for them


@dataclass(frozen=True)
class Curve:
    """Medians by size; in between a power of the size, beyond the last one its rate."""

    points: tuple[tuple[float, float], ...]
    latency_us: float = 0.0  # in each of them, and not asked for

    def us(self, size: float) -> float:
        return max(self.raw_us(size) - self.latency_us, 0.0)

    def raw_us(self, size: float) -> float:
        if size <= 0 or not self.points:
            return 0.0
        first, last = self.points[0], self.points[-1]
        if size <= first[0]:
            return first[1]
        if size >= last[0]:
            return last[1] * size / last[0]
        for (a, at_a), (b, at_b) in zip(self.points, self.points[1:], strict=False):
            if a <= size <= b:
                part = math.log(size / a) / math.log(b / a)
                return at_a * (at_b / at_a) ** part
        raise AssertionError("sizes are not ascending")

    def moved(self, size: float, footprint: float) -> float:
        """Moving `size` bytes through `footprint` bytes of memory, which are used again and again."""
        if size <= footprint:
            return self.us(size)
        return self.us(footprint) * size / footprint


@dataclass(frozen=True)
class Tuning:
    oneshot: int
    exchange: int
    part: int


@dataclass(frozen=True)
class Floors:
    memcpy: Curve
    read: Curve
    write: Curve
    roundtrip_us: float
    flag_us: float = 0.0  # an exchange of flags, with the call around it


@dataclass(frozen=True)
class Machine:
    """How ranks are spread, and the assumptions. The defaults are one socket without limits of its own."""

    ranks: int = 2
    sockets: int = 1
    lanes: int = 1
    far_x: float = 1.0  # a line or flag across sockets against one inside
    link_gbps: float = math.inf  # between two sockets, each direction
    socket_gbps: float = math.inf  # what the caches of a socket hand over to one another
    fork_us: float = 0.0  # an OpenMP region


@dataclass(frozen=True)
class Traffic:
    """What one rank moves and waits for, in vectors and in flags."""

    write: float  # into lines that others have read
    read: float  # of lines that others have written
    local: float  # private passes; a copy of a vector is one
    flags: int  # waits one after the other that nothing hides
    slots: int  # of the ring, written in each round; 0: nothing goes through it
    far: float  # the part of what is read and written that is shared with the other socket
    link: float  # over the link, in each direction, of all ranks together


def parse_tuning(line: str) -> Tuning:
    """From the line of shmrt_comm_tuning()."""

    def number(pattern: str, otherwise: int) -> int:
        found = re.search(pattern + r" (\d+)", line)
        return int(found[1]) if found else otherwise

    oneshot = number("one-shot up to", 0)
    return Tuning(oneshot, number("one pass up to", oneshot), number("parts of", 65536))


def merged(reports: list[dict]) -> dict[str, dict[int, float]]:
    """Contender -> size -> the lowest median of the runs."""
    found: dict[str, dict[int, float]] = {}
    for report in reports:
        for row in report["results"]:
            times = found.setdefault(row["contender"], {})
            times[row["bytes"]] = min(row["median_us"], times.get(row["bytes"], math.inf))
    return found


def visible(writes: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Small writes as long as they take until another core can see them: at the rate of larger ones."""
    rate = next((us / size for size, us in writes if size >= WRITE_SHOWS_BYTES), 0.0)
    return [(size, max(us, rate * size) if size < WRITE_SHOWS_BYTES else us) for size, us in writes]


def floors_of(times: dict[str, dict[int, float]], tuning: Tuning) -> Floors:
    read_all = [sorted(times.get(name, {}).items()) for name in ("memcpy", "remote_read", "remote_write")]
    curves = [Curve(tuple(points)) for points in (*read_all[:2], visible(read_all[2]))]
    if curves[1].points:  # the first line's way here is part of the exchange of flags
        curves[1] = replace(curves[1], latency_us=curves[1].points[0][1])
    roundtrips = sorted(times.get("roundtrip", {}).values())
    if not (roundtrips and all(curve.points for curve in curves) and times.get("shmrt")):
        raise ValueError("the run lacks floors between ranks: take an allreduce of two ranks")
    floors = Floors(*curves, roundtrips[len(roundtrips) // 2])
    size, us = min(times["shmrt"].items())
    return replace(floors, flag_us=max(us - time_us(floors, Machine(), traffic_of("one-shot", 2), tuning, size), 0.0))


def way_of(tuning: Tuning, size: float, shared: bool) -> str:
    if size <= tuning.oneshot:
        return "one-shot"
    if shared:
        return "direct"
    return "one pass" if size <= tuning.exchange else "two-shot"


def traffic_of(way: str, ranks: int, sockets: int = 1, rewritten: bool = False) -> Traffic:
    """See runtime/coll: oneshot.c, exchange.c, twoshot.c, direct.c, hierarchy.c."""
    others = (ranks - 1) / ranks
    here = ranks // sockets
    away = ranks - here
    far = away / (ranks - 1) if ranks > 1 else 0.0
    if way == "one-shot":  # everyone reads everything
        return Traffic(1, ranks - 1, 1.5, 1, 0, far, here * away)
    if way == "one pass":
        return Traffic(1, ranks - 1, 1.5, 1, 1, far, here * away)
    if way == "two-shot":  # a part goes to its owner and comes back from it
        return Traffic(1, 2 * others, 1, 2, ranks, far, 2 * here * away / ranks)
    if way == "direct" and not rewritten:  # a part stays in its owner's cache
        return Traffic(0, 0, 1, 2, 0, 0, 0)
    if way == "direct":  # read where it lies, pushed where it goes
        return Traffic(others, others, 1 / ranks, 2, 0, far, 2 * here * away / ranks)
    if way == "two-level":  # hierarchy.c: combine inside the socket, exchange with a partner, collect
        inside = (here - 1) / here
        write, read = inside + 2 / here, 2 * inside + 1 / here
        return Traffic(write, read, 1, 4, here + 1, 2 / here / (write + read), 1)
    raise ValueError(way)


def time_us(floors: Floors, machine: Machine, traffic: Traffic, tuning: Tuning, size: float) -> float:
    """The slowest of what a lane does, what a socket hands over and what crosses the link; and waiting."""
    slice_ = size / machine.lanes
    ring = traffic.slots * MAX_SLOTS * tuning.part or math.inf
    remote = floors.write.moved(traffic.write * slice_, ring) + floors.read.moved(traffic.read * slice_, ring)
    # In place a vector fills half of what a copy of it does.
    lane = remote * (1 + traffic.far * (machine.far_x - 1)) + 2 * floors.memcpy.us(slice_ / 2) * traffic.local
    handed = (traffic.write + traffic.read) * size * machine.ranks / machine.sockets
    bulk = max(lane, handed / machine.socket_gbps / 1e3, traffic.link * size / machine.link_gbps / 1e3)
    flag = floors.flag_us * (machine.far_x if traffic.far else 1)
    return (machine.fork_us if machine.lanes > 1 else 0) + traffic.flags * flag + bulk


def size_text(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:g} {unit}"
        size /= 1024
    return f"{size:g} GiB"


def check_rows(times: dict, floors: Floors, tuning: Tuning, rewritten: bool) -> list[tuple]:
    """Size, buffers, way, measured, computed, error in percent."""
    rows = []
    for contender, shared in (("shmrt", False), ("shmrt_shared", True)):
        for size, us in sorted(times.get(contender, {}).items()):
            way = way_of(tuning, size, shared)
            computed = time_us(floors, Machine(), traffic_of(way, 2, 1, rewritten), tuning, size)
            rows.append((size, "shared" if shared else "private", way, us, computed, (computed / us - 1) * 100))
    return rows


def predict_rows(floors: Floors, machine: Machine, tuning: Tuning, sizes: list[int]) -> list[tuple]:
    """Size; then the times of two-shot, direct (rewritten) and two-level, or one-shot where it is taken."""
    rows = []
    for size in sizes:
        here = replace(machine, lanes=max(1, min(machine.lanes, size // LANE_BYTES)))

        def us(way: str, here: Machine = here, size: int = size) -> float:
            return time_us(floors, here, traffic_of(way, here.ranks, here.sockets, True), tuning, size)

        rows.append((size, us("one-shot"), us("two-shot"), us("two-level"), us("direct")))
    return rows


def print_check(rows: list[tuple]) -> None:
    print("| size | buffers | way | measured, us | computed, us | error |\n|---|---|---|---|---|---|")
    for size, buffers, way, us, computed, error in rows:
        print(f"| {size_text(size)} | {buffers} | {way} | {us:.2f} | {computed:.2f} | {error:+.0f} % |")


def print_prediction(name: str, machine: Machine, rows: list[tuple]) -> None:
    print(
        f"\n{name}: {machine.ranks} ranks of {machine.lanes} lanes. Assumed: what crosses sockets takes "
        f"{machine.far_x:g} times as long; {machine.link_gbps:g} GB/s a direction between sockets; "
        f"{machine.socket_gbps:g} GB/s between the caches of a socket; an OpenMP region takes {machine.fork_us:g} us.\n"
    )
    print("| size; us, computed | one-shot | two-shot | by groups | direct, rewritten |")
    print("|---|---|---|---|---|")
    for size, *us in rows:
        print(f"| {size_text(size)} | " + " | ".join(f"{one:.1f}" for one in us) + " |")


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="+", help="what shm-bench allreduce -n 2 --json wrote")
    parser.add_argument("--link-gbps", type=float, default=100, help="between two sockets, each direction (100)")
    parser.add_argument("--socket-gbps", type=float, default=400, help="between the caches of one socket (400)")
    parser.add_argument("--far-x", type=float, default=2.5, help="a line across sockets against one inside (2.5)")
    parser.add_argument("--fork-us", type=float, default=3, help="an OpenMP region (3)")
    return parser.parse_args(words)


def read_reports(paths: list[str]) -> list[dict]:
    reports = [json.loads(Path(path).read_text()) for path in paths]
    alike = ("collective", "ranks", "dtype", "in_place", "buffers")
    if any(report["options"][key] != reports[0]["options"][key] for report in reports for key in alike):
        raise ValueError("the runs have different options")
    if (
        not reports[0]["options"]["in_place"]
        or reports[0]["options"]["ranks"] != 2
        or reports[0]["options"]["collective"] != "allreduce"
    ):
        raise ValueError("take runs of allreduce in place on two ranks")
    return reports


def main(words: list[str] | None = None) -> None:
    arguments = parse_arguments(words)
    try:
        reports = read_reports(arguments.report)
        tuning = parse_tuning(reports[0]["library"]["tuning"])
        times = merged(reports)
        floors = floors_of(times, tuning)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"cost_model.py: {error}")
    flags = f"{floors.flag_us:.2f} us, {floors.flag_us / floors.roundtrip_us:.2f} round trips"
    print(f"An exchange of flags, with the call around it, costs {flags} (from the smallest size).\n")
    print_check(check_rows(times, floors, tuning, reports[0]["options"]["buffers"] == "rewritten"))
    for name, ranks, lanes in SERVERS:
        machine = Machine(
            ranks, 2, lanes, arguments.far_x, arguments.link_gbps, arguments.socket_gbps, arguments.fork_us
        )
        print_prediction(name, machine, predict_rows(floors, machine, tuning, PREDICTED))


if __name__ == "__main__":
    main()
