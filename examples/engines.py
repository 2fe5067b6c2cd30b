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
    """Stands around an all-reduce in an uncompiled pass and adds up its time."""

    def __init__(self, all_reduce):
        self.all_reduce = all_reduce
        self.seconds = 0.0
        self.calls = 0
        self.bytes = 0

    def __call__(self, x):
        start = time.perf_counter()
        result = self.all_reduce(x)
        self.seconds += time.perf_counter() - start
        self.calls += 1
        self.bytes += x.numel() * x.element_size()
        return result


class ShmrtEngine:
    name = "shmrt"

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
        return {"calls": calls, "bytes": stats["bytes"], "seconds": stats["seconds"]}

    def report(self):
        return self._shmrt.report()

    def close(self):
        self._shmrt.finalize()


class GlooEngine:
    """torch.distributed over TCP; in a graph, its functional collective."""

    name = "gloo"
    buffer_note = "none: TCP"

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
        self._dist.init_process_group("gloo", rank=self.rank, world_size=self.size, store=store)

    def all_reduce(self, x):
        from torch.distributed import _functional_collectives as functional

        return functional.wait_tensor(functional.all_reduce(x, "sum", self._dist.group.WORLD))

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


ENGINES = {engine.name: engine for engine in (ShmrtEngine, GlooEngine, DeepSpeedEngine)}
