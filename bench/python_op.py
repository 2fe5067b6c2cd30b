#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a call of the all-reduce operator costs from Python: ours, DeepSpeed's own, and Tensor.copy_, the
cheapest thing PyTorch does with a tensor of that size.

    bench/python_op.py [--ranks 2] [--sizes 64,4096,65536] [--dtype float32] [--of shmrt,deepspeed] [--json FILE]

comm-shmrt and comm-deepspeed are deepspeed.comm.inference_all_reduce as DeepSpeed's users call it, on our operators
and on those that DeepSpeed builds; --of names them.

Each contender has its own processes, since two libraries can't define one operator in one process. Their ranks
are pinned to the same CPUs and sleep in turns. A sample is a batch of calls of at least 100 us, the
slower rank's; medians of all turns are shown. The aim: ours is at most copy_ + 1 us at 64 bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers"))
import torch_peer

CONTENDERS = ("copy_", "shmrt", "deepspeed", "comm-shmrt", "comm-deepspeed")
TURNS, SAMPLES, BATCH_US = 8, 25, 100.0


# ---------------------------------------------------------------- a rank


def operation(contender: str, rank: int, ranks: int, folder: str):
    """A function of one tensor, after the ranks have met."""
    import torch

    if contender == "shmrt":
        import shmrt

        shmrt.init(rank, ranks, job=f"python-op-{os.environ['PEER_PARENT']}")
        return torch.ops.deepspeed.inference_all_reduce_
    if contender == "deepspeed":
        store = torch.distributed.FileStore(os.path.join(folder, "deepspeed"), ranks)
        torch_peer.load_deepspeed(rank, ranks, store)
        return torch.ops.deepspeed.inference_all_reduce_
    if contender.startswith("comm-"):
        return deepspeeds_function(contender, rank, ranks, folder)
    return None


def deepspeeds_function(contender: str, rank: int, ranks: int, folder: str):
    os.environ["DS_ACCELERATOR"] = "cpu"
    with contextlib.redirect_stdout(sys.stderr):
        if contender == "comm-shmrt":
            import shmrt.deepspeed  # noqa: F401
        import deepspeed

        method = f"file://{folder}/{contender}"
        deepspeed.init_distributed(
            "gloo", init_method=method, rank=rank, world_size=ranks, auto_mpi_discovery=False, verbose=False
        )
    if deepspeed.comm.comm.cdb.shm_comm_op is None or ("shmrt" in sys.modules) != (contender == "comm-shmrt"):
        raise RuntimeError(f"{contender} has not got its operators")
    return deepspeed.comm.inference_all_reduce


