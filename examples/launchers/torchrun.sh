#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# torchrun.sh [RANKS [SCRIPT]]: --standalone takes a free port. torchrun gives each rank one OpenMP thread unless
# OMP_NUM_THREADS says otherwise, and binds nothing.
set -euo pipefail
exec torchrun --standalone --nproc-per-node "${1:-2}" "${2:-$(dirname "$0")/all_reduce.py}"
