#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mpich.sh [RANKS [SCRIPT]]: MPICH's mpiexec, and Intel MPI's, which has the same launcher (-bind-to numa on a server).
set -euo pipefail
exec mpiexec.hydra -n "${1:-2}" python "${2:-$(dirname "$0")/all_reduce.py}"
