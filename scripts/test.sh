#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests in stages and says at the end how each went. A stage that fails does not keep
# the next from running. `test.sh long` runs the tests marked or labelled long instead.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
export SHM_LAUNCH="$PWD/.venv/bin/shm-launch" SHM_BENCH="$PWD/.venv/bin/shm-bench"
# Tests that start mpirun do so as whoever runs them, which in a container is root.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

logs=build/test-logs
jobs=$(nproc)
rows=()
failed=0

# stage TITLE COMMAND...: run, keep the output, remember the outcome
stage() {
    local title=$1 log start result
    shift
    log="$logs/$(tr -cs 'a-z0-9' - <<<"${title,,}" | sed 's/-*$//').log"
    start=$SECONDS
    printf '\n==> %s\n' "$title"
    if "$@" 2>&1 | tee "$log"; then
        result=passed
    else
        result=FAILED
        failed=1
    fi
    rows+=("$(printf '%-34s %-7s %5d s   %s' "$title" "$result" $((SECONDS - start)) "$(tally "$log")")")
}

# The line in which ctest, pytest or models.sh counts its tests.
tally() {
    grep -aE '^models: |[0-9]+% tests passed|^=*[^=]*[0-9]+ (passed|failed|error).* in ' "$1" | tail -1 | tr -d = | sed 's/^ *//; s/ *$//'
}

# c_tests PRESET CTEST-OPTION...
# shellcheck disable=SC2329  # called through stage
c_tests() {
    local preset=$1
    shift
    cmake --preset "$preset" -DCMAKE_MAKE_PROGRAM="$PWD/.venv/bin/ninja" --log-level=WARNING &&
        cmake --build --preset "$preset" -j "$jobs" &&
        ctest --preset "$preset" -j "$jobs" --no-tests=error "$@"
}

# Boots guests with several NUMA nodes, one after the other.
# shellcheck disable=SC2329  # called through stage
numa_guests() {
    if [[ $(uname -m) != x86_64 ]]; then
        echo "NUMA guests: skipped, what runs in them is built for x86-64"
        return 0
    fi
    cmake --preset dev -DCMAKE_MAKE_PROGRAM="$PWD/.venv/bin/ninja" --log-level=WARNING &&
        cmake --build --preset dev -j "$jobs" --target numa_guest &&
        python -m pytest tests/numa -o log_cli=true -o log_cli_level=INFO -o log_cli_format="%(message)s"
}

# A skip is none of the caller's failures, but is said.
# shellcheck disable=SC2329  # called through stage
models() {
    scripts/models.sh "$@"
    local rc=$?
    [[ $rc -eq 77 ]] || return "$rc"
}

summary() {
    printf '\n%s\n' "------------------------------- summary -------------------------------"
    printf '%s\n' "${rows[@]}"
    if [[ $failed -eq 0 ]]; then
        printf 'All passed in %d min %d s.\n' $((SECONDS / 60)) $((SECONDS % 60))
    else
        printf 'Something FAILED (%d min %d s). Full output: %s/\n' \
            $((SECONDS / 60)) $((SECONDS % 60)) "$logs"
    fi
}

mkdir -p "$logs"
trap 'failed=1; summary; exit 130' INT TERM
if [[ ${1:-} == long ]]; then
    stage "C tests, long" c_tests release -L long
    stage "Python tests, long" python -m pytest tests -m long
    stage "Protocol models" models
elif [[ ${1:-} == numa ]]; then
    stage "NUMA guests" numa_guests
else
    stage "Lint" scripts/lint.sh
    stage "C tests" c_tests dev -LE long
    stage "C tests, address and UB sanitizers" c_tests asan -LE long
    stage "C tests, thread sanitizer" c_tests tsan -LE long
    stage "Models of memory order" models --ordering
    stage "Python tests" python -m pytest tests -m "not long" --ignore tests/numa
    stage "NUMA guests" numa_guests
fi
summary
exit $failed
