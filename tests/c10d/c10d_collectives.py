# SPDX-License-Identifier: Apache-2.0
"""Each collective in a rank, against what it must give, which every rank can work out for itself."""

import torch
import torch.distributed as dist
from c10d_group import finish, rank_and_size
from reference import DTYPES, FLOATS, combine, same_bits, term

OPS = {
    "sum": dist.ReduceOp.SUM,
    "min": dist.ReduceOp.MIN,
    "max": dist.ReduceOp.MAX,
    "prod": dist.ReduceOp.PRODUCT,
    "avg": dist.ReduceOp.AVG,
}
# What is only moved may be of any type.
MOVED = [*DTYPES, "bool", "complex64", "complex128", "float8_e4m3fn", "uint16"]
SHAPES = [(7,), (3, 5), (), (0,), (2, 0, 3), (40000,)]


def moved_term(rank: int, shape: tuple[int, ...], dtype: str, seed: int = 0) -> torch.Tensor:
    """Any bytes, as `dtype`."""
    kind = getattr(torch, dtype)
    if dtype in DTYPES:
        return term(rank, shape, dtype, seed)
    generator = torch.Generator().manual_seed(1000 * seed + rank)
    bits = torch.randint(
        0, 2 if dtype == "bool" else 100, (*shape, kind.itemsize), generator=generator, dtype=torch.uint8
    )
    return bits.view(kind).reshape(shape)


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """The same values, with gaps between them and the dimensions in another order."""
    if tensor.dim() == 0:
        return tensor
    room = torch.zeros(*reversed(tensor.shape), 2, dtype=tensor.dtype)[..., 1]
    view = room.permute(*reversed(range(tensor.dim())))
    return view.copy_(tensor)


def layouts(tensor: torch.Tensor):
    return (tensor.clone(), strided(tensor))


def equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return same_bits(a, b) if a.numel() else (a.shape, a.dtype) == (b.shape, b.dtype)


def check_all_reduce(is_async: bool) -> None:
    rank, size = rank_and_size()
    for dtype in DTYPES:
        for op in OPS:
            if op == "avg" and dtype not in FLOATS:
                continue
            for shape in SHAPES:
                want = combine([term(r, shape, dtype) for r in range(size)], op)
                for x in layouts(term(rank, shape, dtype)):
                    finish(dist.all_reduce(x, OPS[op], async_op=is_async), is_async)
                    assert equal(x, want), (dtype, op, shape, x, want)


def check_reduce(is_async: bool) -> None:
    rank, size = rank_and_size()
    for dtype in DTYPES:
        for root in range(size):
            want = combine([term(r, (33,), dtype) for r in range(size)], "max")
            for x in layouts(term(rank, (33,), dtype)):
                finish(dist.reduce(x, root, dist.ReduceOp.MAX, async_op=is_async), is_async)
                assert equal(x, want if rank == root else term(rank, (33,), dtype)), (dtype, root)


def check_reduce_scatter(is_async: bool) -> None:
    rank, size = rank_and_size()
    for dtype in DTYPES:
        terms = [[term(r, (5, 3), dtype, seed=part) for part in range(size)] for r in range(size)]
        want = combine([terms[r][rank] for r in range(size)])
        for out in layouts(torch.empty_like(want)):
            finish(dist.reduce_scatter(out, terms[rank], async_op=is_async), is_async)
            assert equal(out, want), dtype
            finish(dist.reduce_scatter_single(out, torch.cat(terms[rank]), async_op=is_async), is_async)
            assert equal(out, want), dtype
            finish(dist.reduce_scatter_single(out, strided(torch.stack(terms[rank])), async_op=is_async), is_async)
            assert equal(out, want), dtype
    parts = [term(rank, (part,), "float32", seed=part) for part in range(size)]  # of 0, 1, 2... elements
    out = torch.empty(rank)
    finish(dist.reduce_scatter(out, parts, async_op=is_async), is_async)
    assert equal(out, combine([term(r, (rank,), "float32", seed=rank) for r in range(size)]))


def check_broadcast(is_async: bool) -> None:
    rank, size = rank_and_size()
    for dtype in MOVED:
        for shape in SHAPES:
            for root in (0, size - 1):
                for x in layouts(moved_term(rank, shape, dtype)):
                    finish(dist.broadcast(x, root, async_op=is_async), is_async)
                    assert equal(x, moved_term(root, shape, dtype)), (dtype, shape, root)


def check_all_gather(is_async: bool) -> None:
    rank, size = rank_and_size()
    for dtype in MOVED:
        for shape in SHAPES:
            want = [moved_term(r, shape, dtype) for r in range(size)]
            rows = torch.zeros(size, *shape, dtype=want[0].dtype)
            lists = (
                [torch.zeros_like(w) for w in want],
                [strided(torch.zeros_like(w)) for w in want],
                list(rows.unbind()),
            )
            for x, outs in zip([*layouts(want[rank]), want[rank].clone()], lists, strict=True):
                finish(dist.all_gather(outs, x, async_op=is_async), is_async)
                assert all(map(equal, outs, want)), (dtype, shape)
            if shape:
                whole = torch.zeros(size * shape[0], *shape[1:], dtype=want[0].dtype)
                for out in (whole, strided(whole), torch.zeros(size, *shape, dtype=want[0].dtype)):
                    finish(dist.all_gather_single(out, want[rank], async_op=is_async), is_async)
                    assert equal(out.reshape(whole.shape), torch.cat(want)), (dtype, shape)


