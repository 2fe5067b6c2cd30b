#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzzers with clang, AddressSanitizer and UBSan, and runs one of them:
#   tests/fuzz/fuzz.sh NAME [SECONDS [BUILD-FOLDER]]
# NAME: config, list, plan, rendezvous, topology or tuning; or all, MAX at once (as many as there are CPUs).
# It starts from tests/fuzz/corpus/NAME; what it learns stays in the build folder for the next run, and an input
# that it stumbles over lies there as crash-... or timeout-... Exit code 77: this machine has no libFuzzer.
#   tests/fuzz/fuzz.sh --keep NAME [BUILD-FOLDER]
# puts into the corpus whatever was learnt that reaches more code than what is there.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH="$PWD/.venv/bin:$PATH"
all=(config list plan rendezvous topology tuning)

has_libfuzzer() {
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -fsanitize=fuzzer,address -x c -o "$1" - 2>/dev/null
}
need_libfuzzer() {
    mkdir -p "$build"
    has_libfuzzer "$build/probe" && return
    scripts/setup-debian.sh requirements/long-debian.txt || true
    has_libfuzzer "$build/probe" || { echo "skipped: no clang with libFuzzer here"; exit 77; }
}
# Several fuzzers may start at once: one builds, the others wait for it.
compile() {
    local sanitizers=fuzzer-no-link,address,undefined
    exec 9>"$build/lock"
    flock 9
    cmake -S . -B "$build" -G Ninja --log-level=WARNING -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug \
        -DCMAKE_C_FLAGS_DEBUG="-O1 -g" -DSHMRT_SANITIZE=$sanitizers -DSHMRT_SERIAL_TEAM=ON -DSHMRT_FUZZ=ON
    cmake --build "$build" --target "${@/#/fuzz_}"
    exec 9>&-
}
# The seeds that are files of the tree anyway.
seeds_of() {
    case $1 in
        config) ls configs/*.yaml tests/configs/broken/*.yaml ;;
        topology) ls tests/topo/*.xml ;;
    esac
}
run() {
    local name=$1 here="$build/of-$1" dictionary=tests/fuzz/$1.dict options=()
    mkdir -p "$here/learnt" "$here/seeds"
    seeds_of "$name" | xargs -r cp -t "$here/seeds"
    [[ ! -e $dictionary ]] || options=(-dict="$dictionary")
    "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=2048 \
        -artifact_prefix="$here/" -print_final_stats=1 "${options[@]}" \
        "$here/learnt" "tests/fuzz/corpus/$name" "$here/seeds"
}
run_all() {
    local name pid failed=0 pids=()
    for name in "${all[@]}"; do
        while (($(jobs -rp | wc -l) >= ${MAX:-$(nproc)})); do
            sleep 0.2
        done
        run "$name" >"$build/$name.log" 2>&1 &
        pids+=("$!")
    done
    for pid in "${pids[@]}"; do # each by its id: `wait -n` loses the status of one that ends beside another
        wait "$pid" || failed=1
    done
    for name in "${all[@]}"; do
        printf '%-12s %s\n' "$name" "$(grep -aE 'DONE|SUMMARY|ERROR: libFuzzer' "$build/$name.log" | tail -n 2 | tr '\n' ' ')"
    done
    return $failed
}
keep() {
    local name=$1
    mkdir -p "$build/of-$name/learnt" "tests/fuzz/corpus/$name"
    "$build/tests/fuzz/fuzz_$name" -set_cover_merge=1 -max_len=4096 "tests/fuzz/corpus/$name" "$build/of-$name/learnt"
}

if [[ ${1:-} == --keep ]]; then
    name=$2 build=${3:-build/fuzz}
    keep "$name"
    exit
fi
name=$1 seconds=${2:-900} build=${3:-build/fuzz}
need_libfuzzer
if [[ $name == all ]]; then
    compile "${all[@]}"
    run_all
else
    compile "$name"
    run "$name"
fi
