#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# deepspeed.sh [RANKS [SCRIPT]]: DeepSpeed's launcher on CPUs. --bind_cores_to_rank, with numactl, gives each rank its
# share of the cores. MASTER_PORT: one that is free.
set -euo pipefail
export DS_ACCELERATOR=cpu
exec deepspeed --num_accelerators "${1:-2}" --master_port "${MASTER_PORT:-29578}" \
    "${2:-$(dirname "$0")/all_reduce.py}"