def check_gather_and_scatter(is_async: bool) -> None:
    rank, size = rank_and_size()
    for dtype in MOVED:
        want = [moved_term(r, (3, 4), dtype) for r in range(size)]
        for root in range(size):
            outs = [strided(torch.zeros_like(w)) for w in want] if rank == root else None
            finish(dist.gather(strided(want[rank]), outs, root, async_op=is_async), is_async)
            assert outs is None or all(map(equal, outs, want)), (dtype, root)
            out = strided(torch.zeros_like(want[0]))
            finish(dist.scatter(out, want if rank == root else None, root, async_op=is_async), is_async)
            assert equal(out, want[rank]), (dtype, root)


def check_all_to_all(is_async: bool) -> None:
    rank, size = rank_and_size()

    def part(source: int, to: int, dtype: str, rows: int) -> torch.Tensor:
        return moved_term(source, (rows, 2), dtype, seed=to)

    for dtype in MOVED:
        for rows in (lambda s, t: 2, lambda s, t: (s + 2 * t) % 3):  # even, and not
            ours = [part(rank, to, dtype, rows(rank, to)) for to in range(size)]
            want = [part(source, rank, dtype, rows(source, rank)) for source in range(size)]
            out = torch.empty_like(torch.cat(want))
            splits = ([len(w) for w in want], [len(o) for o in ours]) if rows(0, 0) != 2 else ()
            finish(dist.all_to_all_single(out, torch.cat(ours), *splits, async_op=is_async), is_async)
            assert equal(out, torch.cat(want)), dtype
            outs = [strided(torch.zeros_like(w)) for w in want]
            finish(dist.all_to_all(outs, [strided(o) for o in ours], async_op=is_async), is_async)
            assert all(map(equal, outs, want)), dtype


def check_coalesced(is_async: bool) -> None:
    rank, size = rank_and_size()
    shapes = [(4,), (0,), (2, 3), ()]
    xs = [term(rank, shape, "float32", seed=i) for i, shape in enumerate(shapes)]
    with dist._coalescing_manager(async_ops=is_async) as cm:
        for x in xs:
            dist.all_reduce(x)
    if is_async:
        cm.wait()
    for i, shape in enumerate(shapes):
        assert equal(xs[i], combine([term(r, shape, "float32", seed=i) for r in range(size)]))
    ins = [term(rank, (n,), "int32", seed=n) for n in (3, 1)]
    outs = [torch.empty(n * size, dtype=torch.int32) for n in (3, 1)]
    with dist._coalescing_manager(async_ops=is_async) as cm:
        for out, x in zip(outs, ins, strict=True):
            dist.all_gather_single(out, x)
    if is_async:
        cm.wait()
    for out, n in zip(outs, (3, 1), strict=True):
        assert equal(out, torch.cat([term(r, (n,), "int32", seed=n) for r in range(size)]))
    parts = [torch.empty(n, dtype=torch.int32) for n in (3, 1)]
    with dist._coalescing_manager(async_ops=is_async) as cm:
        for part, out in zip(parts, outs, strict=True):
            dist.reduce_scatter_single(part, out)
    if is_async:
        cm.wait()
    for part, x in zip(parts, ins, strict=True):
        assert equal(part, x * size)


def check_in_place() -> None:
    """The input lies in the output, as FSDP has it, or the other way round."""
    rank, size = rank_and_size()
    want = [term(r, (50,), "float32") for r in range(size)]
    out = torch.zeros(size * 50)
    own = out[rank * 50 : (rank + 1) * 50].copy_(want[rank])
    dist.all_gather_single(out, own)
    assert equal(out, torch.cat(want))
    whole = torch.cat([term(rank, (50,), "float32", seed=part) for part in range(size)])
    dist.reduce_scatter_single(whole[rank * 50 : (rank + 1) * 50], whole)
    assert equal(
        whole[rank * 50 : (rank + 1) * 50], combine([term(r, (50,), "float32", seed=rank) for r in range(size)])
    )
    x = torch.arange(size * 4) + 100 * rank
    dist.all_to_all_single(x, x)
    assert x.tolist() == [100 * source + 4 * rank + i for source in range(size) for i in range(4)]


def check_objects() -> None:
    rank, size = rank_and_size()
    found = [None] * size
    dist.all_gather_object(found, {"rank": rank})
    assert found == [{"rank": r} for r in range(size)]
    mine = [f"from {rank}"]
    dist.broadcast_object_list(mine, src=size - 1)
    assert mine == [f"from {size - 1}"]


def check_fallbacks() -> tuple[dict, dict]:
    """What libshmrt does not reduce gives Gloo's result; the counts before and after."""
    import shmrt

    rank, size = rank_and_size()
    before = dict(shmrt.stats()["c10d"]["fallback"])
    x = torch.tensor([1 << rank, 255])
    for is_async in (False, True):
        y = x.clone()
        finish(dist.all_reduce(y, dist.ReduceOp.BOR, async_op=is_async), is_async)
        assert y.tolist() == [(1 << size) - 1, 255]
    flags = torch.tensor([rank == 0, False])
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    assert flags.tolist() == [True, False]
    sparse = torch.sparse_coo_tensor([[rank]], [float(rank + 1)], (size,))
    dist.all_reduce(sparse)
    assert sparse.to_dense().tolist() == [float(r + 1) for r in range(size)]
    z = torch.complex(torch.full((3,), float(rank)), torch.ones(3))
    dist.all_reduce(z)  # two floats each: no fallback
    assert z.tolist() == [complex(sum(range(size)), size)] * 3
    return before, dict(shmrt.stats()["c10d"]["fallback"])
