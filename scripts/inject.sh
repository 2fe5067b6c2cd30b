#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Lets each system call and allocation of the library and of shm-launch fail once; see tests/inject/inject.py.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
cmake --preset dev -DCMAKE_MAKE_PROGRAM="$PWD/.venv/bin/ninja" --log-level=WARNING
cmake --build --preset dev -j "$(nproc)" --target inject_rank inject_faults shm-launch
ctest --preset dev -R "inject.(all|messages)" -V --no-tests=error
