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
tests_at_once=$((jobs + 1)) # some only wait
# Of the Python tests, those that mostly wait (for time limits, for dead ranks, or for each other), and those under
# QEMU, which use one core, so that both streams of tests take as long. None of them measures, and none counts what
# is left behind on the machine.
waiting=(tests/cross tests/badinput tests/c10d tests/machines tests/conformance tests/deploy)
slowest=(--durations=40 --durations-min=2)
rows=()
failed=0
beside_group=

# Where the output of the stage with this title is kept.
log_of() {
    printf '%s/%s.log' "$logs" "$(tr -cs 'a-z0-9' - <<<"${1,,}" | sed 's/-*$//')"
}

# remember TITLE EXIT-CODE SECONDS: its row of the summary
remember() {
    local result=passed
    if [[ $2 -ne 0 ]]; then
        result=FAILED
        failed=1
    fi
    rows+=("$(printf '%-34s %-7s %5d s   %s' "$1" "$result" "$3" "$(tally "$(log_of "$1")")")")
}

# stage TITLE COMMAND...: run, keep the output, remember the outcome
stage() {
    local title=$1 start=$SECONDS
    shift
    printf '\n==> %s\n' "$title"
    "$@" 2>&1 | tee "$(log_of "$title")"
    remember "$title" $? $((SECONDS - start))
}

# beside TITLE COMMAND...: start in the background what needs one core, to be collected later. One at a time.
# In a process group of its own, so that all of it can be ended.
beside() {
    beside_title=$1 beside_start=$(date +%s)
    shift
    printf '\n==> %s: started, beside the next\n' "$beside_title"
    set -m
    "$@" >"$(log_of "$beside_title")" 2>&1 </dev/null &
    beside_group=$!
    set +m
}

# Wait for it, show what it said, remember the outcome. It ended when it last wrote.
collect() {
    local code log
    wait "$beside_group"
    code=$?
    beside_group=
    log=$(log_of "$beside_title")
    printf '\n==> %s\n' "$beside_title"
    cat "$log"
    remember "$beside_title" "$code" $(($(stat -c %Y "$log") - beside_start))
}

# shellcheck disable=SC2329  # called by a trap
interrupted() {
    [[ -z $beside_group ]] || kill -INT -- "-$beside_group" 2>/dev/null
    failed=1
    summary
    exit 130
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
        ctest --preset "$preset" -j "$tests_at_once" --no-tests=error "$@"
}

# OpenMP leaves a file in /dev/shm for each process that ended by _exit. Away with those of ours that have ended.
# shellcheck disable=SC2329  # called by teams
forget_openmp() {
    local file pid
    for file in /dev/shm/__KMP_REGISTERED_LIB_*; do
        pid=${file#*_LIB_}
        [[ ! -O $file || -d /proc/${pid%_*} ]] || rm -f "$file"
    done
}

# Races between the lanes of a rank, which run on a team of OpenMP, and between ranks. gcc's OpenMP can't be seen
# through; LLVM's can, with Archer. Only tests that set a number of lanes have teams here.
# shellcheck disable=SC2329  # called through stage
teams() {
    local tests=(test_allreduce test_allreduce_norm test_collectives test_hierarchy test_requests test_zerocopy)
    local probe=build/archer/probe code
    scripts/setup-debian.sh requirements/long-debian.txt || true
    mkdir -p build/archer
    if ! echo 'int main(void) { return 0; }' | clang -fopenmp=libomp -fsanitize=thread -x c -o "$probe" - ; then
        echo "teams of OpenMP: skipped, no clang with ThreadSanitizer and libomp (Debian packages: clang, libomp-dev)"
        return 0
    fi
    cmake --preset archer -DCMAKE_MAKE_PROGRAM="$PWD/.venv/bin/ninja" --log-level=ERROR || return 1
    if grep -q '^SHMRT_ARCHER:.*NOTFOUND' build/archer/CMakeCache.txt; then
        echo "teams of OpenMP: skipped, libarcher.so is not where libomp.so is"
        return 0
    fi
    # Of few ranks, since each has up to 4 threads, on as many cores as there are.
    cmake --build --preset archer -j "$jobs" --target "${tests[@]}" &&
        SHMRT_TEST_MOST_RANKS=${SHMRT_TEST_MOST_RANKS:-4} ctest --preset archer -j 2 --no-tests=error \
            -R "^coll\.($(tr ' ' '|' <<<"${tests[*]}"))\$"
    code=$?
    forget_openmp
    return "$code"
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

# with_numa_guests FOLDER...: then the tests of these folders
# shellcheck disable=SC2329  # called through beside
with_numa_guests() {
    local code=0
    numa_guests || code=1
    python -m pytest "$@" -m "not long" "${slowest[@]}" || code=1
    return "$code"
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
trap interrupted INT TERM
if [[ ${1:-} == long ]]; then
    stage "C tests, long" c_tests release -L long
    stage "Python tests, long" python -m pytest tests -m long "${slowest[@]}"
    stage "C tests, address sanitizer, 8 ranks" c_tests asan -L coll -LE long
    stage "C tests, thread sanitizer, 8 ranks" c_tests tsan -L coll -LE long
    stage "C tests, thread sanitizer, teams" teams
    stage "Protocol models" models
elif [[ ${1:-} == numa ]]; then
    stage "NUMA guests" numa_guests
else
    stage "Lint" scripts/lint.sh
    stage "C tests" c_tests dev -LE long
    # Sanitizers look at code, which is the same for more ranks; all numbers of them are above, and in test-long.
    SHMRT_TEST_MOST_RANKS=6 stage "C tests, address and UB sanitizers" c_tests asan -LE long
    SHMRT_TEST_MOST_RANKS=6 stage "C tests, thread sanitizer" c_tests tsan -LE long
    stage "Models of memory order" models --ordering
    beside "NUMA guests and tests that wait" with_numa_guests "${waiting[@]}"
    stage "Python tests" python -m pytest tests -m "not long" "${slowest[@]}" --ignore tests/numa "${waiting[@]/#/--ignore=}"
    collect
fi
summary
exit $failed
