#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Starts one peer of shm-bench in its best setting; scripts/bench.sh has installed and built it.
#
#   start.sh --list       the peers that can be started here, and why the others can't
#   start.sh NAME         started by shm-bench, as --peer 'NAME:bench/peers/start.sh NAME'
#
# By hand, one peer beside shmrt:
#
#   shm-bench allreduce -n 2 --sizes 64:1M --peer 'mpich:bench/peers/start.sh mpich'
#
# Settings. Tried on two cores of a Xeon (AVX-512, no SMT, one L3), fp32 sums in place at 64 B, 8 KiB, 64 KiB,
# 1 MiB and 16 MiB, and at 64 B on four ranks; medians of one run each, microseconds, with each MPI's own
# binding to cores, by a small program and not in turns: 10 % between two lines means nothing. Where no setting is best
# everywhere there are two contenders. Ranks go to shm-bench's cores by themselves, before MPI_Init.
#
#   Open MPI 4.1 (Debian)              64 B   8 KiB  64 KiB  1 MiB  16 MiB
#     ucx, posix and cma (taken)       0.53    2.7    13.6    209    2850
#     ucx, without cma                 0.54    3.4    13.9    301    4410
#     ob1 and vader, cma               0.60    7.5    25.5    208    3000
#     the same, eager limit 64 KiB     0.56    3.2    17.8    197    3080
#     ob1 and vader, no cma            0.65    4.8    19.9    185    3910
#     coll sm first                    0.90    4.8    22.8    352    7580
#     coll han first                   0.59    7.1    24.6    198    2970
#     tuned, algorithms 1, 3 to 6      0.62 and up; 6 at best 23 for 64 KiB, 186 for 1 MiB
#     four ranks on two cores at 64 B: ucx yielding 12.9 (taken), ob1 6.8, ob1 yielding 8.8
#   Open MPI 5.0 (PyPI)
#     ucx (taken)                      0.42    2.4    11.6    200    2630
#     ob1 and sm                       0.45    7.9    23.1    196    3470
#     the same, no cma                 0.40   10.8    47.4    181    4000
#     coll sm, han; tuned 3 to 6       as in 4.1; tuned 6 at best 3100 for 16 MiB
#     four ranks on two cores at 64 B: ucx yielding 6.5 (taken), ob1 yielding 13.4, coll sm 131
#   MPICH 4.0 (Debian)
#     defaults (taken)                 1.3     3.7    28      215    3580 to 4090
#     UCX_TLS=self,posix,cma           1.75    3.8    28.6    207    2820
#     recursive doubling               1.04    2.9    33.7    404    9210
#     reduce-scatter and all-gather    1.24    3.6    29.5    214    2910
#     release-gather                   1.36    3.7    27.3    228    3350
#     four ranks on two cores at 64 B: defaults 12 ms, recursive doubling 16 ms
#   MPICH 5.0 (PyPI)
#     defaults (mpich5)                0.65    4.7    42.9    854    13600
#     no device collective (-host)     1.83    3.8    25.6    206    3260
#     with recursive doubling          1.27    6.5    33.6    265    6220
#     cma, ofi, release-gather         as the defaults
#     four ranks on two cores at 64 B: defaults not done in 8 s, no device collective 5 ms
#   Intel MPI 2021.18 (PyPI), fabric shm
#     defaults (impi)                  0.51    2.0     9.5    116    4180
#     I_MPI_ADJUST_ALLREDUCE=22        0.49    1.9     9.4    242    3660
#     the same, 14                     0.79    2.1     9.1    199    2880
#     the same, 1-4, 8-12, 15-17, 23-24  0.6 to 1.2; at best 9.3; 119 (8); 3630 (17)
#     I_MPI_SHM=bdw_avx2 (-avx2)       0.76    2.0     9.6    133    3060
#     I_MPI_SHM=icx                    0.65    2.1    10.6    125    3130
#     I_MPI_SHM_HEAP, cells, thresholds, tuning file of another CPU, thread split: no better
#     four ranks on two cores, I_MPI_THREAD_YIELD: 0 7.3, 2 4.4 (taken), 3 217, I_MPI_WAIT_MODE 9.9
#   Gloo and DeepSpeed: see torch_peer.py
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${here%/bench/peers}
packages=${SHM_BENCH_PACKAGES:-$root/.venv/peers}
export SHM_BENCH_BUILD=${SHM_BENCH_BUILD:-$root/build/bench}
python=${SHM_BENCH_PYTHON:-$root/.venv/bin/python}

names=(impi impi-avx2 openmpi openmpi5 mpich mpich5 mpich5-host
    gloo gloo-unpinned c10d-python c10d-python-shmrt deepspeed shmrt-op)

