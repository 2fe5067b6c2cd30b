#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# slurm.sh [RANKS [SCRIPT]]: with Slurm, in an allocation: srun -n RANKS --cpus-per-task=CPUS --cpu-bind=cores python SCRIPT
# Where there is no srun, the variables that it would set, and the ranks by hand.
set -euo pipefail
n=${1:-2} script=${2:-$(dirname "$0")/all_reduce.py}
if command -v srun >/dev/null; then
    exec srun -n "$n" python "$script"
fi
export SLURM_JOB_ID=$$ SLURM_STEP_ID=0 SLURM_NTASKS=$n SLURM_NNODES=1 SLURM_STEP_NUM_NODES=1 SLURM_NODEID=0
export SLURM_STEP_NODELIST=localhost SLURM_STEP_TASKS_PER_NODE=$n
seq 0 $((n - 1)) | xargs -P "$n" -I RANK env SLURM_PROCID=RANK SLURM_LOCALID=RANK python "$script"
