# SPDX-License-Identifier: Apache-2.0
"""Compiles a tensor-parallel model ahead of time, for infer.cpp, which runs it without Python.

    python examples/aoti/export.py --ranks 2 FOLDER

All ranks run the same program on other weights. So it is compiled once, in one process and with
no rank to talk to, since exporting only asks the all-reduce for shapes. FOLDER then has model.pt2,
the weights of each rank, an input, and what the unsharded model makes of it.
"""

import argparse
from pathlib import Path

import shmrt  # noqa: F401  defines the operators
import torch
from torch import nn

HIDDEN, FEED_FORWARD, LAYERS, TOKENS = 64, 256, 2, 12


class FeedForward(nn.Module):
    """A norm, two matrices split by columns, one split by rows, and the sum over ranks."""

    def __init__(self, hidden: int, feed_forward: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(hidden, eps=1e-6)
        self.gate = nn.Linear(hidden, feed_forward, bias=False)
        self.up = nn.Linear(hidden, feed_forward, bias=False)
        self.down = nn.Linear(feed_forward, hidden, bias=False)

    def forward(self, x: torch.Tensor, all_reduce) -> torch.Tensor:
        y = self.norm(x)
        return x + all_reduce(self.down(nn.functional.silu(self.gate(y)) * self.up(y)))


class Model(nn.Module):
    def __init__(self, feed_forward: int, all_reduce) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FeedForward(HIDDEN, feed_forward) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(HIDDEN, eps=1e-6)
        self.all_reduce = all_reduce

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, self.all_reduce)
        return self.norm(x)


def weights_of_rank(whole: dict[str, torch.Tensor], rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """nn.Linear keeps its matrix transposed: gate and up are split by dimension 0, down by 1."""

    def part(name: str, weight: torch.Tensor) -> torch.Tensor:
        if ".norm" in name or name.startswith("norm"):
            return weight
        # A copy: load_constants() takes a view's memory from its start, and torch.save() all of it.
        return weight.chunk(ranks, dim=1 if ".down." in name else 0)[rank].clone(memory_format=torch.contiguous_format)

    return {name: part(name, weight) for name, weight in whole.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compiles a model for infer.cpp.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ranks", type=int, default=2, choices=(1, 2, 4, 8))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(1)
    whole = Model(FEED_FORWARD, all_reduce=lambda x: x).eval().requires_grad_(False)
    for name, weight in whole.named_parameters():
        if "norm" in name:
            weight.uniform_(0.5, 1.5)
    x = torch.randn(TOKENS, HIDDEN)

    shard = Model(FEED_FORWARD // args.ranks, torch.ops.deepspeed.inference_all_reduce).eval().requires_grad_(False)
    shard.load_state_dict(weights_of_rank(whole.state_dict(), 0, args.ranks))
    tokens = torch.export.Dim("tokens", min=2, max=4096)
    exported = torch.export.export(shard, (x,), dynamic_shapes={"x": {0: tokens}})
    package = torch._inductor.aoti_compile_and_package(
        exported,
        package_path=str(args.folder / "model.pt2"),
        # Each rank brings its own weights.
        inductor_configs={"aot_inductor.package_constants_in_so": False},
    )
    for rank in range(args.ranks):
        torch.save(weights_of_rank(whole.state_dict(), rank, args.ranks), args.folder / f"rank-{rank}.pt")
    torch.save({"x": x, "expected": whole(x)}, args.folder / "example.pt")
    print(f"{package}, for {args.ranks} ranks")


if __name__ == "__main__":
    main()