# What has to be built for NAME; build/bench/skipped/ has the reason by that name where it could not.
program_of() {
    case $1 in
    impi*) echo mpi-impi ;;
    mpich5*) echo mpi-mpich5 ;;
    openmpi | openmpi5 | mpich) echo "mpi-$1" ;;
    deepspeed) echo deepspeed/deepspeed_shm_comm/deepspeed_shm_comm.so ;; # and what gloo needs
    gloo* | c10d-python* | shmrt-op) echo torch/libtorch-peer.so ;;
    esac
}

# Why NAME can't be started here; nothing where it can.
obstacle() {
    local program
    program=$(program_of "$1")
    if [[ -z $program ]]; then
        echo "there is no such peer"
    elif [[ -s $SHM_BENCH_BUILD/skipped/${program%%/*} ]]; then
        cat "$SHM_BENCH_BUILD/skipped/${program%%/*}"
    elif [[ ! -e $SHM_BENCH_BUILD/$program ]]; then
        echo "$program has not been built (scripts/bench.sh does it)"
    elif [[ $1 == deepspeed ]]; then
        obstacle gloo
    fi
}

list() {
    local name why
    for name in "${names[@]}"; do
        why=$(obstacle "$name")
        printf '%s\t%s\n' "$name" "${why:+skipped: $why}"
    done
}

# The number of ranks stands in the page that shm-bench made (struct bench_peer_page).
ranks_of_page() {
    od -An -t u4 -j 12 -N 4 "$SHM_BENCH_CONTROL" | tr -d ' '
}

start_openmpi() {
    local mpirun=$1 program=$2 oversubscribe=$3
    # Whoever runs it, which in a container is root; and no daemon asks another machine's name.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    local setting=(--mca pml ucx --mca pml_ucx_tls any --mca pml_ucx_devices any)
    export UCX_TLS=self,posix,cma
    if ((crowded)); then
        setting+=(--mca mpi_yield_when_idle 1)
    else
        setting+=(--mca mpi_yield_when_idle 0)
    fi
    # shellcheck disable=SC2086  # two words
    exec "$mpirun" -n "$ranks" --bind-to none $oversubscribe "${setting[@]}" -x UCX_TLS \
        "$SHM_BENCH_BUILD/$program" "pml ucx (posix, cma)$yields"
}

start_mpich() {
    local mpirun=$1 program=$2 text=$3
    exec "$mpirun" -n "$ranks" "$SHM_BENCH_BUILD/$program" "$text"
}

start_impi() {
    local text=$1
    export I_MPI_ROOT=$packages/impi I_MPI_FABRICS=shm I_MPI_PIN=off
    export FI_PROVIDER_PATH=$I_MPI_ROOT/lib LD_LIBRARY_PATH=$I_MPI_ROOT/lib
    if ((crowded)); then
        export I_MPI_THREAD_YIELD=2
    fi
    exec "$I_MPI_ROOT/bin/mpiexec.hydra" -n "$ranks" "$SHM_BENCH_BUILD/mpi-impi" "$text$yields"
}

start() {
    local name=$1 ranks crowded yields=""
    ranks=$(ranks_of_page)
    # nproc believes OpenMP's variables, which say how many threads one rank has.
    crowded=$((ranks > $(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)))
    if ((crowded)); then
        yields=", yielding"
    fi
    case $name in
    openmpi) start_openmpi mpirun.openmpi mpi-openmpi --oversubscribe ;;
    openmpi5) start_openmpi "$packages/openmpi/bin/mpirun" mpi-openmpi5 "--map-by :oversubscribe" ;;
    mpich) start_mpich mpirun.mpich mpi-mpich "defaults" ;;
    mpich5) start_mpich "$packages/mpich/bin/mpirun" mpi-mpich5 "defaults" ;;
    mpich5-host)
        export MPIR_CVAR_ALLREDUCE_DEVICE_COLLECTIVE=0
        start_mpich "$packages/mpich/bin/mpirun" mpi-mpich5 "no device collective"
        ;;
    impi) start_impi "defaults on fabric shm" ;;
    impi-avx2)
        export I_MPI_SHM=bdw_avx2
        start_impi "I_MPI_SHM=bdw_avx2"
        ;;
    *) exec "$python" "$here/torch_peer.py" "$name" ;;
    esac
}

if [[ ${1:-} == --list ]]; then
    list
    exit 0
fi
reason=$(obstacle "${1:-}")
if [[ -n $reason ]]; then
    echo "start.sh: ${1:-}: $reason" >&2
    exit 1
fi
if [[ -z ${SHM_BENCH_CONTROL:-} ]]; then
    echo "start.sh: is started by shm-bench, which sets SHM_BENCH_CONTROL" >&2
    exit 1
fi
start "$1"
