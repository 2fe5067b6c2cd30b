# SPDX-License-Identifier: Apache-2.0
"""Tensors in the pool: made by hand, as results, moved, kept too long, forked; and a pool that is full or off."""

import copy
import errno
import gc
import io
import os
import pickle
import resource
import threading
import time

import pytest
import shmrt
import torch
from reference import expected, same_bits, term

LONG = (100, 1000)
OUT_OF_PLACE = torch.ops.deepspeed.inference_all_reduce


def used() -> int:
    gc.collect()
    return shmrt.stats()["pool"]["used"]


def layouts() -> list[str]:
    bad = []
    before = used()
    likes = (torch.ones(3, 5).t(), torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last), torch.ones(0, 3))
    made = [(shmrt.empty_like(t), torch.empty_like(t)) for t in likes]
    made += [(shmrt.empty(2, 3), torch.empty(2, 3)), (shmrt.empty((2, 3)), torch.empty(2, 3))]
    made += [(shmrt.empty(likes[0].shape), torch.empty(5, 3)), (shmrt.empty(()), torch.empty(()))]
    made += [(shmrt.empty(4, dtype=torch.int8), torch.empty(4, dtype=torch.int8))]
    made += [(shmrt.empty_like(likes[0], dtype=torch.bool), torch.empty_like(likes[0], dtype=torch.bool))]
    for got, want in made:
        facts, wanted = ((*t.shape, *t.stride(), t.dtype, t.device, t.untyped_storage().nbytes()) for t in (got, want))
        if facts != wanted or not shmrt.is_shared(got) or shmrt.is_shared(want):
            bad.append(f"{facts} instead of {wanted}")
    if shmrt.zeros(1000, 10).count_nonzero() or used() <= before:
        bad.append("zeros, or what is in use")
    if any(shmrt.is_shared(t) for t in (torch.ones(2, device="meta"), torch.ones(2).to_sparse())):
        bad.append("what has no memory is in the pool")
    del made, got, want
    return bad if used() == before else [*bad, "not given back"]


def test_made_as_torch_makes_them(ranks):
    assert ranks(2).call(layouts) == [[]] * 2


def results() -> list[str]:
    bad = []
    for dtype in ("float32", "bfloat16", "int64"):
        for op in ("sum", "max"):
            x = term(shmrt.rank(), LONG, dtype)
            before = x.clone()
            y = shmrt.inference_all_reduce(x, op)
            if not same_bits(y, expected(shmrt.size(), LONG, dtype, op)) or not same_bits(x, before):
                bad.append(f"{dtype} {op} is wrong")
            if not shmrt.is_shared(y) or y.stride() != x.stride() or not shmrt.is_shared(y[1:].t()):
                bad.append(f"{dtype} {op} is not in the pool, or laid out otherwise")
    odd = torch.ones(1, 50_000).as_strided((1, 50_000), (7, 1))
    if OUT_OF_PLACE(odd).stride() != torch.empty_like(odd).stride():
        bad.append("strides that don't matter are others")
    if shmrt.is_shared(OUT_OF_PLACE(torch.ones(100))) or shmrt.is_shared(OUT_OF_PLACE(torch.ones(300, 300).t())):
        bad.append("in the pool for nothing")
    return bad


@pytest.mark.parametrize("size", [2, 3])
def test_long_results_are_shared(ranks, size):
    assert ranks(size).call(results) == [[]] * size


def fused() -> list[bool]:
    x, weight = term(shmrt.rank(), LONG, "float32"), torch.ones(LONG[1])
    norm, total = torch.ops.shmrt.all_reduce_add_rms_norm(x, None, weight, 1e-6)
    return [shmrt.is_shared(total), shmrt.is_shared(norm), same_bits(total, expected(2, LONG, "float32"))]


def test_the_total_before_a_norm_is_shared(ranks):
    """The norm is made by each rank itself, so it need not be."""
    assert ranks(2).call(fused) == [[True, False, True]] * 2


