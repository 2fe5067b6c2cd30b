# SPDX-License-Identifier: Apache-2.0
"""What all-reduce must give: terms that every rank can make for all, combined in rank order."""

import torch

FLOATS = ("float32", "float64", "bfloat16", "float16")
INTEGERS = ("int8", "uint8", "int16", "int32", "int64")
DTYPES = FLOATS + INTEGERS
OPERATIONS = ("sum", "min", "max", "prod", "avg")

COMBINE = {
    "sum": torch.add,
    "avg": torch.add,
    "prod": torch.mul,
    "min": torch.minimum,
    "max": torch.maximum,
}


def term(rank: int, shape: tuple[int, ...], dtype: str, seed: int = 0) -> torch.Tensor:
    """Rank `rank`'s term: the same on whichever rank makes it. Integers use their whole range."""
    generator = torch.Generator().manual_seed(1000 * seed + rank)
    kind = getattr(torch, dtype)
    if dtype in INTEGERS:
        info = torch.iinfo(kind)
        return torch.randint(info.min, info.max, shape, generator=generator, dtype=kind)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(kind)


def combine(terms: list[torch.Tensor], op: str = "sum") -> torch.Tensor:
    """In rank order; 16-bit floats in fp32, rounded once."""
    dtype = terms[0].dtype
    wide = torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype
    total = terms[0].to(wide)
    for other in terms[1:]:
        total = COMBINE[op](total, other.to(wide))
    if op == "avg":
        total = total / len(terms)
    return total.to(dtype)


def expected(size: int, shape: tuple[int, ...], dtype: str, op: str = "sum", seed: int = 0) -> torch.Tensor:
    return combine([term(r, shape, dtype, seed) for r in range(size)], op)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal to the last bit, NaN and the sign of zero included; strides don't matter."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return (
        torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
        if a.dim()
        else (same_bits(a.reshape(1), b.reshape(1)))
    )
