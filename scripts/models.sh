#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks the protocols' models in tests/models with Spin, two at a time: that what should hold
# holds, and that each fault put in on purpose is found. Prints a table and fails on any surprise.
# `models.sh --ordering` checks only what memory order is needed, which takes a minute at most;
# `models.sh [--ordering] WORD` only the lines with WORD in them. Exits with 77 where a tool is missing.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

for tool in spin gcc; do
    if ! command -v "$tool" >/dev/null; then
        echo "models: skipped, $tool is missing (Debian package: $tool)"
        exit 77
    fi
done

models=$PWD/tests/models
work=$PWD/build/models
at_once=2
memory_mib=1900 # of one check
limit_s=300 # of one check

tables=("$models/ordering.txt" "$models/checks.txt")
optimised=-O2
if [[ ${1:-} == --ordering ]]; then
    tables=("$models/ordering.txt")
    optimised=-O1 # most of these are built for longer than they run
    shift
fi

# MODEL OUTCOME FLAGS...; outcome: holds, wrong (an assertion fails), deadlock
checks() {
    cat "${tables[@]}" | grep -vE '^ *(#|$)' | grep -e "${1:-}"
}

# verdict LOG: what Spin's verifier found. It holds only if all states were seen.
verdict() {
    if grep -q 'assertion violated' "$1"; then
        echo wrong
    elif grep -q 'invalid end state (at' "$1"; then
        echo deadlock
    elif grep -q 'errors: 0' "$1" && ! grep -qE 'max search depth too small|reached -DMEMLIM|out of memory' "$1"; then
        echo holds
    else
        echo unknown
    fi
}

# check NUMBER MODEL OUTCOME FLAGS...: leaves its row in NUMBER.row
check() {
    local number=$1 model=$2 expected=$3 folder="$work/$1" log="$work/$1/log" seen states seconds ranks
    shift 3
    mkdir -p "$folder"
    (
        cp "$models"/*.pml "$folder" && cd "$folder" && spin -a "$@" "$model.pml" &&
            gcc "$optimised" -w -DSAFETY -DCOLLAPSE -DMEMLIM=$memory_mib -o pan pan.c &&
            timeout "$limit_s" ./pan -m200000
    ) >"$log" 2>&1
    seen=$(verdict "$log")
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$log")
    seconds=$(sed -n 's/.*elapsed time \([0-9.e+-]*\) seconds.*/\1/p' "$log")
    ranks=$(grep -o 'RANKS=[0-9]*' <<<"$*" | cut -d= -f2)
    printf '%-10s %5s %10s %8s  %-8s %-8s %-9s %s\n' "$model" "$ranks" "${states:--}" "${seconds:--}" \
        "$expected" "$seen" "$([[ $seen == "$expected" ]] || echo SURPRISE)" "${*/-DRANKS=?/}" >"$work/$number.row"
    [[ $seen == "$expected" ]] && rm -rf "$folder"
}

rm -rf "$work"
mkdir -p "$work"
number=100 # of three digits, so that the rows sort
while read -r -a words; do
    while (($(jobs -rp | wc -l) >= at_once)); do
        wait -n
    done
    number=$((number + 1))
    check "$number" "${words[@]}" &
done < <(checks "${1:-}")
wait
printf '%-10s %5s %10s %8s  %-8s %-8s %-9s %s\n' model ranks states seconds expected seen "" flags
cat "$work"/*.row
rows=("$work"/*.row)
if ((number == 100 || ${#rows[@]} != number - 100)) || grep -q SURPRISE "${rows[@]}"; then
    echo "models: FAILED, see the logs and trails in $work"
    exit 1
fi
echo "models: $((number - 100)) checks as expected in $SECONDS s"
