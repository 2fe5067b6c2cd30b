#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# accelerate.sh [RANKS [SCRIPT]]: on CPUs, accelerate starts several ranks through the mpirun on PATH (here Open MPI's
# hostfile; Intel MPI's has lines "HOST:RANKS"). MASTER_PORT: one that is free.
set -euo pipefail
n=${1:-2} script=${2:-$(dirname "$0")/all_reduce.py}
hosts=$(mktemp)
trap 'rm -f "$hosts"' EXIT
echo "localhost slots=$n" >"$hosts"
accelerate launch --cpu --num_machines 1 --num_processes "$n" --num_cpu_threads_per_process 1 \
    --mixed_precision no --dynamo_backend no --mpirun_hostfile "$hosts" \
    --main_process_port "${MASTER_PORT:-29579}" "$script"
