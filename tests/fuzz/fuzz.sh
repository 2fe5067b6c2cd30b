#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz target of the configuration parser with clang, AddressSanitizer and UBSan, and runs it:
#   tests/fuzz/fuzz.sh [SECONDS [BUILD-FOLDER]]
# What it learns stays in the build folder for the next run. Exit code 77: this machine has no libFuzzer.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-600}
build=${2:-build/fuzz}
mkdir -p "$build/learnt" "$build/seeds"

compile() {
    clang -std=c17 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -D_GNU_SOURCE \
        -Iruntime -Iruntime/include -Ilauncher -o "$build/fuzz_config" \
        tests/fuzz/fuzz_config.c launcher/options/config_yaml.c launcher/options/options.c launcher/common/say.c \
        runtime/topo/bitmap.c runtime/base/*.c -lyaml -lm
}
has_libfuzzer() {
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -fsanitize=fuzzer,address -x c -o "$build/probe" - 2>/dev/null
}
if ! has_libfuzzer; then
    scripts/setup-debian.sh requirements/long-debian.txt || true
    has_libfuzzer || { echo "skipped: no clang with libFuzzer here"; exit 77; }
fi
compile
cp configs/*.yaml tests/configs/broken/*.yaml "$build/seeds"
"$build/fuzz_config" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
    -dict=tests/fuzz/config.dict -artifact_prefix="$build/" -print_final_stats=1 -verbosity=0 \
    "$build/learnt" "$build/seeds"