def call_for(contender: str, op, size: int, dtype: str):
    """The function to time, and its argument; checked once."""
    import torch

    x = torch.zeros(size // getattr(torch, dtype).itemsize, dtype=getattr(torch, dtype))
    if contender == "copy_":
        return torch.ones_like(x).copy_, x
    x.fill_(1)
    op(x)
    expected = float(os.environ["LOCAL_SIZE"])
    if not bool((x == expected).all()):
        raise RuntimeError(f"{contender}: {x[0].item()} instead of {expected} at {size} bytes")
    x.zero_()
    return op, x


def time_batches(function, x, batch: int, samples: int) -> list[float]:
    times = []
    clock = time.perf_counter
    for _ in range(samples + 1):  # the first one warms up
        start = clock()
        for _ in range(batch):
            function(x)
        times.append((clock() - start) / batch * 1e6)
    return times[1:]


def serve(contender: str, rank: int, ranks: int, folder: str, dtype: str) -> None:
    """Lines "SIZE BATCH SAMPLES" come in, lists of microseconds go out. Without a line it sleeps."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) >= ranks:
        os.sched_setaffinity(0, {allowed[rank]})
    import torch

    torch.set_num_threads(1)
    op = operation(contender, rank, ranks, folder)
    calls = {}
    print("[]", flush=True)
    for line in sys.stdin:
        size, batch, samples = map(int, line.split())
        if size not in calls:
            calls[size] = call_for(contender, op, size, dtype)
        print(json.dumps(time_batches(*calls[size], batch, samples)), flush=True)


# ---------------------------------------------------------------- the first process


class Group:
    """The ranks of one contender."""

    def __init__(self, contender: str, ranks: int, folder: str, key: str, dtype: str):
        environment = os.environ | {
            "LOCAL_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": key,
            "OMP_NUM_THREADS": "1",
            "PEER_PARENT": str(os.getpid()),
        }
        command = [sys.executable, os.path.abspath(__file__), "--rank-of", contender, "--ranks", str(ranks)]
        command += ["--dtype", dtype]
        self.processes = [
            subprocess.Popen(
                [*command, "--rank", str(r), "--folder", folder],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for r in range(ranks)
        ]

    def answers(self) -> list[list[float]]:
        lines = [process.stdout.readline() for process in self.processes]
        if not all(lines):
            raise RuntimeError("a rank has ended; what it said is above")
        return [json.loads(line) for line in lines]

    def measure(self, size: int, batch: int, samples: int) -> list[float]:
        for process in self.processes:
            process.stdin.write(f"{size} {batch} {samples}\n")
            process.stdin.flush()
        return [max(ranks) for ranks in zip(*self.answers(), strict=True)]

    def size_batch(self, size: int) -> int:
        batch = 1
        while min(self.measure(size, batch, 3)) * batch < BATCH_US:
            batch *= 2
        return batch

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def start_groups(options: argparse.Namespace, folder: str, key: str) -> tuple[dict[str, Group], dict[str, str]]:
    groups: dict[str, Group] = {}
    skipped = {}
    for contender in options.of.split(","):
        group = Group(contender, options.ranks, folder, key, options.dtype)
        try:
            group.answers()
            groups[contender] = group
        except RuntimeError as error:
            group.end()
            skipped[contender] = str(error)
    return groups, skipped


def measure(groups: dict[str, Group], size: int) -> dict[str, float]:
    batches = {name: group.size_batch(size) for name, group in groups.items()}
    times: dict[str, list[float]] = {name: [] for name in groups}
    for _ in range(TURNS):
        for name, group in groups.items():
            times[name] += group.measure(size, batches[name], SAMPLES)
    return {name: statistics.median(values) for name, values in times.items()}


def show(medians: dict[int, dict[str, float]], skipped: dict[str, str]) -> None:
    names = list(next(iter(medians.values()), {}))
    print(f"{'bytes':>8}" + "".join(f"{name + ' us':>14}" for name in names))
    for size, row in medians.items():
        print(f"{size:>8}" + "".join(f"{row[name]:>14.3f}" for name in names))
    for name, reason in skipped.items():
        print(f"skipped: {name}: {reason}")
    first = next(iter(medians.values()), {})
    if "shmrt" in first and "copy_" in first:
        print(f"ours - copy_ at {next(iter(medians))} bytes: {first['shmrt'] - first['copy_']:+.3f} us (aim: 1 us)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--sizes", default="64,4096,65536", help="bytes, with commas between")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--of", default="copy_,shmrt,deepspeed", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--json", metavar="FILE")
    for hidden in ("--rank-of", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank_of:
        torch_peer.die_with_parent()
        serve(options.rank_of, options.rank, options.ranks, options.folder, options.dtype)
        return 0

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    key = str(os.getpid())
    groups: dict[str, Group] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="shm-bench-") as folder:
            groups, skipped = start_groups(options, folder, key)
            medians = {size: measure(groups, size) for size in map(int, options.sizes.split(","))}
    finally:
        for group in groups.values():
            group.end()
        torch_peer.remove_segments(key)
    show(medians, skipped)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"ranks": options.ranks, "median_us": medians, "skipped": skipped}, file, indent=1)
            file.write("\n")
    return 0 if groups else 1


if __name__ == "__main__":
    sys.exit(main())
