#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shm-launch.sh [RANKS [SCRIPT]]: each rank on cores and memory of its own.
set -euo pipefail
exec shm-launch -n "${1:-2}" python "${2:-$(dirname "$0")/all_reduce.py}"
