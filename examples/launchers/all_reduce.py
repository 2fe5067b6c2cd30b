# SPDX-License-Identifier: Apache-2.0
"""One all-reduce between all ranks, checked. The scripts beside it run it under each launcher."""

import shmrt
import torch

shmrt.init()  # rank and size are the launcher's
rank, size = shmrt.rank(), shmrt.size()

x = torch.arange(1000, dtype=torch.float32) + rank
shmrt.all_reduce(x)
expected = size * torch.arange(1000, dtype=torch.float32) + size * (size - 1) / 2
if not torch.equal(x, expected):
    raise SystemExit(f"rank {rank} of {size}: wrong sum")
print(f"rank {rank} of {size}: right", flush=True)
shmrt.finalize()
