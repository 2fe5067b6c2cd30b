# SPDX-License-Identifier: Apache-2.0
"""Results to the last bit: every dtype, operation, shape and layout, threads and kernel rungs."""

import hashlib
import re

import pytest
import shmrt
import torch
from reference import DTYPES, FLOATS, OPERATIONS, expected, same_bits, term

SHAPES = ((), (1,), (7,), (0,), (3, 0, 2), (2, 3, 5), (1000, 37), (256, 1025))


def out_of_place_and_in_place(operator: str):
    namespace, name = operator.split("::")
    packet = getattr(torch.ops, namespace)
    return getattr(packet, name), getattr(packet, name + "_")


def check_sums(operator: str, dtype: str) -> list[str]:
    plain, inplace = out_of_place_and_in_place(operator)
    bad = []
    for seed, shape in enumerate(SHAPES):
        mine = term(shmrt.rank(), shape, dtype, seed)
        want = expected(shmrt.size(), shape, dtype, "sum", seed)
        before = mine.clone()
        got = plain(mine)
        if not same_bits(got, want):
            bad.append(f"{shape}: wrong sum")
        if not same_bits(mine, before):
            bad.append(f"{shape}: the input of the out-of-place operator changed")
        answer = inplace(mine)
        if answer is not mine or not same_bits(mine, want):
            bad.append(f"{shape}: wrong in place")
    return bad


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_every_dtype(ranks, size, dtype):
    assert ranks(size).call(check_sums, "deepspeed::inference_all_reduce", dtype) == [[]] * size


@pytest.mark.parametrize("operator", ["shmrt::inference_all_reduce", "shmrt::all_reduce"])
def test_sum_of_the_other_operators(ranks, operator):
    assert ranks(2).call(check_sums, operator, "bfloat16") == [[]] * 2


def check_operation(op: str) -> list[str]:
    bad = []
    for dtype in FLOATS if op == "avg" else DTYPES:
        mine = term(shmrt.rank(), (1001,), dtype)
        want = expected(shmrt.size(), (1001,), dtype, op)
        if not same_bits(shmrt.inference_all_reduce(mine, op), want):
            bad.append(f"{dtype}: wrong {op}")
        if not same_bits(shmrt.all_reduce(mine, op), want):
            bad.append(f"{dtype}: wrong {op} in place")
    return bad


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_operation(ranks, op):
    assert ranks(3).call(check_operation, op) == [[]] * 3


def layouts(base: torch.Tensor) -> dict[str, torch.Tensor]:
    """Views of a (12, 8, 10) tensor that are laid out in as many ways as are common."""
    return {
        "transposed": base.transpose(0, 2),
        "channels last": base[None].to(memory_format=torch.channels_last)[0],
        "every second column": base[:, :, ::2],
        "inner block": base[2:9, 1:7, 3:8],
        "one column": base[:, 3, 4],
        "flipped by stride": base.permute(2, 0, 1)[1::3],
        "unaligned": base.flatten()[1:],
        "diagonal": base[0].diagonal(),
        "interleaved as_strided": base.as_strided((3, 2), (2, 3)),
    }


def check_layouts(dtype: str) -> list[str]:
    """In place, the tensor itself and only it changes; out of place, strides are empty_like's."""
    bad = []
    bases = [term(r, (12, 8, 10), dtype) for r in range(shmrt.size())]
    for name in layouts(bases[0]):
        want = sum(layouts(b)[name].to(torch.float64) for b in bases).to(bases[0].dtype)
        whole = bases[shmrt.rank()].clone()
        untouched = whole.clone()
        view = layouts(whole)[name]
        got = torch.ops.deepspeed.inference_all_reduce(view)
        if not same_bits(got, want) or not same_bits(whole, untouched):
            bad.append(f"{name}: out of place")
        if got.stride() != torch.empty_like(view).stride():
            bad.append(f"{name}: strides {got.stride()}, of empty_like {torch.empty_like(view).stride()}")
        torch.ops.deepspeed.inference_all_reduce_(view)
        if not same_bits(view, want):
            bad.append(f"{name}: in place")
        layouts(untouched)[name].copy_(layouts(whole)[name])
        if not same_bits(whole, untouched):
            bad.append(f"{name}: in place changed other elements")
    return bad


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_any_strides(ranks, dtype):
    assert ranks(2).call(check_layouts, dtype) == [[]] * 2


def check_expanded_input() -> bool:
    """Elements that share memory are fine as long as they are only read."""
    row = term(shmrt.rank(), (1, 5), "float32")
    got = torch.ops.deepspeed.inference_all_reduce(row.expand(4, 5))
    return same_bits(got, expected(shmrt.size(), (1, 5), "float32").expand(4, 5))


def test_expanded_input_out_of_place(ranks):
    assert ranks(2).call(check_expanded_input) == [True] * 2


def sum_with_own_layout() -> torch.Tensor:
    """Both ranks hold the same kind of matrix; rank 1 holds its own transposed in memory."""
    mine = term(shmrt.rank(), (6, 4), "float32")
    if shmrt.rank() == 1:
        mine = mine.t().contiguous().t()
    return torch.ops.deepspeed.inference_all_reduce(mine)


