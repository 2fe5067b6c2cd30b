# SPDX-License-Identifier: Apache-2.0
"""torch.compile(fullgraph=True) with inductor gives what eager execution gives."""

import pytest
import shmrt
import torch
from reference import same_bits, term


def plain(x):
    return torch.ops.deepspeed.inference_all_reduce(x) * 2.0


def inplace(x):
    y = x + 1
    torch.ops.deepspeed.inference_all_reduce_(y)
    return y * 2


def inplace_on_input(x):
    torch.ops.deepspeed.inference_all_reduce_(x)
    return x * 2


def inplace_on_a_view(x):
    y = x.clone()
    torch.ops.deepspeed.inference_all_reduce_(y[1:].t())
    return y


def python_names(x):
    y = shmrt.inference_all_reduce(x, "max")
    z = x * 3
    shmrt.all_reduce(z, "min")
    return shmrt.all_reduce(y + z)


def transposed(x):
    return torch.ops.deepspeed.inference_all_reduce(x.t()).relu()


FUNCTIONS = (plain, inplace, inplace_on_input, inplace_on_a_view, python_names, transposed)


def compare(function, dynamic: bool, dtype: str) -> list[str]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic)
    bad = []
    for seed, rows in enumerate((6, 9, 13) if dynamic else (8,)):
        x = term(shmrt.rank(), (rows, 16), dtype, seed)
        eager_input, compiled_input = x.clone(), x.clone()
        want, got = function(eager_input), compiled(compiled_input)
        if not same_bits(got, want):
            bad.append(f"{rows} rows: result differs by {(got - want).abs().max()}")
        if not same_bits(compiled_input, eager_input):
            bad.append(f"{rows} rows: the input was left otherwise than in eager")
    if dynamic and torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1:
        bad.append("recompiled for each shape")
    return bad


def dynamic_and_some_static():
    """Static shapes change how a graph is made, not what stands in it: two functions show that, the rest is long."""
    for function in FUNCTIONS:
        marks = () if function in (plain, inplace_on_a_view) else pytest.mark.long
        yield pytest.param(function, False, marks=marks, id=f"{function.__name__}-static")
        yield pytest.param(function, True, id=f"{function.__name__}-dynamic")


@pytest.mark.parametrize(("function", "dynamic"), dynamic_and_some_static())
def test_compiled_equals_eager(ranks, function, dynamic):
    assert ranks(2).call(compare, function, dynamic, "float32", timeout=300) == [[]] * 2


def test_compiled_bf16(ranks):
    assert ranks(2).call(compare, inplace, False, "bfloat16", timeout=300) == [[]] * 2


class Layer(torch.nn.Module):
    """Half of a feed-forward layer, split by rows, as a tensor-parallel model has it."""

    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(16, 32, bias=False)
        self.down = torch.nn.Linear(32, 16, bias=False)

    def forward(self, x):
        return x + torch.ops.deepspeed.inference_all_reduce_(self.down(torch.relu(self.up(x))))


def layer_outputs() -> tuple[bool, torch.Tensor]:
    torch._dynamo.reset()
    torch.manual_seed(shmrt.rank())
    layer, x = Layer(), term(0, (4, 16), "float32")
    compiled = torch.compile(layer, fullgraph=True)
    with torch.no_grad():
        want, got = layer(x), compiled(x)
    return torch.allclose(got, want, atol=1e-6), got


def test_a_layer_in_inference(ranks):
    (ok0, out0), (ok1, out1) = ranks(2).call(layer_outputs, timeout=300)
    assert ok0 and ok1
    assert same_bits(out0, out1)


def layer_gradients() -> float:
    """The largest difference between the gradients of the compiled and of the eager layer."""
    torch._dynamo.reset()
    torch.manual_seed(shmrt.rank())
    layer, x = Layer(), term(0, (4, 16), "float32")
    found = []
    for module in (layer, torch.compile(layer, fullgraph=True)):
        layer.zero_grad()
        module(x).square().sum().backward()
        found.append([p.grad.clone() for p in layer.parameters()])
    assert all(g.abs().max() > 0 for g in found[0])
    return max((a - b).abs().max().item() for a, b in zip(*found, strict=True))


def test_gradients_through_a_compiled_layer(ranks):
    assert max(ranks(2).call(layer_gradients, timeout=300)) < 1e-4


def compiled_refusal() -> str:
    torch._dynamo.reset()
    compiled = torch.compile(plain, fullgraph=True)
    try:
        compiled(torch.ones(3, dtype=torch.complex64))
        return "not refused"
    except Exception as error:
        return str(error)


def test_a_bad_dtype_is_refused_while_compiling(ranks):
    for text in ranks(2).call(compiled_refusal, timeout=300):
        assert "complex64" in text and "bfloat16" in text


def test_meta_reports_the_same_strides_as_the_work(ranks):
    assert ranks(2).call(strides_of_both) == [[]] * 2


def strides_of_both() -> list[str]:
    bad = []
    for x in (
        torch.ones(4, 6).t(),
        torch.ones(4, 6)[:, ::2],
        torch.ones(2, 3, 4, 4)[:, 1:],
        torch.ones(3, 1, dtype=torch.int8),
    ):
        real = torch.ops.deepspeed.inference_all_reduce(x)
        meta = torch.ops.deepspeed.inference_all_reduce(x.to("meta").as_strided(x.size(), x.stride()))
        if real.stride() != meta.stride():
            bad.append(f"{tuple(x.shape)}: {real.stride()} and {meta.stride()}")
    return bad
