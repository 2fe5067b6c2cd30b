# SPDX-License-Identifier: Apache-2.0
"""Gradients, version counters and PyTorch's own checks of an operator."""

import pytest
import shmrt
import torch
from torch.library import opcheck


def run_opcheck(name: str, args: tuple, gradient: bool, inplace: bool) -> list[str]:
    """opcheck over the usual layouts. A leaf can't be changed in place, so those are not leaves."""
    namespace, op = name.split("::")
    operator = getattr(getattr(torch.ops, namespace), op).default
    bad = []
    samples = (torch.randn(4, 5), torch.randn(4, 5).t(), torch.randn(4, 6)[:, ::2], torch.randn(0, 3), torch.randn(()))
    for sample in samples:
        tensor = sample.clone().requires_grad_(gradient)
        tensor = tensor * 1 if gradient and inplace else tensor
        results = opcheck(operator, (tensor, *args), raise_exception=False)
        bad += [f"{tuple(sample.shape)}: {k}: {v}" for k, v in results.items() if v != "SUCCESS"]
    return bad


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(
    "name, args",
    [
        ("deepspeed::inference_all_reduce", ()),
        ("deepspeed::inference_all_reduce_", ()),
        ("shmrt::inference_all_reduce", ()),
        ("shmrt::all_reduce", ("avg",)),
        ("shmrt::all_reduce_", ("sum",)),
    ],
)
def test_opcheck(ranks, name, args, gradient):
    assert ranks(1).call(run_opcheck, name, args, gradient, name.endswith("_")) == [[]]


def gradients() -> dict[str, torch.Tensor]:
    """Each rank's loss weighs the sum by (rank + 1): the gradient is the sum of those weights."""
    rank, found = shmrt.rank(), {}
    ops = torch.ops.deepspeed
    leaf = torch.ones(3, requires_grad=True)
    ((rank + 1) * ops.inference_all_reduce(leaf)).sum().backward()
    found["out of place"] = leaf.grad.clone()

    leaf = torch.ones(3, requires_grad=True)
    middle = leaf * 2
    ops.inference_all_reduce_(middle)
    ((rank + 1) * middle).sum().backward()
    found["in place"] = leaf.grad.clone()

    leaf = torch.ones(3, requires_grad=True)
    middle = leaf * 2
    ops.inference_all_reduce_(middle[1:])
    ((rank + 1) * middle).sum().backward()
    found["in place on a view"] = leaf.grad.clone()

    leaf = torch.ones(3, requires_grad=True)
    ((rank + 1) * shmrt.inference_all_reduce(leaf, "avg")).sum().backward()
    found["average"] = leaf.grad.clone()
    return found


def test_gradients(ranks):
    for rank, found in enumerate(ranks(2).call(gradients)):
        own = 2.0 * (rank + 1)
        assert torch.equal(found["out of place"], torch.full((3,), 3.0))
        assert torch.equal(found["in place"], torch.full((3,), 6.0))
        assert torch.equal(found["in place on a view"], torch.tensor([own, 6.0, 6.0]))
        assert torch.equal(found["average"], torch.full((3,), 1.5))


def second_derivative() -> torch.Tensor:
    leaf = torch.full((2,), 3.0, requires_grad=True)
    total = torch.ops.deepspeed.inference_all_reduce(leaf * leaf).sum()
    (first,) = torch.autograd.grad(total, leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)
    return second


def test_second_derivative(ranks):
    """d(sum over ranks of x^2)/dx is 2x, times the number of ranks that asked; then once more."""
    for second in ranks(2).call(second_derivative):
        assert torch.equal(second, torch.full((2,), 4.0))


def version_counters() -> dict[str, object]:
    found: dict[str, object] = {}
    tensor = torch.ones(3)
    version = tensor._version
    torch.ops.deepspeed.inference_all_reduce_(tensor)
    found["plain"] = tensor._version - version

    middle = torch.ones(3, requires_grad=True) * 2
    version = middle._version
    torch.ops.deepspeed.inference_all_reduce_(middle)
    found["with gradient"] = middle._version - version

    # exp() keeps its result for the backward pass, which the reduction then overwrites.
    kept = torch.ones(3, requires_grad=True).exp()
    torch.ops.deepspeed.inference_all_reduce_(kept)
    try:
        kept.sum().backward()
        found["stale"] = "not noticed"
    except RuntimeError as error:
        found["stale"] = str(error)
    with torch.inference_mode():
        found["inference mode"] = torch.ops.deepspeed.inference_all_reduce_(torch.ones(1)).item()
    return found


def test_in_place_bumps_the_version(ranks):
    for found in ranks(2).call(version_counters):
        assert found["plain"] == 1 and found["with gradient"] == 1
        assert "modified by an inplace operation" in found["stale"]
        assert found["inference mode"] == 2


def refused_gradients() -> dict[str, str]:
    found = {}
    leaf = torch.ones(3, requires_grad=True)
    try:
        torch.ops.deepspeed.inference_all_reduce_(leaf)
    except RuntimeError as error:
        found["leaf"] = str(error)
    found["leaf is unchanged"] = str(leaf.tolist())
    try:
        shmrt.inference_all_reduce(leaf, "max").sum().backward()
    except shmrt.Error as error:
        found["max"] = str(error)
    import torch.autograd.forward_ad as forward

    with forward.dual_level():
        try:
            torch.ops.deepspeed.inference_all_reduce(forward.make_dual(torch.ones(3), torch.ones(3)))
        except shmrt.Error as error:
            found["forward"] = str(error)
    return found


def test_what_has_no_gradient(ranks):
    for found in ranks(2).call(refused_gradients):
        assert "leaf Variable" in found["leaf"] and found["leaf is unchanged"] == "[1.0, 1.0, 1.0]"
        assert '"max"' in found["max"] and "no_grad" in found["max"]
        assert "forward-mode" in found["forward"]
