#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# openmpi.sh [RANKS [SCRIPT]]: Open MPI's mpirun binds a rank to one core unless told otherwise; on a server
# --map-by numa --bind-to numa gives each a node. On several machines also: --hostfile HOSTS -x MASTER_ADDR=HOST-OF-RANK-0
set -euo pipefail
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
exec "$mpirun" -n "${1:-2}" --oversubscribe --bind-to none python "${2:-$(dirname "$0")/all_reduce.py}"
