#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shell.sh [RANKS [SCRIPT]]: no launcher at all. On a server, a rank for each NUMA node: numactl -N $i -m $i python ...
# MASTER_PORT: one that is free, and that no other job of yours on this machine has.
set -euo pipefail
n=${1:-2} script=${2:-$(dirname "$0")/all_reduce.py}
export WORLD_SIZE=$n MASTER_ADDR=127.0.0.1 MASTER_PORT=${MASTER_PORT:-29577}
ranks=()
for ((i = 0; i < n; i++)); do
    RANK=$i LOCAL_RANK=$i python "$script" &
    ranks+=($!)
done
status=0
for pid in "${ranks[@]}"; do
    wait "$pid" || status=$?
done
exit $status
