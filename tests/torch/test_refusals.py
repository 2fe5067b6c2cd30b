# SPDX-License-Identifier: Apache-2.0
"""Bad input is refused in words, before anything is shared, and everything stays usable."""

import errno

import pytest
import shmrt
import torch
from reference import DTYPES, expected, same_bits, term

INPLACE = "inference_all_reduce_"
PLAIN = "inference_all_reduce"


def refusal(work) -> tuple[int, str]:
    """The code and text of the Error that work() raises; afterwards a sum must still be right."""
    try:
        work()
    except shmrt.Error as error:
        outcome = error.code, str(error)
    else:
        return 0, "not refused"
    ok = same_bits(
        torch.ops.deepspeed.inference_all_reduce(term(shmrt.rank(), (9,), "float32")),
        expected(shmrt.size(), (9,), "float32"),
    )
    return outcome if ok else (0, "refused, and then unusable")


def refuse_dtype(dtype: str, name: str) -> tuple[int, str]:
    tensor = torch.zeros(4, dtype=torch.float32).to(getattr(torch, dtype))
    return refusal(lambda: getattr(torch.ops.deepspeed, name)(tensor))


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "bool", "float8_e4m3fn", "float8_e5m2", "uint16"])
def test_a_dtype_that_is_not_reduced(ranks, dtype):
    for name in (PLAIN, INPLACE):
        for code, text in ranks(2).call(refuse_dtype, dtype, name):
            assert code == errno.ENOTSUP
            assert dtype in text and name in text
            assert all(other in text for other in DTYPES)


def refuse_kind(kind: str, name: str) -> tuple[int, str]:
    make = {
        "sparse": lambda: torch.ones(3).to_sparse(),
        "mkldnn": lambda: torch.ones(3, 3).to_mkldnn(),
        "quantized": lambda: torch._empty_affine_quantized([3], scale=1.0, zero_point=0, dtype=torch.qint8),
    }
    tensor = make[kind]()
    return refusal(lambda: getattr(torch.ops.deepspeed, name)(tensor))


@pytest.mark.parametrize("kind, word", [("sparse", "Sparse"), ("mkldnn", "Mkldnn"), ("quantized", "qint8")])
def test_a_layout_that_is_not_reduced(ranks, kind, word):
    for name in (PLAIN, INPLACE):
        for code, text in ranks(2).call(refuse_kind, kind, name):
            assert code == errno.ENOTSUP
            assert word in text and "CPU" in text


def test_cuda_has_a_kernel_that_refuses():
    """No GPU here: the dispatcher must at least know where a CUDA tensor would go."""
    for operator in ("deepspeed::inference_all_reduce", "deepspeed::inference_all_reduce_", "shmrt::all_reduce_"):
        for key in ("CUDA", "XPU", "MPS", "PrivateUse1"):
            assert torch._C._dispatch_has_computed_kernel_for_dispatch_key(operator, key)


def test_meta_tensors_have_a_shape_and_no_sum():
    """On the device meta there is no data: the shape comes out, and a bad dtype is refused there too."""
    meta = torch.empty(3, 4, device="meta").t()
    out = torch.ops.deepspeed.inference_all_reduce(meta)
    assert out.device.type == "meta" and out.shape == (4, 3) and out.stride() == meta.stride()
    assert torch.ops.deepspeed.inference_all_reduce_(meta) is meta
    with pytest.raises(shmrt.Error, match="complex64"):
        torch.ops.deepspeed.inference_all_reduce(torch.empty(3, dtype=torch.complex64, device="meta"))


def refuse_expanded() -> list[tuple[int, str]]:
    base = torch.zeros(10)
    overlapping = [base[:1].expand(4), base[:5].expand(3, 5), base.as_strided((3, 3), (1, 1))]
    found = [refusal(lambda t=t: torch.ops.deepspeed.inference_all_reduce_(t)) for t in overlapping]
    return found


def test_an_expanded_tensor_in_place(ranks):
    for refusals in ranks(2).call(refuse_expanded):
        for code, text in refusals:
            assert code == errno.EINVAL
            assert "share memory" in text and "strides" in text


def refuse_operation(op: str, dtype: str) -> tuple[int, str]:
    return refusal(lambda: shmrt.all_reduce(torch.ones(3, dtype=getattr(torch, dtype)), op))


def test_an_unknown_operation(ranks):
    for code, text in ranks(2).call(refuse_operation, "mean", "float32"):
        assert code == errno.EINVAL
        assert '"mean"' in text and "sum, min, max, prod, avg" in text


def test_the_average_of_integers(ranks):
    for code, text in ranks(2).call(refuse_operation, "avg", "int32"):
        assert code in (errno.EINVAL, errno.ENOTSUP)
        assert "avg" in text and "int32" in text


def before_init() -> list[str]:
    texts = []
    calls = (
        lambda: torch.ops.deepspeed.inference_all_reduce(torch.ones(3)),
        lambda: torch.ops.deepspeed.inference_all_reduce_(torch.ones(3)),
        lambda: shmrt.all_reduce(torch.ones(3)),
        lambda: shmrt.all_reduce(torch.ones(4, 4).t()),
        shmrt.barrier,
        shmrt.rank,
        shmrt.size,
        shmrt.stats,
        shmrt.report,
    )
    for call in calls:
        try:
            call()
            texts.append("no error")
        except shmrt.Error as error:
            texts.append(str(error) if error.code == errno.ENOTCONN else f"code {error.code}")
    return texts


def test_before_init(fresh_ranks):
    (texts,) = fresh_ranks(1).call(before_init)
    assert all("shmrt.init()" in text for text in texts), texts
