# SPDX-License-Identifier: Apache-2.0
"""All-reduce, residual and norm as one operator: against the three steps one by one in eager PyTorch."""

import errno

import pytest
import shmrt
import torch
from reference import expected, same_bits, term
from torch.library import opcheck

DTYPES = ("float32", "bfloat16", "float16")
NORMS = ("rms", "layer", "layer without bias")
EPS = 1e-5
ops = torch.ops.shmrt


def llama_rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """As LlamaRMSNorm of transformers rounds: to the dtype before the weight, and after it."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


def shared(shape: tuple[int, ...], dtype: str, seed: int) -> torch.Tensor:
    """What all ranks hold alike."""
    return term(99, shape, dtype, seed)


class Case:
    """The arguments of one call and what must come out of it."""

    def __init__(self, norm: str, dtype: str, shape: tuple[int, ...], with_residual: bool, seed: int = 0) -> None:
        self.norm = norm
        self.x = term(shmrt.rank(), shape, dtype, seed)
        self.residual = shared(shape, dtype, seed + 1) if with_residual else None
        self.weight, self.bias = (shared(shape[-1:], dtype, seed + i) for i in (2, 3))
        if norm != "layer":
            self.bias = None
        self.sum = expected(shmrt.size(), shape, dtype, seed=seed)
        if with_residual:
            self.sum = self.sum + self.residual
        if norm == "rms":
            self.want = llama_rms_norm(self.sum, self.weight, EPS)
        else:
            self.want = torch.nn.functional.layer_norm(self.sum, shape[-1:], self.weight, self.bias, EPS)

    def plain(self):
        if self.norm == "rms":
            return ops.all_reduce_add_rms_norm(self.x, self.residual, self.weight, EPS)
        return ops.all_reduce_add_layer_norm(self.x, self.residual, self.weight, self.bias, EPS)

    def inplace(self):
        if self.norm == "rms":
            return ops.all_reduce_add_rms_norm_(self.x, self.residual, self.weight, EPS)
        return ops.all_reduce_add_layer_norm_(self.x, self.residual, self.weight, self.bias, EPS)

    def differences(self, out: torch.Tensor, total: torch.Tensor) -> list[str]:
        bad = [] if same_bits(total, self.sum) else ["the sum has other bits"]
        # The scale is a sum in another order: a value next to a tie may be rounded the other way.
        close = {"float32": 2e-6, "bfloat16": 2**-7, "float16": 2**-10}[str(self.x.dtype).removeprefix("torch.")]
        error = (out.double() - self.want.double()).abs() - close * self.want.double().abs()
        if self.x.numel() and (bad_by := error.max().item()) > close:
            bad.append(f"the norm is off by {bad_by}")
        if out.dtype != self.x.dtype or out.shape != self.x.shape or not out.is_contiguous():
            bad.append(f"the norm is {out.dtype} {tuple(out.shape)} {out.stride()}")
        return bad


def check_values(norm: str, dtype: str) -> list[str]:
    bad = []
    for seed, shape in enumerate(((7,), (1, 4096), (5, 33), (2, 3, 64), (40, 1024), (0, 8), (3, 0))):
        for with_residual in (True, False):
            case = Case(norm, dtype, shape, with_residual, seed)
            kept = case.x.clone()
            bad += [f"{shape}: {text}" for text in case.differences(*case.plain())]
            if with_residual:
                before = case.residual.clone(), case.residual._version
                out = case.inplace()
                bad += [f"{shape} in place: {text}" for text in case.differences(out, case.residual)]
                if case.residual._version != before[1] + 1:
                    bad.append("the version of the residual was not bumped")
            if not same_bits(case.x, kept):
                bad.append(f"{shape}: x was written to")
    return bad


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", NORMS)
def test_values(ranks, norm, dtype):
    for size in (1, 2, 3):
        assert ranks(size).call(check_values, norm, dtype) == [[]] * size


def check_layouts() -> list[str]:
    bad = []
    before = shmrt.stats()["fallbacks"].copy()
    for norm in NORMS:
        for name in ("x", "residual", "weight"):
            for inplace in (False, True):
                case = Case(norm, "float32", (6, 8), True)
                value = getattr(case, name)
                strided = torch.empty((*value.shape, 2))[..., 0].copy_(value)
                setattr(case, name, strided)
                out = case.inplace() if inplace else case.plain()
                result = (out, case.residual) if inplace else out
                bad += [f"{norm}, {name}, in place {inplace}: {text}" for text in case.differences(*result)]
    counted = {k: v - before.get(k, 0) for k, v in shmrt.stats()["fallbacks"].items() if "normed" in k}
    if list(counted.values()) != [18]:
        bad.append(f"counted {counted}")
    return bad


def test_strides_are_private(ranks):
    assert ranks(2).call(check_layouts) == [[]] * 2


def digests() -> tuple[torch.Tensor, torch.Tensor]:
    return Case("rms", "bfloat16", (65, 777), True).plain()


def test_all_ranks_get_the_same_bits(ranks):
    first, *others = ranks(3).call(digests)
    for other in others:
        assert same_bits(other[0], first[0]) and same_bits(other[1], first[1])


def check_calls_are_counted() -> dict[str, int]:
    before = shmrt.stats()["operators"]
    for norm in NORMS:
        Case(norm, "float32", (2, 4), True).plain()
        Case(norm, "float32", (2, 4), True).inplace()
    return {k: v - before[k] for k, v in shmrt.stats()["operators"].items() if v != before[k]}


def test_calls_are_counted(ranks):
    for found in ranks(2).call(check_calls_are_counted):
        assert found == {
            "shmrt::all_reduce_add_rms_norm": 1,
            "shmrt::all_reduce_add_rms_norm_": 1,
            "shmrt::all_reduce_add_layer_norm": 2,
            "shmrt::all_reduce_add_layer_norm_": 2,
        }


def run_opcheck(norm: str) -> list[str]:
    bad = []
    for shape in ((4, 8), (2, 3, 5), (0, 4), (9,)):
        for dtype in ("float32", "bfloat16"):
            case = Case(norm, dtype, shape, True)
            tail = (case.weight, EPS) if norm == "rms" else (case.weight, case.bias, EPS)
            kind = "rms" if norm == "rms" else "layer"
            for name, residuals in (("", (case.residual, None)), ("_", (case.residual,))):
                operator = getattr(ops, f"all_reduce_add_{kind}_norm{name}").default
                for residual in residuals:
                    results = opcheck(operator, (case.x, residual, *tail), raise_exception=False)
                    bad += [f"{shape}{name}: {k}: {v}" for k, v in results.items() if v != "SUCCESS"]
    return bad


@pytest.mark.parametrize("norm", NORMS)
def test_opcheck(ranks, norm):
    assert ranks(1).call(run_opcheck, norm, timeout=300) == [[]]


def plain_layer(x, residual, weight, bias):
    out, total = ops.all_reduce_add_rms_norm(x * 2, residual, weight, EPS)
    out, total = ops.all_reduce_add_layer_norm(out, total, weight, bias, EPS)
    return out + 1, total


def inplace_layer(x, residual, weight, bias):
    out = ops.all_reduce_add_rms_norm_(x * 2, residual, weight, EPS)
    total = residual + 1
    return ops.all_reduce_add_layer_norm_(out, total, weight, bias, EPS) + 1, total


def compare_compiled(function, dynamic: bool, dtype: str) -> list[str]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic)
    bad = []
    for seed, rows in enumerate((6, 9, 13) if dynamic else (8,)):
        case = Case("layer", dtype, (rows, 16), True, seed)
        mine, theirs = case.residual.clone(), case.residual.clone()
        want = function(case.x, mine, case.weight, case.bias)
        got = compiled(case.x, theirs, case.weight, case.bias)
        for a, b in ((want[0], got[0]), (want[1], got[1]), (mine, theirs)):
            # x * 2 is exact, out + 1 is one rounding in both: the bits are the same
            if not same_bits(a, b):
                bad.append(f"{rows} rows: {(a - b).abs().max()}")
    if dynamic and torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1:
        bad.append("recompiled for each shape")
    return bad


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("function", [plain_layer, inplace_layer], ids=lambda f: f.__name__)
def test_compiled_equals_eager(ranks, function, dynamic):
    dtype = "float32" if dynamic else "bfloat16"
    assert ranks(2).call(compare_compiled, function, dynamic, dtype, timeout=300) == [[]] * 2


def refused(call) -> tuple[int, str]:
    try:
        call()
    except shmrt.Error as error:
        return error.code, str(error)
    return 0, "not refused"


def refusals(inplace: bool) -> dict[str, tuple[int, str]]:
    x, weight = torch.ones(2, 4), torch.ones(4)
    rms = ops.all_reduce_add_rms_norm_ if inplace else ops.all_reduce_add_rms_norm
    layer = ops.all_reduce_add_layer_norm_ if inplace else ops.all_reduce_add_layer_norm
    calls = {
        "float64": lambda: rms(x.double(), x.double(), weight.double(), EPS),
        "int32": lambda: rms(x.int(), x.int(), weight.int(), EPS),
        "complex64": lambda: rms(x.to(torch.complex64), x, weight, EPS),
        "mixed dtypes": lambda: rms(x.bfloat16(), x.bfloat16(), weight, EPS),
        "mixed devices": lambda: rms(x, x.to("meta"), weight, EPS),
        "scalar": lambda: rms(torch.ones(()), torch.ones(()), weight, EPS),
        "short weight": lambda: rms(x, x.clone(), torch.ones(3), EPS),
        "square weight": lambda: rms(x, x.clone(), torch.ones(4, 4), EPS),
        "short bias": lambda: layer(x, x.clone(), weight, torch.ones(3), EPS),
        "broadcast": lambda: rms(x, torch.ones(4), weight, EPS),
        "negative": lambda: rms(x, x.clone(), weight, -1.0),
        "sparse": lambda: rms(x.to_sparse(), x.to_sparse(), weight, EPS),
        "leaf": lambda: rms(x, x.clone(), torch.nn.Parameter(weight), EPS),
    }
    if inplace:
        calls["expanded"] = lambda: rms(x, torch.ones(1, 4).expand(2, 4), weight, EPS)
    found = {name: refused(call) for name, call in calls.items()}
    if Case("rms", "float32", (2, 4), True).differences(*Case("rms", "float32", (2, 4), True).plain()):
        found["afterwards"] = 0, "unusable"
    return found


WORDS = {
    "float64": (errno.ENOTSUP, "float64"),
    "int32": (errno.ENOTSUP, "int32"),
    "complex64": (errno.ENOTSUP, "complex64"),
    "mixed dtypes": (errno.EINVAL, "weight is float32"),
    "mixed devices": (errno.EINVAL, "residual is float32 of shape [2, 4] on meta"),
    "scalar": (errno.EINVAL, "scalar"),
    "short weight": (errno.EINVAL, "weight is float32 of shape [3]"),
    "square weight": (errno.EINVAL, "weight is float32 of shape [4, 4]"),
    "short bias": (errno.EINVAL, "bias is float32 of shape [3]"),
    "broadcast": (errno.EINVAL, "without broadcasting"),
    "negative": (errno.EINVAL, "-1"),
    "sparse": (errno.ENOTSUP, "Sparse"),
    "leaf": (errno.ENOTSUP, "torch.no_grad()"),
    "expanded": (errno.EINVAL, "share memory"),
}


@pytest.mark.parametrize("inplace", [False, True])
def test_what_is_refused(ranks, inplace):
    for found in ranks(2).call(refusals, inplace):
        assert len(found) == len(WORDS) - (not inplace)
        for name, (code, text) in found.items():
            assert code == WORDS[name][0] and WORDS[name][1] in text, (name, code, text)
            assert "all_reduce_add_" in text


def inference_values() -> list[str]:
    """Parameters are leaves that require a gradient, but not where none is asked for."""
    case = Case("rms", "float32", (2, 4), True)
    case.weight = torch.nn.Parameter(case.weight)
    with torch.no_grad():
        bad = case.differences(*case.plain())
    with torch.inference_mode():
        return bad + case.differences(case.inplace(), case.residual)


def test_parameters_in_inference(ranks):
    assert ranks(2).call(inference_values) == [[]] * 2


def test_meta_tensors_have_shapes_only():
    x = torch.empty(3, 4, 8, device="meta", dtype=torch.bfloat16)
    weight = torch.empty(8, device="meta", dtype=torch.bfloat16)
    for tensor in ops.all_reduce_add_rms_norm(x.transpose(0, 1), None, weight, EPS):
        assert tensor.device.type == "meta" and tensor.shape == (4, 3, 8) and tensor.is_contiguous()
    assert ops.all_reduce_add_layer_norm_(x, x.clone(), weight, weight, EPS).shape == x.shape
    with pytest.raises(shmrt.Error, match="broadcasting"):
        ops.all_reduce_add_rms_norm(x, x[0], weight, EPS)


def before_init() -> list[tuple[int, str]]:
    x, weight = torch.ones(2, 4), torch.ones(4)
    return [
        refused(lambda: ops.all_reduce_add_rms_norm(x, None, weight, EPS)),
        refused(lambda: ops.all_reduce_add_layer_norm_(x, x.clone(), weight, None, EPS)),
    ]


def test_before_init(fresh_ranks):
    for code, text in fresh_ranks(1).call(before_init)[0]:
        assert code == errno.ENOTCONN and "shmrt.init()" in text
