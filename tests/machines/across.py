# SPDX-License-Identifier: Apache-2.0
"""What ranks do in the tests of this folder, and what must come out."""

import hashlib
import signal
import threading
import time

import reference
import torch
import torch.distributed as dist


def start(backend: str) -> None:
    dist.init_process_group(backend)


def end() -> None:
    dist.destroy_process_group()


def join(**arguments) -> list[list[int]]:
    import shmrt

    shmrt.init(**arguments)
    return shmrt.machines()


def expected(machines: list[list[int]], shape, dtype: str, op: str, seed: int = 0) -> torch.Tensor:
    """Each machine's ranks in their order, then the machines in theirs; one rounding."""
    kind = getattr(torch, dtype)
    wide = torch.float32 if kind in (torch.bfloat16, torch.float16) else kind
    inner = "sum" if op == "avg" else op
    sums = []
    for ranks in machines:
        sums.append(reference.combine([reference.term(r, shape, dtype, seed).to(wide) for r in ranks], inner))
    total = reference.combine(sums, inner)
    if op == "avg":
        total = total / sum(map(len, machines))
    return total.to(kind)


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def reduced(cases) -> list[tuple[bool, str]]:
    """For each (count, dtype, op): is the result the right one, and its digest."""
    import shmrt

    found = []
    for seed, (count, dtype, op) in enumerate(cases):
        own = reference.term(shmrt.rank(), (count,), dtype, seed)
        before = own.clone()
        result = shmrt.inference_all_reduce(own, op)
        right = reference.same_bits(result, expected(shmrt.machines(), (count,), dtype, op, seed))
        right = right and reference.same_bits(own, before)
        shmrt.all_reduce(own, op)
        found.append((right and reference.same_bits(own, result), digest(result)))
    return found


def stats() -> dict:
    import shmrt

    return shmrt.stats()


def local_rank() -> int:
    import shmrt

    return shmrt.local_rank()


def sum_of_ones(count: int = 5) -> float:
    import shmrt

    return shmrt.all_reduce(torch.ones(count))[-1].item()


def finalize() -> None:
    import shmrt

    shmrt.finalize()


def failing_reduction(count: int = 4096):
    """(errno, text, seconds) of the failure of reductions that go on until one fails; None where none does."""
    import shmrt

    tensor = torch.ones(count)
    start = time.monotonic()
    while time.monotonic() - start < 60:
        try:
            shmrt.all_reduce(tensor.fill_(1))
        except shmrt.Error as error:
            return error.code, str(error), time.monotonic() - start
    return None


def interrupted_reduction():
    """(errno, text) of the call after one that a signal has ended; each SIGINT raises once, and in a call or before."""
    import shmrt

    is_armed = True

    def stop(*_) -> None:
        nonlocal is_armed
        if is_armed:
            is_armed = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    for _ in range(100):
        try:
            shmrt.all_reduce(torch.ones(4096))
        except KeyboardInterrupt:
            is_armed = True
        except shmrt.Error as error:
            is_armed = False
            return error.code, str(error)
    return None


def left_by_another_thread():
    """(errno, text) of a reduction that waits for another machine while its rank leaves."""
    import shmrt

    found = []
    thread = threading.Thread(target=lambda: found.append(failing_reduction()))
    thread.start()
    time.sleep(1)
    shmrt.finalize()
    thread.join()
    return found[0][:2]


def join_gloo() -> None:
    """The flat group to compare with, on the interface between the machines."""
    import shmrt
    from shmrt import _engine

    store = _engine.environment_store(shmrt.rank(), shmrt.size(), 60)
    name = dist.PrefixStore("flat-gloo", store)
    globals()["flat"] = _engine.make(name, [list(range(shmrt.size()))], shmrt.rank(), 60)


def times_of(engine: str, count: int, dtype: str, repeat: int) -> list[float]:
    """Seconds of each all-reduce."""
    import shmrt

    tensor = torch.ones(count, dtype=getattr(torch, dtype))
    found = []
    for _ in range(repeat):
        shmrt.barrier()
        start = time.perf_counter()
        if engine == "gloo":
            globals()["flat"].allreduce([tensor]).wait()
        else:
            shmrt.all_reduce(tensor)
        found.append(time.perf_counter() - start)
    return found


def leave_gloo() -> None:
    globals()["flat"] = None


def in_turns(ranks, cluster, count: int, dtype: str, rounds: int):
    """Seconds of each call (the slowest rank's) and bytes that each machine sent in one, by engine."""
    seconds, sent = {"gloo": [], "shmrt": []}, {}
    for _ in range(rounds):
        for engine in seconds:
            before = cluster.sent()
            times = ranks.call(times_of, engine, count, dtype, 2)
            sent[engine] = [(b - a) / 2 for a, b in zip(before, cluster.sent(), strict=True)]
            seconds[engine] += [max(of_ranks) for of_ranks in zip(*times, strict=True)]
    return seconds, sent
