#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# soak.sh SECONDS [SEED]: everything at random for that long, in C and beside it from Python, with checked contents,
# ranks that die, and an eye on memory. Fails when anything was wrong or grew.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
# Nothing of the user's cache folder; and ranks may take long to come where the machine has other things to do.
export SHMRT_TUNE=off SHMRT_RENDEZVOUS_TIMEOUT=600
# Not SECONDS: that is bash's own clock.
duration=${1:?soak.sh SECONDS [SEED]}
seed=${2:-$(date +%s)}
build=build/release

cmake --preset release -DCMAKE_MAKE_PROGRAM="$PWD/.venv/bin/ninja" --log-level=WARNING &&
    cmake --build --preset release -j "$(nproc)" --target stress_mixed || exit 1

mkdir -p build/test-logs
log=build/test-logs/soak-python.log
echo "==> In Python, 2 ranks, beside what follows: $log"
# A rank that is killed removes nothing, and neither does one that waits for it deep in PyTorch.
folder=$(mktemp -d) || exit 1
TMPDIR=$folder .venv/bin/shm-launch -n 2 .venv/bin/python tests/stress/soak.py --seconds "$duration" --seed "$seed" >"$log" 2>&1 &
python=$!
trap 'kill -TERM "$python" 2>/dev/null; wait "$python"; rm -rf "$folder"' EXIT
echo "==> In C, 4 ranks"
"$build/tests/stress/stress_mixed" --seconds "$duration" --ranks 4 --seed "$seed" | tee build/test-logs/soak-c.log
c_code=${PIPESTATUS[0]}
wait "$python"
python_code=$?
trap - EXIT
rm -rf "$folder"
echo "==> In Python"
tail -n 8 "$log"
echo "soak: $duration s, seed $seed: C $([[ $c_code -eq 0 ]] && echo passed || echo FAILED)," \
    "Python $([[ $python_code -eq 0 ]] && echo passed || echo FAILED)"
# Half an hour has samples enough, where it did not hang about.
judged=1
if ((${duration%.*} >= 1800)) && grep -H 'memory: not judged' build/test-logs/soak-c.log "$log"; then
    echo "soak: FAILED, for nobody judged the memory"
    judged=0
fi
[[ $c_code -eq 0 && $python_code -eq 0 && $judged -eq 1 ]]