def reduced_where_they_lie(op: str) -> list[str]:
    bad = []
    x, y = shmrt.empty(LONG), torch.empty(LONG)
    for seed in range(5):
        for tensor in (x, y):
            tensor.copy_(term(shmrt.rank(), LONG, "float32", seed))
        calls = shmrt.stats()["shared_calls"]
        shmrt.all_reduce(x, op)
        if shmrt.stats()["shared_calls"] != calls + 1:
            bad.append("not counted")
        shmrt.all_reduce(y, op)
        if not same_bits(x, y) or not same_bits(x, expected(shmrt.size(), LONG, "float32", op, seed)):
            bad.append(f"seed {seed} is wrong")
    return bad


def test_in_place_on_shared_tensors(ranks):
    assert ranks(3).call(reduced_where_they_lie, "sum") == [[]] * 3


def kept_results() -> list[str]:
    """Some results are dropped at once, some kept; a rank that is late must not spoil either."""
    kept, bad = [], []
    for seed in range(30):
        if seed % 7 == 3 * shmrt.rank():
            time.sleep(0.01)
        y = OUT_OF_PLACE(term(shmrt.rank(), LONG, "float32", seed))
        if seed % 3 == shmrt.rank():
            kept.append((seed, y))
    for seed, y in kept:
        if not same_bits(y, expected(2, LONG, "float32", seed=seed)):
            bad.append(f"{seed} was overwritten")
    return bad


def test_later_calls_leave_results_alone(ranks):
    assert ranks(2).call(kept_results) == [[]] * 2


def repeat() -> tuple[int, int, int]:
    shmrt.init()
    x = torch.ones(1 << 20)
    for _ in range(10):
        y = OUT_OF_PLACE(x)
    taken, faults = shmrt.stats()["pool"]["taken"], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        y = OUT_OF_PLACE(x)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    assert y[0] == 2
    return faults, shmrt.stats()["pool"]["peak"], shmrt.stats()["pool"]["taken"] - taken


def test_repeated_calls_touch_no_new_page(fresh_ranks):
    """100 results of 4 MiB, 1024 pages each: two blocks take turns."""
    for faults, peak, taken in fresh_ranks(2).call(repeat):
        assert faults < 100 and peak < 3 * (4 << 20) and taken == 0


def moved() -> list[str]:
    bad = []
    before = used()

    def check(what: str, tensor: torch.Tensor, shared: bool) -> None:
        if shmrt.is_shared(tensor) != shared:
            bad.append(f"{what}: in the pool is {not shared}")
        if tensor.flatten()[:1000].tolist() != list(range(1000)):
            bad.append(f"{what}: other values")

    def new() -> torch.Tensor:
        tensor = shmrt.empty(1000)
        return tensor.copy_(torch.arange(1000.0))

    check("smaller", new().resize_(500).resize_(10, 100), True)
    check("larger", new().resize_(100_000), False)
    other = new()
    other.untyped_storage().resize_(1 << 20)
    check("larger storage", other, False)
    check("torch's shared memory", new().share_memory_(), False)
    check("deepcopy", copy.deepcopy(new()), False)
    check("pickle", pickle.loads(pickle.dumps(new())), False)
    file = io.BytesIO()
    torch.save(new(), file)
    file.seek(0)
    check("save", torch.load(file), False)
    check("a view", new().view(10, 100)[:], True)
    check("numpy", torch.from_numpy(new().numpy()), False)
    check("set_", torch.empty(0).set_(new()), True)
    check("another type", new().view(torch.int32).view(torch.float32), True)
    check("data", torch.nn.Parameter(new()).data, True)
    del other
    return bad if used() == before else [*bad, "not given back"]


def test_resized_shared_copied_viewed(ranks):
    assert ranks(2).call(moved) == [[]] * 2


