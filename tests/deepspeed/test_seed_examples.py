# SPDX-License-Identifier: Apache-2.0
"""The six examples of the request that the operators came from, as they were written, with DeepSpeed itself.

SHMRT_DEEPSPEED=1 is in the environment. Nothing else names shmrt before it is asked what ran.
"""

import os
from collections import Counter

import deepspeed
import pytest
import torch
from reference import combine, same_bits


def set_up(size: int) -> None:
    rank = int(os.environ["RANK"])
    os.environ["LOCAL_SIZE"] = str(size)
    os.environ["MASTER_ADDR"] = "localhost"
    # MASTER_PORT is 29500 in the text. It is a free one of the pool here, for more jobs on the machine.
    deepspeed.init_distributed(rank=rank, world_size=size)


def seeded(rank: int, *shape: int, dtype: torch.dtype) -> torch.Tensor:
    torch.manual_seed(rank)
    return torch.randn(*shape, dtype=dtype)


def over_ranks(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return combine([seeded(r, *shape, dtype=dtype) for r in range(deepspeed.comm.get_world_size())])


def example_1() -> bool:
    torch.manual_seed(deepspeed.comm.get_rank())
    input_tensor = torch.randn(512, 512, dtype=torch.bfloat16)
    before = input_tensor.clone()
    output_tensor = torch.ops.deepspeed.inference_all_reduce(input_tensor)
    # input_tensor remains unchanged, output_tensor has reduced values
    return same_bits(input_tensor, before) and same_bits(output_tensor, over_ranks(512, 512, dtype=torch.bfloat16))


def example_2() -> bool:
    torch.manual_seed(deepspeed.comm.get_rank())
    tensor = torch.randn(1024, 1024, dtype=torch.bfloat16)
    torch.ops.deepspeed.inference_all_reduce_(tensor)
    # tensor now contains the allreduced values
    return same_bits(tensor, over_ranks(1024, 1024, dtype=torch.bfloat16))


def example_3() -> bool:
    @torch.compile
    def inference_with_allreduce(activations):
        # Functionalization converts in-place to out-of-place automatically
        output = torch.ops.deepspeed.inference_all_reduce(activations)
        return output * 2.0

    compiled_fn = inference_with_allreduce
    torch.manual_seed(deepspeed.comm.get_rank())
    result = compiled_fn(torch.randn(256, 256, dtype=torch.float32))
    return same_bits(result, over_ranks(256, 256, dtype=torch.float32) * 2.0)


class DistributedInferenceLayer(torch.nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.linear = torch.nn.Linear(hidden_size, hidden_size)

    def forward(self, x):
        # Standard PyTorch operation
        x = self.linear(x)
        # DeepSpeed SHM allreduce
        x = torch.ops.deepspeed.inference_all_reduce(x)
        return torch.relu(x)


def example_4() -> bool:
    torch.manual_seed(0)
    layer = DistributedInferenceLayer(512)
    try:
        layer(torch.randn(32, 512, dtype=torch.bfloat16))
        return False
    except RuntimeError as error:
        if "dtype" not in str(error):
            raise
    layer = layer.to(torch.bfloat16)
    x = torch.randn(32, 512, dtype=torch.bfloat16)
    output = layer(x)
    # The same weights and input on every rank: the sum of equal terms.
    return same_bits(output, torch.relu(combine([layer.linear(x)] * deepspeed.comm.get_world_size())))


def example_5() -> bool:
    torch.manual_seed(deepspeed.comm.get_rank())
    non_contiguous = torch.randn(128, 128).t()  # Transpose creates non-contiguous
    # The operator automatically makes it contiguous before processing
    torch.ops.deepspeed.inference_all_reduce_(non_contiguous)
    return not non_contiguous.is_contiguous() and same_bits(
        non_contiguous, over_ranks(128, 128, dtype=torch.float32).t()
    )


def example_6() -> bool:
    def safe_allreduce(tensor):
        if tensor.dtype in [torch.bfloat16, torch.float16, torch.float32]:
            if tensor.device.type == "cpu":
                return torch.ops.deepspeed.inference_all_reduce(tensor)
        # Fallback to standard communication
        return deepspeed.comm.all_reduce(tensor)

    right = True
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        result = safe_allreduce(seeded(deepspeed.comm.get_rank(), 100, dtype=dtype))
        right = right and same_bits(result, over_ranks(100, dtype=dtype))
    # In place, over Gloo, which adds in an order of its own.
    double = seeded(deepspeed.comm.get_rank(), 100, dtype=torch.float64)
    safe_allreduce(double)
    return right and torch.allclose(double, over_ranks(100, dtype=torch.float64), rtol=1e-12)


def what_ran() -> tuple[Counter, bool]:
    import shmrt

    calls = Counter(
        {name.rpartition(":")[2]: n for name, n in shmrt.stats()["operators"].items() if "deepspeed" in name}
    )
    with open("/proc/self/maps") as maps:
        return calls, "deepspeed_shm_comm" in maps.read()


EXAMPLES = (example_1, example_2, example_3, example_4, example_5, example_6)


@pytest.mark.parametrize("size", [3, pytest.param(8, marks=pytest.mark.long)])
def test_the_examples(deepspeed_ranks, size):
    """Eight ranks as in the text, and three, which is what a small machine does quickly."""
    pool = deepspeed_ranks(size)
    pool.call(set_up, size)
    earlier = pool.call(what_ran)
    for example in EXAMPLES:
        assert pool.call(example, timeout=400) == [True] * size, example.__name__
    for (before, _), (after, theirs_is_loaded) in zip(earlier, pool.call(what_ran), strict=True):
        assert after - before == {"inference_all_reduce": 6, "inference_all_reduce_": 2}
        assert not theirs_is_loaded
    assert all("LOCAL_SIZE" not in pool.output(r) for r in range(size))
