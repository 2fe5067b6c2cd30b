#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check.sh CMAKE BUILD CONSUMER: installs BUILD into a scratch folder, then builds and runs the
# consumer against it twice, and looks at what the library exports and at the tools.
set -euo pipefail
cmake=$1 build=$2 consumer=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix
"$cmake" --install "$build" --prefix "$prefix" >/dev/null
lib=$(dirname "$(find "$prefix" -name libshmrt.so -print -quit)")

echo "by CMake"
"$cmake" -S "$consumer" -B "$scratch/cmake" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
"$cmake" --build "$scratch/cmake" >/dev/null
"$scratch/cmake/consumer"

echo "by pkg-config"
read -ra flags < <(PKG_CONFIG_PATH=$lib/pkgconfig pkg-config --cflags --libs shmrt)
cc -o "$scratch/consumer" "$consumer/consumer.c" "${flags[@]}" -pthread
LD_LIBRARY_PATH=$lib "$scratch/consumer"

echo "exports nothing but shmrt_*"
extra=$(nm -D --defined-only "$lib/libshmrt.so" | awk '{print $3}' | grep -v -E '^(shmrt_|SHMRT_)' || true)
[[ -z $extra ]] || { echo "also exported: $extra"; exit 1; }

echo "library, manual pages, completion"
[[ $(readlink "$lib/libshmrt.so") == libshmrt.so.0 && $(readlink "$lib/libshmrt.so.0") == libshmrt.so.0.* ]]
[[ $(objdump -p "$lib/libshmrt.so" | awk '/SONAME/ {print $2}') == libshmrt.so.0 ]]
for file in bin/shm-bench-plot share/bash-completion/completions/shm-launch share/shmrt/configs/one-rank-per-socket.yaml; do
    [[ -s $prefix/$file ]] || { echo "$file is missing"; exit 1; }
done
if command -v scdoc >/dev/null; then
    [[ -s $prefix/share/man/man1/shm-launch.1 && -s $prefix/share/man/man1/shm-bench.1 ]]
fi

echo "tools"
"$prefix/bin/shm-launch" --version
"$prefix/bin/shm-launch" -n 2 --config one-rank-per-socket --dry-run \
    --topology 'pack:2 numa:1 core:4 pu:2' -- true >/dev/null
"$prefix/bin/shm-bench" allreduce -n 2 --sizes 64:4K --seconds 0.01
