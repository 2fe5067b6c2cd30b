#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pressure.sh STRESS_MIXED [SECONDS]: runs it in memory cgroups of less and less memory, then beside stress-ng.
#
# Every run has to end well, or with ranks that say that there is no memory, or, where the limit is met by memory of the
# program itself, at the hand of the kernel, which the cgroup has counted. Never with SIGBUS, with a hang or with a
# wrong result. Exit status 77: not root, or no memory cgroup can be made.
set -uo pipefail
program=${1:?pressure.sh STRESS_MIXED [SECONDS]}
seconds=${2:-20}
ranks=4
limits_mib=(256 64 48 32 24 16 8)

# Where a group can be made below the own one, and what its files are called: cgroup v2, or v1.
find_group() {
    local own
    if own=$(sed -n 's/^0:://p' /proc/self/cgroup) && [[ -f /sys/fs/cgroup$own/cgroup.controllers ]] &&
        grep -qw memory "/sys/fs/cgroup$own/cgroup.subtree_control" 2>/dev/null; then
        parent=/sys/fs/cgroup$own limit_file=memory.max events_file=memory.events
    elif own=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup) && [[ -n $own ]]; then
        parent=/sys/fs/cgroup/memory$own limit_file=memory.limit_in_bytes events_file=memory.oom_control
        [[ -d $parent ]] || parent=/sys/fs/cgroup/memory # in a container, the own one is the root
    else
        return 1
    fi
    group=$parent/shmrt-pressure-$$
    mkdir "$group" 2>/dev/null
}

# shellcheck disable=SC2329  # called by a trap
remove_group() {
    for _ in $(seq 100); do
        rmdir "$group" 2>/dev/null && return
        sleep 0.1
    done
}

oom_kills() {
    awk '$1 == "oom_kill" { print $2 }' "$group/$events_file"
}

# verdict MIB STATUS OUTPUT KILLS-BEFORE: prints it; 1 when the run is none of what is allowed
verdict() {
    local kills=$(($(oom_kills) - $4))
    if grep -Eq 'signal 7|wrong result|was written to|hangs' <<<"$3"; then
        echo "FAILED"
    elif [[ $2 -eq 0 ]]; then
        echo "ended well"
    elif grep -Eq 'no communicator: .*([Mm]emory|SHMRT_SEGMENT)' <<<"$3"; then
        echo "refused: $(grep -Eo 'no communicator: .*' <<<"$3" | head -1)"
    elif [[ $kills -gt 0 ]]; then
        echo "the kernel killed $kills processes"
    else
        echo "FAILED"
    fi
}

if [[ $(id -u) -ne 0 ]] || ! find_group; then
    echo "skipped: no memory cgroup can be made here"
    exit 77
fi
trap remove_group EXIT
failed=0
for mib in "${limits_mib[@]}"; do
    if ! echo $((mib << 20)) >"$group/$limit_file"; then
        echo "skipped: the cgroup takes no limit"
        exit 77
    fi
    before=$(oom_kills)
    # shellcheck disable=SC2016  # expanded by that shell
    output=$(bash -c 'echo $$ >"$1/cgroup.procs" && exec "$2" --seconds "$3" --ranks "$4" --seed "$5"' \
        - "$group" "$program" "$seconds" "$ranks" "$mib" 2>&1)
    said=$(verdict "$mib" $? "$output" "$before")
    echo "$mib MiB: $said; $(grep -Eo '[0-9]+ calls right.*refused' <<<"$output" | tail -1)"
    if [[ $said == FAILED ]]; then
        failed=1
        echo "$output"
    fi
done

if command -v stress-ng >/dev/null; then
    stress-ng --quiet --cpu 2 --vm 2 --vm-bytes 256M --fork 2 --switch 2 --timeout $((seconds + 10)) &
    if "$program" --seconds "$seconds" --ranks "$ranks"; then
        echo "beside stress-ng: ended well"
    else
        failed=1
    fi
    wait
else
    echo "beside stress-ng: skipped, it is not installed"
fi
exit $failed