def from_many_threads() -> int:
    """Each thread makes tensors and drops those of another one, while this one reduces."""
    before, slots, errors = used(), [[] for _ in range(4)], []

    def work(own: int) -> None:
        try:
            for i in range(200):
                slots[own].append(shmrt.zeros(1 + 37 * i).add_(i))
                theirs = slots[(own + 1) % 4]
                if theirs and theirs.pop().unique().numel() != 1:
                    errors.append("two threads have the same memory")
        except Exception as error:
            errors.append(repr(error))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        OUT_OF_PLACE(torch.ones(LONG))
    for thread in threads:
        thread.join()
    assert not errors, errors
    slots.clear()
    return used() - before


def test_threads(ranks):
    assert ranks(2).call(from_many_threads) == [0, 0]


def gradients() -> list[str]:
    bad = []
    x = term(shmrt.rank(), LONG, "float32").requires_grad_()
    total = expected(2, LONG, "float32")
    y = OUT_OF_PLACE(x)
    (y * y).sum().backward()
    if not shmrt.is_shared(y) or not torch.equal(x.grad, 4 * total):
        bad.append("the gradient through a saved result is wrong")
    z = OUT_OF_PLACE(x)
    loss = (z * z).sum()
    with torch.no_grad():
        z.add_(1)
    try:
        loss.backward()
        bad.append("a saved result was overwritten, and autograd did not notice")
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            bad.append(str(error))
    with torch.inference_mode():
        if not OUT_OF_PLACE(x).is_inference():
            bad.append("not an inference tensor")
    return bad


def test_gradients_through_shared_results(ranks):
    assert ranks(2).call(gradients) == [[]] * 2


def chain(x):
    y = OUT_OF_PLACE(x)
    return OUT_OF_PLACE(torch.sin(y) * y)


def compiled() -> list[str]:
    torch._dynamo.reset()
    bad = []
    before = used()
    function = torch.compile(chain, fullgraph=True)
    calls = shmrt.stats()["shared_calls"]
    with torch.no_grad():
        for seed in range(3):
            x = term(shmrt.rank(), LONG, "float32", seed)
            if not torch.allclose(function(x), chain(x), rtol=1e-5, atol=1e-5):
                bad.append(f"seed {seed} is wrong")
    if shmrt.stats()["shared_calls"] - calls != 12:
        bad.append("the compiled function did not use the pool")
    del x
    torch._dynamo.reset()
    return bad if used() == before else [*bad, "not given back"]


def test_compiled_chain(ranks):
    assert ranks(2).call(compiled, timeout=300) == [[]] * 2


def without_room() -> list[str]:
    shmrt.init()
    bad = []
    limit = shmrt.stats()["pool"]["limit"]
    code = errno.ENOMEM if limit else errno.ENOTSUP
    x, y = shmrt.empty(1 << 18), OUT_OF_PLACE(torch.ones(1 << 18))
    if shmrt.is_shared(x) or shmrt.is_shared(y) or y[-1] != 2:
        bad.append("results are wrong, or in a pool that is none")
    (reason,) = shmrt.stats()["fallbacks"]
    if shmrt.stats()["fallbacks"][reason] != 2 or "pool" not in reason:
        bad.append(f"counted otherwise: {shmrt.stats()['fallbacks']}")
    try:
        shmrt.empty(1 << 18, strict=True)
        bad.append("not refused")
    except shmrt.Error as error:
        if error.code != code or "SHMRT_POOL" not in str(error):
            bad.append(f"{error.code} {error}")
    refused = shmrt.stats()["pool"]["refused"]
    if (refused != 3 if limit else refused != 0) or shmrt.is_shared(shmrt.empty(8)) != bool(limit):
        bad.append(f"refused {refused}")
    if shmrt.all_reduce(torch.ones(1)).item() != 2:
        bad.append("not usable any more")
    return bad


@pytest.mark.parametrize("limit", ["0", "512K"])
def test_a_pool_without_room(fresh_ranks, limit):
    assert fresh_ranks(2, {"SHMRT_POOL": limit}).call(without_room) == [[]] * 2


def alone() -> list[bool]:
    shmrt.init(0, 1, job=f"alone-{os.getpid()}")
    y = OUT_OF_PLACE(torch.ones(LONG))
    return [shmrt.is_shared(y), shmrt.is_shared(shmrt.empty(4)), shmrt.stats()["fallbacks"] == {}]


