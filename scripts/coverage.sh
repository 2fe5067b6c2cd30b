#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Which lines of runtime/ and launcher/ the tests run: a build of its own (preset coverage), the C tests, the tests of
# shm-launch and of configurations. The table is build/coverage/lines.txt. Kernels of other CPUs can't run here and
# are left out, and so are failing system calls: what counts the lines does not bear failing allocations.
# COVERAGE_AGAIN=1 only looks at what earlier runs have counted.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
build=$PWD/build/coverage
jobs=$(nproc)
failed=0

scripts/setup-debian.sh requirements/long-debian.txt || exit 1
if [[ -z ${COVERAGE_AGAIN:-} ]]; then
    cmake --preset coverage --log-level=WARNING && cmake --build --preset coverage -j "$jobs" || exit 1
    find "$build" -name '*.gcda' -delete
    ctest --preset coverage -j "$((jobs + 1))" -LE long -E '^inject' || failed=1
    SHM_LAUNCH="$build/launcher/shm-launch" \
        python -m pytest -q -p no:cacheprovider tests/launcher tests/configs -m "not long" \
        --ignore tests/launcher/test_launch_containers.py || failed=1
fi

# Threads count without locks, so a count may be lost, or fall below 0, which gcovr would stumble over.
gcovr -r . --gcov-ignore-parse-errors --filter runtime/ --filter launcher/ --exclude 'runtime/kernels/(arm|riscv)/' \
    --txt "$build/lines.txt" --json "$build/lines.json" "$build" || failed=1
tail -n 4 "$build/lines.txt"
exit "$failed"
