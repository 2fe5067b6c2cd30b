# SPDX-License-Identifier: Apache-2.0
"""The same through torch.distributed, whose backend "shmrt" is. The scripts beside it run it under each launcher."""

import shmrt
import torch
import torch.distributed as dist

shmrt.distributed_environment()  # what mpirun and srun do not set; elsewhere it changes nothing
dist.init_process_group("shmrt")
rank, size = dist.get_rank(), dist.get_world_size()

x = torch.arange(1000, dtype=torch.float32) + rank
dist.all_reduce(x)
expected = size * torch.arange(1000, dtype=torch.float32) + size * (size - 1) / 2
if not torch.equal(x, expected):
    raise SystemExit(f"rank {rank} of {size}: wrong sum")
print(f"rank {rank} of {size}: right", flush=True)
dist.destroy_process_group()