def test_a_rank_alone_needs_no_shared_results(fresh_ranks):
    assert fresh_ranks(2).call(alone) == [[False, True, True]] * 2


def after_the_end() -> list[str]:
    bad = []
    try:
        shmrt.empty(4)
        bad.append("made before the ranks have met")
    except shmrt.Error as error:
        if error.code != errno.ENOTCONN:
            bad.append(str(error))
    shmrt.init()
    x, y = shmrt.zeros(1 << 20), OUT_OF_PLACE(torch.ones(LONG))
    shmrt.finalize()
    x.add_(1)
    if not shmrt.is_shared(x) or x.sum() != 1 << 20 or y.min() != 2:
        bad.append("other values")
    shmrt.init()
    z = shmrt.zeros(1 << 20)
    if x.data_ptr() == z.data_ptr():
        bad.append("two tensors have the same memory")
    shmrt.all_reduce(x)
    if x.min() != 2:
        bad.append("a tensor of the old pool is reduced otherwise")
    del x, y
    return bad if shmrt.stats()["pool"]["used"] >= 4 << 20 else [*bad, "another pool's block was freed"]


def test_tensors_outlive_finalize(fresh_ranks):
    assert fresh_ranks(2).call(after_the_end) == [[]] * 2


held = []


def in_a_child() -> int:
    """A child does not have the memory, and may drop the tensors. Its own pool may lie at the same address."""
    shmrt.init()
    held.extend((shmrt.zeros(1 << 20), OUT_OF_PLACE(torch.ones(LONG))))
    pid = os.fork()
    if pid == 0:
        good = not shmrt.is_shared(held[0])
        shmrt.init(0, 1, job=f"child-{os.getpid()}", settings={"lanes": 1})
        own = shmrt.zeros(1 << 20)
        held.clear()
        gc.collect()
        good = good and own.data_ptr() != shmrt.zeros(1 << 20).data_ptr() and shmrt.is_shared(own)
        good = good and shmrt.all_reduce(torch.ones(1)).item() == 1
        shmrt.finalize()
        os._exit(0 if good else 1)
    _, status = os.waitpid(pid, 0)
    assert held[0].sum() == 0 and held[1].min() == 2
    held.clear()
    assert shmrt.all_reduce(torch.ones(1)).item() == 2 and used() == 0
    return status


def test_a_forked_child_drops_them(fresh_ranks):
    assert fresh_ranks(2).call(in_a_child) == [0, 0]


def reported() -> tuple[dict, str]:
    shmrt.init()
    kept = shmrt.empty(1 << 20)
    if shmrt.rank() == 1:
        time.sleep(0.2)
    shmrt.all_reduce(kept)
    return shmrt.stats(), str(shmrt.report())


def test_stats_and_report_of_the_pool(fresh_ranks):
    first, second = fresh_ranks(2).call(reported)
    for stats, text in (first, second):
        used, peak, taken, limit, refused = (stats["pool"][k] for k in ("used", "peak", "taken", "limit", "refused"))
        assert 4 << 20 <= used <= peak <= taken <= limit == 256 << 20
        assert refused == 0 and stats["shared_calls"] == 1
        assert 0 <= stats["late_seconds"] <= stats["wait_seconds"]
        assert "4.0 MiB used" in text and "one-shot up to" in text
    assert first[0]["late_seconds"] > 0.1 > second[0]["late_seconds"]


def hold() -> None:
    shmrt.init()
    held.extend((shmrt.zeros(1 << 20), OUT_OF_PLACE(torch.ones(LONG))))
    held.append(held)
    if shmrt.rank() == 0:
        shmrt.finalize()


def test_exit_with_tensors(fresh_ranks):
    """With finalize() and without, the interpreter's end is a good one."""
    pool = fresh_ranks(2)
    pool.call(hold)
    for worker in pool.workers:
        worker.pipe.close()
    assert [w.process.wait(30) for w in pool.workers] == [0, 0]
