#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# on_cpu.sh CPU RUNG LACKS FOLDER PROGRAM...: on an emulated x86-64 CPU, one build runs: kernels of RUNG are
# chosen, those of the rung LACKS are not there, no program dies of an instruction the CPU does not have.
# FOLDER is where the build has tests/. Exit code 77: no emulator.
set -euo pipefail
cpu=$1 rung=$2 lacks=$3 folder=$4
shift 4
emulator=$(command -v qemu-x86_64-static || command -v qemu-x86_64) || {
    echo "skipped: no qemu-x86_64-static (apt-get install qemu-user-static)"
    exit 77
}
output=$(mktemp)
trap 'rm -f "$output"' EXIT
export SHMRT_TUNE=off
ulimit -c 0

fail() {
    echo "FAILED on $cpu: $*"
    exit 1
}

# "Illegal instruction": 128 + SIGILL.
rc=0
{ "$emulator" -cpu "$cpu" "$folder/tests/x86/unmasked" "$lacks" >"$output" 2>&1; } 2>/dev/null || rc=$?
[[ $rc -ne 2 ]] || {
    echo "skipped: this compiler has built no $lacks"
    exit 77
}
[[ $rc -eq 132 ]] || fail "the emulator ran $lacks, which this CPU lacks (exit code $rc): $(cat "$output")"

for program in "$@"; do
    "$emulator" -cpu "$cpu" "$folder/tests/$program" >"$output" 2>&1 || {
        rc=$?
        cat "$output"
        fail "$program ended with $rc$([[ $rc -ne 132 ]] || echo ": an instruction that this CPU lacks")"
    }
    if said=$(grep -a '^rungs tested:' "$output"); then
        tested="${said%%;*} "
        echo "$program: $tested"
        [[ $tested == *" $rung "* ]] || fail "$program did not test $rung"
        [[ $tested != *" $lacks "* ]] || fail "$program tested $lacks"
    elif said=$(grep -a '^kernels: ' "$output"); then
        echo "$program: $said"
        [[ $said == "kernels: $rung" ]] || fail "$program chose other kernels than $rung"
    else
        echo "$program: passed"
    fi
done
