# SPDX-License-Identifier: Apache-2.0
"""torch.export keeps every operator, through a file and back; AOTInductor runs them all."""

from pathlib import Path

import pytest
import shmrt
import torch
from rankpool import Ranks
from reference import same_bits, term
from test_fused_pass import Stack, fusing
from torch import nn

HERE = Path(__file__).parent
SHAPE = (6, 64)


class Everything(nn.Module):
    """A call of each operator. The seeds make the weights the same on all ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(term(9, SHAPE[1:], "float32", 1), requires_grad=False)
        self.bias = nn.Parameter(term(9, SHAPE[1:], "float32", 2), requires_grad=False)

    def forward(self, x):
        plain = torch.ops.deepspeed.inference_all_reduce(x * 2)
        inside = x + 1
        torch.ops.deepspeed.inference_all_reduce_(inside)
        largest = torch.ops.shmrt.all_reduce(x, "max")
        torch.ops.shmrt.all_reduce_(largest, "avg")
        rms, total = torch.ops.shmrt.all_reduce_add_rms_norm(x, largest, self.weight, 1e-6)
        layer, _ = torch.ops.shmrt.all_reduce_add_layer_norm(total, None, self.weight, self.bias, 1e-6)
        return plain, inside, largest, rms, total, layer


IN_GRAPH = {
    "deepspeed.inference_all_reduce.default",
    "deepspeed.inference_all_reduce_.default",
    "shmrt.all_reduce.default",
    "shmrt.all_reduce_.default",
    "shmrt.all_reduce_add_rms_norm.default",
    "shmrt.all_reduce_add_layer_norm.default",
}


def exported() -> torch.export.ExportedProgram:
    rows = torch.export.Dim("rows", min=2, max=100)
    return torch.export.export(Everything(), (term(0, SHAPE, "float32"),), dynamic_shapes={"x": {0: rows}})


def ours(program: torch.export.ExportedProgram) -> list[str]:
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    return [name for name in names if name.startswith(("shmrt.", "deepspeed."))]


@pytest.fixture(scope="module")
def ranks():
    pool = Ranks(2, {"PYTHONPATH": str(HERE)})
    pool.call(shmrt.init, timeout=300)
    yield pool
    pool.close()


def differs_from_eager(run, exact: bool) -> list[str]:
    """What a compiled or loaded program makes otherwise than eager, for two numbers of rows."""
    bad = []
    for rows in (SHAPE[0], 11):
        x = term(shmrt.rank(), (rows, SHAPE[1]), "float32", rows)
        for number, (got, want) in enumerate(zip(run(x), Everything()(x), strict=True)):
            close = same_bits(got, want) if exact else torch.allclose(got, want, rtol=1e-5, atol=1e-5)
            if not close:
                bad.append(f"{rows} rows, output {number}: {(got - want).abs().max()}")
    return bad


def run_loaded(path: str) -> list[str]:
    return differs_from_eager(torch.export.load(path).module(), exact=True)


def run_compiled(path: str) -> list[str]:
    return differs_from_eager(torch._inductor.aoti_load_package(path), exact=False)


def test_every_operator_stays_through_a_file(ranks, tmp_path):
    program, path = exported(), str(tmp_path / "program.pt2")
    assert set(ours(program)) == IN_GRAPH
    torch.export.save(program, path)
    assert ours(torch.export.load(path)) == ours(program)
    assert ranks.call(run_loaded, path, timeout=300) == [[], []]


def test_decompositions_leave_the_operators_out_of_place():
    names = ours(exported().run_decompositions())
    assert names and not [name for name in names if name.endswith("_.default")]


@pytest.mark.long
def test_aotinductor_runs_every_operator(ranks, tmp_path):
    path = str(tmp_path / "model.pt2")
    torch._inductor.aoti_compile_and_package(exported(), package_path=path)
    assert ranks.call(run_compiled, path, timeout=600) == [[], []]


def run_fused(path: str) -> tuple[float, int]:
    """The largest difference from eager, and how many fused calls it made."""
    name = "shmrt::all_reduce_add_rms_norm"
    x, stack, before = term(9, (2, 5, 64), "float32"), Stack("llama", "float32"), shmrt.stats()["operators"][name]
    with torch.no_grad():
        want = stack(x)
    got = torch._inductor.aoti_load_package(path)(x)
    error = max((g - w).abs().max().item() for g, w in zip(got, want, strict=True))
    return error, shmrt.stats()["operators"][name] - before


@pytest.mark.long
def test_norms_are_fused_ahead_of_time(ranks, tmp_path):
    path = str(tmp_path / "model.pt2")
    with fusing(), torch.no_grad():
        program = torch.export.export(Stack("llama", "float32"), (term(9, (2, 5, 64), "float32"),))
        torch._inductor.aoti_compile_and_package(program, package_path=path)
    for error, calls in ranks.call(run_fused, path, timeout=600):
        assert error < 1e-4 and calls == 4
