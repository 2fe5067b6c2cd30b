# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed's, vLLM's and SGLang's ways in: what is refused, in the words of docs/errors.md."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types

import pytest
import torch
from error_table import assert_documented
from python_errors import said


def load() -> None:
    """As for the first time; what it finds of DeepSpeed is the caller's matter."""
    sys.modules.pop("shmrt.deepspeed", None)
    importlib.import_module("shmrt.deepspeed")


def without_deepspeed() -> tuple[str, str]:
    find = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "deepspeed" else find(name, *rest)
    try:
        return said(load)
    finally:
        importlib.util.find_spec = find


def with_another_deepspeed() -> tuple[str, str]:
    """One that has none of what shmrt replaces."""
    package = types.ModuleType("deepspeed")
    package.__version__, package.__path__ = "9.9", []
    package.__spec__ = importlib.machinery.ModuleSpec("deepspeed", None)
    sys.modules["deepspeed"] = package
    try:
        return said(load)
    finally:
        del sys.modules["deepspeed"]


@pytest.mark.parametrize(
    ("words", "variable", "load_it"),
    [
        ("shmrt.deepspeed needs DeepSpeed, which is not installed here", None, without_deepspeed),
        ("was imported where SHMRT_DEEPSPEED=0 forbids it", "0", with_another_deepspeed),
        ("can't stand in for the operators of DeepSpeed", None, with_another_deepspeed),
    ],
)
def test_imports(two_ranks, words, variable, load_it):
    (code, text) = two_ranks(SHMRT_DEEPSPEED=variable).call(load_it, only=[0], timeout=60)[0]
    assert_documented(words, text, code)


def calls() -> list[tuple[str, str]]:
    import shmrt.compat.sglang
    import shmrt.compat.vllm
    from shmrt import _deepspeed

    shmrt.init()
    assert shmrt.compat.vllm.define() and shmrt.compat.sglang.define()
    vllm = torch.ops._C
    handle = vllm.init_shm_manager("one", 1, 0, 1)
    found = [
        said(lambda: _deepspeed._initialize(9, 0)),
        said(lambda: vllm.shm_allreduce(77, torch.ones(2))),
        said(lambda: vllm.join_shm_manager(handle, "other")),
        said(lambda: vllm.shm_allreduce(handle, torch.ones(2))),
        said(lambda: shmrt.compat.vllm._code(torch.ones(2, dtype=torch.complex64))),
        said(lambda: torch.ops.sgl_kernel.shm_allreduce(torch.ones(2), 9)),
    ]
    assert shmrt.all_reduce(torch.ones(1)).item() == 2
    shmrt.finalize()
    return found


def test_calls(two_ranks):
    words = (
        "DeepSpeed calls this rank {rank} of {size}, but",
        "is none of the {count} that init_shm_manager has made",
        "manager {handle} is that of {name}, not of",
        "has not been joined: call join_shm_manager on every rank",
        "{dtype} can't be sent; what can:",
        "as ReduceOp numbers them",
    )
    for found in two_ranks().call(calls, timeout=60):
        for part, (code, text) in zip(words, found, strict=True):
            assert_documented(part, text, code)
