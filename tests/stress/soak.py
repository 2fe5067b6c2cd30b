# SPDX-License-Identifier: Apache-2.0
"""The Python part of `make soak`: shm-launch -n 2 python tests/stress/soak.py --seconds 60

Again and again a process group and a default communicator are made, used at random with checked contents, and
destroyed. Rank 0 watches what it holds; growth is a failure. What is random follows from --seed on all ranks.
"""

import argparse
import ctypes
import gc
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta

import shmrt
import torch
import torch.distributed as dist

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int32, torch.int64]

# What may grow over a run without being a leak. Threads have no reason to; a descriptor or two come and go. Resident
# memory has what malloc and Python's arenas keep, and what torch.distributed itself keeps of each group it has had.
BOUNDS = {"RSS KiB": 8192, "Shmem KiB": 0, "descriptors": 2, "threads": 0, "mappings": 32}

libc = ctypes.CDLL(None)


class Soak:
    """What all operations need: who this is, and the numbers that all ranks draw alike."""

    def __init__(self, rank: int, size: int, seed: int) -> None:
        self.rank, self.size, self.seed = rank, size, seed
        self.draw = random.Random(seed)
        self.own = random.Random(seed * 64 + rank + 1)
        self.checked = 0

    def term(self, count: int, dtype: torch.dtype, rank: int, salt: int) -> torch.Tensor:
        """Small integers, so that sums are exact in every type."""
        return ((torch.arange(count) * (rank + 3) + salt) % 13 - 6).to(dtype)

    def total(self, count: int, dtype: torch.dtype, ranks: list[int], salt: int) -> torch.Tensor:
        return torch.stack([self.term(count, dtype, r, salt) for r in ranks]).sum(0).to(dtype)

    def check(self, is_right: bool, what: str) -> None:
        if not is_right:
            raise AssertionError(f"rank {self.rank}, seed {self.seed}: wrong result of {what}")
        self.checked += 1

    def shape(self) -> tuple[int, torch.dtype, int]:
        return self.draw.choice([1, 7, 64, 1000, 30000]), self.draw.choice(DTYPES), self.draw.randrange(1000)


def reduce_async(s: Soak) -> None:
    """Several works at once, waited for in an order of this rank's own."""
    calls = [s.shape() for _ in range(s.draw.randrange(1, 12))]
    works = []
    for count, dtype, salt in calls:
        x = s.term(count, dtype, s.rank, salt)
        works.append((dist.all_reduce(x, async_op=True), x, s.total(count, dtype, list(range(s.size)), salt)))
    s.own.shuffle(works)
    for work, x, expected in works:
        work.wait()
        s.check(torch.equal(x, expected), "all_reduce, async")


def move(s: Soak) -> None:
    """Everything that moves blocks."""
    count, dtype, salt = s.shape()
    mine = s.term(count, dtype, s.rank, salt)
    out = torch.empty(count * s.size, dtype=dtype)
    dist.all_gather_into_tensor(out, mine)
    everyone = torch.cat([s.term(count, dtype, r, salt) for r in range(s.size)])
    s.check(torch.equal(out, everyone), "all_gather_into_tensor")
    dist.reduce_scatter(mine, list(everyone.chunk(s.size)))
    s.check(torch.equal(mine, s.term(count, dtype, s.rank, salt) * s.size), "reduce_scatter")
    dist.all_to_all_single(out, torch.cat([s.term(count, dtype, s.rank, salt + r) for r in range(s.size)]))
    expected = torch.cat([s.term(count, dtype, r, salt + s.rank) for r in range(s.size)])
    s.check(torch.equal(out, expected), "all_to_all_single")
    root = s.draw.randrange(s.size)
    mine = s.term(count, dtype, s.rank, salt)
    dist.broadcast(mine, root)
    s.check(torch.equal(mine, s.term(count, dtype, root, salt)), "broadcast")


def pass_on(s: Soak) -> None:
    """To the next rank and from the one before."""
    count, dtype, salt = s.shape()
    before, out = (s.rank - 1) % s.size, torch.empty(count, dtype=dtype)
    works = [dist.isend(s.term(count, dtype, s.rank, salt), (s.rank + 1) % s.size), dist.irecv(out, before)]
    for work in works:
        assert work is not None
        work.wait()
    s.check(torch.equal(out, s.term(count, dtype, before, salt)), "irecv")


def part(s: Soak) -> None:
    """A group of some ranks, made, used and destroyed."""
    ranks = sorted(s.draw.sample(range(s.size), s.draw.randrange(1, s.size + 1)))
    count, dtype, salt = s.shape()
    group = dist.new_group(ranks)
    if s.rank not in ranks:
        return
    x = s.term(count, dtype, s.rank, salt)
    dist.all_reduce(x, group=group)
    s.check(torch.equal(x, s.total(count, dtype, ranks, salt)), "all_reduce of a group")
    dist.destroy_process_group(group)


