#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kills.sh KILLS JOBS [SEED]: so many jobs of which one rank is killed, a quarter as many of which one is stopped, and
# so many that are killed whole. Fails when a rank hangs, is told the wrong name or a wrong result, or when anything is
# left behind, or when fewer than 99 of a hundred errors come within a second. Then, where ptrace is allowed, a rank that is killed after each instruction in some hundred places.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
export SHMRT_TUNE=off # nothing of the user's cache folder
kills=${1:?kills.sh KILLS JOBS [SEED]}
jobs=${2:?kills.sh KILLS JOBS [SEED]}
seed=${3:-$(date +%s)}
tests=build/release/tests/stress

cmake --preset release -DCMAKE_MAKE_PROGRAM="$PWD/.venv/bin/ninja" --log-level=WARNING &&
    cmake --build --preset release -j "$(nproc)" --target stress_kills stress_jobs stress_step || exit 1

status=0
"$tests/stress_kills" --kills "$kills" --seed "$seed" --at-once 4 --within 99 || status=1
"$tests/stress_kills" --stop 1 --kills $((kills / 4)) --seed "$seed" --at-once 14 || status=1
"$tests/stress_jobs" --jobs "$jobs" --seed "$seed" || status=1
"$tests/stress_step"
code=$?
[[ $code -eq 0 || $code -eq 77 ]] || status=1
exit $status
