# SPDX-License-Identifier: Apache-2.0
"""Who does the all-reduce: shmrt, Gloo or DeepSpeed's own operator, behind one small interface.

An engine has a name, this rank and their number, an all_reduce(tensor) that a compiled graph may
contain (out of place, sum), share(object) for the few facts that ranks tell one another, and
counters() where it counts by itself.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch

LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)


class Unavailable(Exception):
    """The engine that was asked for cannot be had here; the text says what to do."""


def rank_and_size():
    """What the launcher says, (0, 1) when there is none."""
    for rank_name, size_name in LAUNCHERS:
        if rank_name in os.environ and size_name in os.environ:
            rank, size = os.environ[rank_name], os.environ[size_name]
            if not (rank.isdigit() and size.isdigit() and int(rank) < int(size)):
                raise ValueError(
                    f"{rank_name}={rank} and {size_name}={size} are not a rank and a number of ranks."
                )
            return int(rank), int(size)
    return 0, 1


def failures():
    """What an engine raises when the ranks cannot go on together; its text is for a person."""
    shmrt = sys.modules.get("shmrt")
    return (shmrt.Error,) if shmrt else ()


class Stopwatch:
    """Stands around an all-reduce and notes when each call began and ended.

    The clock is one for all processes of a machine. So the ranks can compare their notes: until the
    last of them had entered a call it waited for a LATE rank, from then on the call was MOVING data
    (split_times). That needs no barrier, which would change what is measured.
    """

    def __init__(self, all_reduce):
        self.all_reduce = all_reduce
        self.entered, self.left = [], []
        self.bytes = 0

    def __call__(self, x):
        self.entered.append(time.clock_gettime_ns(time.CLOCK_MONOTONIC))
        result = self.all_reduce(x)
        self.left.append(time.clock_gettime_ns(time.CLOCK_MONOTONIC))
        self.bytes += x.numel() * x.element_size()
        return result

    def as_operator(self):
        """The same as an operator, for a compiled graph; one a process."""

        @torch.library.custom_op("examples::watched_all_reduce", mutates_args=())
        def watched(x: torch.Tensor) -> torch.Tensor:
            return self(x)

        @watched.register_fake
        def _(x):
            return torch.empty_like(x)

        return watched

    def as_operator_in_place(self):
        """The same where the all-reduce works in place."""

        @torch.library.custom_op("examples::watched_all_reduce_", mutates_args=("x",))
        def watched(x: torch.Tensor) -> None:
            self(x)

        return watched

    def reset(self):
        """What was noted since the last reset; begins anew."""
        notes = {"entered": self.entered, "left": self.left, "bytes": self.bytes}
        self.entered, self.left, self.bytes = [], [], 0
        return notes


def split_times(notes, seconds):
    """For each rank its time in all-reduce, from the notes of all ranks and the seconds that the
    noted part of the job took each of them."""
    counts = {len(note["entered"]) for note in notes}
    if len(counts) != 1:
        raise RuntimeError(f"the ranks called the all-reduce {sorted(counts)} times: not the same job")
    latest = [max(entries) for entries in zip(*(note["entered"] for note in notes), strict=True)]
    results = []
    for note, total in zip(notes, seconds, strict=True):
        calls = list(zip(note["entered"], note["left"], latest, strict=True))
        inside = sum(left - entered for entered, left, _ in calls) / 1e9
        late = sum(min(last, left) - entered for entered, left, last in calls) / 1e9
        results.append({"calls": len(calls), "bytes": note["bytes"], "seconds": inside, "late_seconds": late})
        add_shares(results[-1], total, "stopwatch")
    return results


def add_shares(times, total_s, how):
    """Adds to the seconds in all-reduce what part they are of `total_s`, and who says so."""
    times["how"] = how
    times["share"] = times["seconds"] / total_s
    if "late_seconds" in times:
        times["moving_seconds"] = times["seconds"] - times["late_seconds"]
        for name in ("late", "moving"):
            times[f"{name}_share"] = times[f"{name}_seconds"] / total_s


class ShmrtEngine:
    name = "shmrt"
    threads_outlive_close = False

    def __init__(self, rank, size):
        try:
            import shmrt
        except ImportError as error:
            raise Unavailable(
                f"The Python package shmrt is not installed here ({error}); `make setup` does it."
            ) from error
        self._shmrt = shmrt
        if any(name in os.environ for name, _ in LAUNCHERS):
            shmrt.init()
        else:
            shmrt.init(rank=rank, size=size)
        self.rank, self.size = shmrt.rank(), shmrt.size()
        self.all_reduce = torch.ops.deepspeed.inference_all_reduce

    def share(self, fact):
        """Every rank writes into its own slot; the sum of all is the concatenation."""
        text = torch.tensor(list(json.dumps(fact).encode()), dtype=torch.uint8)
        longest = torch.tensor([text.numel()])
        self._shmrt.all_reduce(longest, op="max")
        slots = torch.zeros(self.size, int(longest), dtype=torch.uint8)
        slots[self.rank, : text.numel()] = text
        self._shmrt.all_reduce(slots)
        return [json.loads(bytes(slot.tolist()).rstrip(b"\0")) for slot in slots]

    def barrier(self):
        self._shmrt.barrier()

    def counters(self):
        stats = self._shmrt.stats()
        # Of the operator alone: "calls" would count barriers too.
        calls = stats["operators"].get("deepspeed::inference_all_reduce", 0)
        times = {key: stats[key] for key in ("seconds", "late_seconds", "wait_seconds") if key in stats}
        return {"calls": calls, "bytes": stats["bytes"], **times}

    def report(self):
        return self._shmrt.report()

    def close(self):
        self._shmrt.finalize()


class GlooEngine:
    """torch.distributed over TCP; in a graph, its functional collective."""

    name = "gloo"
    backend = "gloo"
    buffer_note = "none: TCP"

    # Seen with PyTorch 2.13: after a functional collective the group outlives its destruction, and
    # a worker thread of Gloo's that drops its last tensor while Python ends takes the process with
    # it ("terminate called without an active exception", about one run in 20).
    threads_outlive_close = True

    def __init__(self, rank, size):
        import torch.distributed as dist

        self._dist = dist
        self.rank, self.size = rank, size
        if size > 1 and not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            raise Unavailable(
                "Gloo needs MASTER_ADDR and MASTER_PORT, which this launcher does not set. With "
                "mpirun: -x MASTER_ADDR=127.0.0.1 -x MASTER_PORT=<a free port>."
            )
        self._start()

    def _start(self):
        store = self._dist.HashStore() if self.size == 1 else None
        self._dist.init_process_group(self.backend, rank=self.rank, world_size=self.size, store=store)

    def all_reduce(self, x):
        from torch.distributed import _functional_collectives as functional

        return functional.wait_tensor(functional.all_reduce(x, "sum", self._dist.group.WORLD))

    def reduce_in_place(self, x):
        self._dist.all_reduce(x)

    def share(self, fact):
        facts = [None] * self.size
        self._dist.all_gather_object(facts, fact)
        return facts

    def barrier(self):
        self._dist.barrier()

    def counters(self):
        return None

    def report(self):
        return None

    def close(self):
        self._dist.destroy_process_group()


class DeepSpeedEngine(GlooEngine):
    """DeepSpeed's operator, built by DeepSpeed; the facts travel over Gloo."""

    name = "deepspeed"
    buffer_note = "DeepSpeed does not tell"

    def _start(self):
        try:
            import deepspeed
        except ImportError as error:
            raise Unavailable(
                f"DeepSpeed is not installed here ({error}): pip install deepspeed, or take "
                "--backend shmrt."
            ) from error
        os.environ.setdefault("LOCAL_SIZE", str(self.size))
        super()._start()
        deepspeed.init_distributed(dist_backend="gloo", verbose=False)
        if not hasattr(torch.ops.deepspeed, "inference_all_reduce"):
            from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

            ShareMemCommBuilder().load().initialize(self.size, self.rank)
        self.all_reduce = torch.ops.deepspeed.inference_all_reduce
        self.reduce_in_place = torch.ops.deepspeed.inference_all_reduce_
        # DeepSpeed never unlinks its segments. Once all ranks have opened them, nobody needs a name.
        self.barrier()
        self._unlink_segment()

    def _unlink_segment(self):
        names = "MASTER_ADDR", "MASTER_PORT"
        address, port = (os.environ.get(name, "") for name in names)
        name = f"deepspeed_allreduce_buffer_{os.getuid()}_{address}_{port}_{self.rank}"
        (Path("/dev/shm") / name).unlink(missing_ok=True)


class ShmrtGroupEngine(GlooEngine):
    """shmrt as a backend of torch.distributed: for what calls that by itself."""

    name = "shmrt"
    backend = "cpu:shmrt"
    buffer_note = "shared memory"
    threads_outlive_close = False

    def _start(self):
        try:
            import shmrt  # noqa: F401  (registers the backend)
        except ImportError as error:
            raise Unavailable(
                f"The Python package shmrt is not installed here ({error}); `make setup` does it."
            ) from error
        super()._start()


ENGINES = {engine.name: engine for engine in (ShmrtEngine, GlooEngine, DeepSpeedEngine)}
GROUP_ENGINES = {engine.name: engine for engine in (ShmrtGroupEngine, GlooEngine, DeepSpeedEngine)}