def operators(s: Soak) -> None:
    """The default communicator, with tensors in private memory and in the pool."""
    count, dtype, salt = s.shape()
    expected = s.total(count, dtype, list(range(s.size)), salt)
    x = s.term(count, dtype, s.rank, salt)
    if s.own.random() < 0.5:
        x = shmrt.empty(count, dtype=dtype).copy_(x)
    s.check(torch.equal(shmrt.inference_all_reduce(x), expected), "inference_all_reduce")
    shmrt.all_reduce(x)
    s.check(torch.equal(x, expected), "all_reduce of the operators")
    rows, weight = torch.full((4, 64), float(s.rank + 1)), torch.ones(64)
    norm, total = torch.ops.shmrt.all_reduce_add_rms_norm(rows, None, weight, 0.0)
    s.check(bool((total == s.size * (s.size + 1) / 2).all()), "the sum of a norm")
    s.check(torch.allclose(norm, torch.ones(4, 64)), "a norm")


OPERATIONS: list[Callable[[Soak], None]] = [reduce_async, move, pass_on, part, operators]


def one_cycle(s: Soak, folder: str, number: int, is_over: bool) -> bool:
    """Join, work, leave. Rank 0 says whether it is the last."""
    store = dist.FileStore(f"{folder}/{number}", s.size)
    dist.init_process_group("shmrt", store=store, rank=s.rank, world_size=s.size, timeout=timedelta(seconds=300))
    shmrt.init(s.rank, s.size, job=f"{os.path.basename(folder)}-{number}")
    last = torch.tensor([int(is_over)])
    dist.broadcast(last, 0)
    for _ in range(s.draw.randrange(1, 12)):
        s.draw.choice(OPERATIONS)(s)
    shmrt.finalize()
    dist.destroy_process_group()
    return bool(last.item())


def sample() -> dict[str, int]:
    gc.collect()
    libc.malloc_trim(0)
    held = {"descriptors": len(os.listdir("/proc/self/fd")), "threads": len(os.listdir("/proc/self/task"))}
    with open("/proc/self/maps") as maps:
        held["mappings"] = sum(1 for _ in maps)
    with open("/proc/self/smaps_rollup") as rollup:
        for line in rollup:
            key, _, value = line.partition(":")
            if key in ("Rss", "Pss_Shmem"):
                held["RSS KiB" if key == "Rss" else "Shmem KiB"] = int(value.split()[0])
    return held


def is_flat(samples: list[dict[str, int]]) -> bool:
    """After a warm-up of a quarter, the medians of the first and the last third are compared."""
    rest = samples[len(samples) // 4 :]
    third = len(rest) // 3
    if third < 8:
        print(f"memory: not judged, {len(samples)} samples are too few")
        return True
    flat = True
    for key, most in BOUNDS.items():
        before, after = (int(statistics.median(s[key] for s in part)) for part in (rest[:third], rest[-third:]))
        print(f"memory: {key:<11} {before:8}, then {after:8} (may grow by {most})", "GREW" * (after - before > most))
        flat = flat and after - before <= most
    return flat


def remove(folder: str, wait_s: float) -> None:
    """When the last rank has let go of the last store in it. Now and then a FileStore leaves its file behind."""
    until = time.monotonic() + wait_s
    while os.listdir(folder) and time.monotonic() < until:
        time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)


def stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, stop)  # of shm-launch, when another rank has failed: remove() still runs
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    soak = Soak(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), args.seed)
    folder = f"{tempfile.gettempdir()}/shmrt-soak-{os.environ['MASTER_PORT']}"
    os.makedirs(folder, exist_ok=True)
    if soak.rank == 0:
        print(f"soak.py --seconds {args.seconds:g} --seed {args.seed}, {soak.size} ranks", flush=True)
    wait_s = 0
    try:
        samples = live(soak, folder, args.seconds)
        wait_s = 5
    finally:
        if soak.rank == 0:
            remove(folder, wait_s)
    return 0 if soak.rank or is_flat(samples) else 1


def live(soak: Soak, folder: str, seconds: float) -> list[dict[str, int]]:
    """One cycle after the other. What rank 0 has seen itself hold."""
    start = told = time.monotonic()
    samples: list[dict[str, int]] = []
    number, last = 0, False
    while not last:
        last = one_cycle(soak, folder, number, time.monotonic() - start >= seconds)
        number += 1
        if soak.rank == 0 and time.monotonic() - start >= len(samples) * seconds / 1000:
            samples.append(sample())
        if soak.rank == 0 and (last or time.monotonic() - told > 10):
            told = time.monotonic()
            held = ", ".join(f"{key} {value}" for key, value in samples[-1].items())
            print(f"{told - start:4.0f} s: {number} groups, {soak.checked} results of rank 0 right; {held}", flush=True)
    return samples


if __name__ == "__main__":
    sys.exit(main())