def test_ranks_with_different_strides_meet_by_element(ranks):
    want = expected(2, (6, 4), "float32")
    assert all(same_bits(got, want) for got in ranks(2).call(sum_with_own_layout))


def check_special_values() -> list[str]:
    """NaN, infinities, zeros and subnormals against the reference, also where the caller's thread
    flushes subnormals; NaN compared as NaN."""
    special = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e-40, -1e-40, 1.0]
    bad = []
    for dtype in FLOATS:
        terms = [torch.tensor(special).roll(3 * r).to(getattr(torch, dtype)) for r in range(shmrt.size())]
        for op in OPERATIONS:
            torch.set_flush_denormal(True)
            got = shmrt.inference_all_reduce(terms[shmrt.rank()], op)
            torch.set_flush_denormal(False)
            total = terms[0].double()
            for other in terms[1:]:
                total = {"sum": torch.add, "avg": torch.add, "prod": torch.mul, "min": torch.minimum}.get(
                    op, torch.maximum
                )(total, other.double())
            want = (total / shmrt.size() if op == "avg" else total).to(got.dtype)
            if not torch.equal(got.isnan(), want.isnan()) or not torch.equal(got.nan_to_num(7), want.nan_to_num(7)):
                bad.append(f"{dtype} {op}: {got} is not {want}")
    return bad


def test_special_values(ranks):
    assert ranks(2).call(check_special_values) == [[]] * 2


def bits_of_nan_results() -> dict[str, int]:
    """A sum with a negative NaN that carries a payload, as an integer."""
    patterns = {
        "float32": (torch.int32, -0x3EDCBB),
        "float64": (torch.int64, -0x7EDCBA9876543),
        "bfloat16": (torch.int16, -0x3B),
        "float16": (torch.int16, -0x1BB),
    }
    found = {}
    for dtype, (integer, bits) in patterns.items():
        mine = torch.tensor([bits if shmrt.rank() == 1 else 0], dtype=integer).view(getattr(torch, dtype))
        found[dtype] = torch.ops.deepspeed.inference_all_reduce(mine).view(integer).item()
    return found


def test_a_nan_result_is_the_canonical_one(ranks):
    canonical = {"float32": 0x7FC00000, "float64": 0x7FF8000000000000, "bfloat16": 0x7FC0, "float16": 0x7E00}
    assert ranks(2).call(bits_of_nan_results) == [canonical] * 2


def digest_of_sums() -> tuple[str, int, str]:
    """The kernel that ran, its lanes, and a hash over sums of many sizes and dtypes."""
    shmrt.init()
    total = hashlib.sha256()
    for seed, count in enumerate((1, 63, 4099, 50_003)):
        for dtype in FLOATS:
            result = torch.ops.deepspeed.inference_all_reduce(term(shmrt.rank(), (count,), dtype, seed))
            total.update(result.view(torch.uint8).numpy().tobytes())
    report = shmrt.report()
    shmrt.finalize()
    return report["kernel"], report["lanes"], total.hexdigest()


def kernel_names() -> list[str]:
    """Rungs as the option's text lists them: (reference; on x86-64 sse2, avx2; on riscv64 rvv)."""
    (listed,) = re.findall(r"a rung's name\s+\((.*?)\)", shmrt.options(), re.DOTALL)
    return [re.sub(r"^on \S+ ", "", word.strip()) for word in re.split(r"[,;]", listed)]


def test_same_bits_for_any_threads_and_kernel(fresh_ranks):
    """All runs are by two ranks. Lanes are asked for, since a small machine would not take more than one;
    in the last run one rank serves all four with a single thread."""
    runs: list[dict] = [{"SHMRT_KERNEL": kernel} for kernel in kernel_names()]
    runs += [{"OMP_NUM_THREADS": t, "SHMRT_LANES": n} for t, n in (("2", "2"), ("3", "3"), (["1", "4"], "4"))]
    digests, kernels, lanes = set(), set(), set()
    same_processes = fresh_ranks(2)
    for env in runs:
        pool = same_processes if "SHMRT_KERNEL" in env else fresh_ranks(2, env)
        if pool is same_processes:
            pool.renew(env)
        outcomes = pool.outcomes(digest_of_sums)
        if "SHMRT_KERNEL" in env and not all(ok for ok, _ in outcomes):
            # A rung that this CPU hasn't got is refused by name.
            assert all(not ok and env["SHMRT_KERNEL"] in text for ok, text in outcomes), outcomes
            assert env["SHMRT_KERNEL"] != "reference"
            continue
        for ok, value in outcomes:
            assert ok, value
            kernel, lane_count, digest = value
            kernels.add(kernel)
            lanes.add(lane_count)
            digests.add(digest)
            assert env.get("SHMRT_KERNEL") in (None, kernel)
    print("kernel rungs that ran:", sorted(kernels), "with lanes:", sorted(lanes))
    assert len(digests) == 1
    assert lanes >= {2, 3, 4}
