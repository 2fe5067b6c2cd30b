#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the checks of all guests use, and then the checks, each a line "check NAME COMMAND...".
# In lists a word stands for each rank, in rank order.
# shellcheck disable=SC2329  # functions are called from there
# shellcheck disable=SC2086  # lists, and words that may not be there
# shellcheck disable=SC2030,SC2031  # each rank's variables are its own

# Fixed thresholds; nobody waits for long when a rank is missing.
export SHMRT_TUNE=off SHMRT_TIMEOUT=60 SHMRT_RENDEZVOUS_TIMEOUT=60
failed=0
bind= # or what takes it out

# check NAME COMMAND...: the lines that the tests look for
check() {
    name=$1
    shift
    echo "@begin $name"
    ("$@")
    rc=$?
    [ "$rc" -eq 0 ] || failed=1
    echo "@end $name $rc $(cut -d' ' -f1 /proc/uptime)"
}

# launched OWNERS OPTIONS [PREFIX...]: under shm-launch, whose --verify has to say the same
launched() {
    owners=$1 options=$2
    shift 2
    rm -f /tmp/seen /tmp/said /tmp/rc
    clean="all threads and pages are where the plan says"
    (
        shm-launch $options --verify --strict --timeout 150 -- "$@" \
            numa_rank --ask segment,pool,heap,stack --until /tmp/seen "$owners" 2>/tmp/said
        echo $? >/tmp/rc
    ) &
    until [ -s /tmp/rc ] || grep -qs "$clean" /tmp/said; do
        sleep 0.2
    done
    : >/tmp/seen
    wait
    cat /tmp/said
    grep -q "$clean" /tmp/said || return 97
    return "$(cat /tmp/rc)"
}

# launched_wrong OWNERS OPTIONS [PREFIX...]: pages are elsewhere, and --verify names those of libshmrt
launched_wrong() {
    owners=$1 options=$2
    shift 2
    rm -f /tmp/seen /tmp/said /tmp/rc
    (
        shm-launch $options --verify --timeout 150 -- "$@" $bind numa_rank --until /tmp/seen "$owners" 2>/tmp/said
        echo $? >/tmp/rc
    ) &
    until [ -s /tmp/rc ] || grep -qs "its shared segment or pool has" /tmp/said; do
        sleep 0.2
    done
    : >/tmp/seen
    wait
    cat /tmp/said
    grep -q "its shared segment or pool has" /tmp/said || return 97
    [ "$(cat /tmp/rc)" -eq 40 ]
}

# placed HOW COMMAND...: cpus:LIST, node:N (with its memory), interleaved:N (CPUs of a node, and the pages
# of all), group:NAME (a cgroup), free
placed() {
    how=$1
    shift
    case $how in
    cpus:*) exec taskset -c "${how#cpus:}" "$@" ;;
    node:*) exec numactl --cpunodebind="${how#node:}" --membind="${how#node:}" "$@" ;;
    interleaved:*) exec numactl --cpunodebind="${how#interleaved:}" --interleave=all "$@" ;;
    group:*)
        echo 0 >"/sys/fs/cgroup/${how#group:}/cgroup.procs"
        exec "$@"
        ;;
    free) exec "$@" ;;
    esac
    echo "$how: how?"
    exit 2
}

# gather PID...: whether all ended with what expect_codes asks for, or else with 0
gather() {
    codes=
    for pid in "$@"; do
        wait "$pid"
        codes="$codes${codes:+ }$?"
    done
    [ "$codes" = "${expected:-$(echo "$codes" | sed 's/[0-9]\+/0/g')}" ] && return 0
    echo "the ranks ended with $codes, expected ${expected:-0}"
    return 1
}

# expect_codes CODES torchrun|by_hand|meanwhile...: of each rank; 40: pages are elsewhere, and libshmrt says so
expect_codes() {
    expected=$1
    shift
    "$@"
}

# torchrun OWNERS HOW [OPTION...]: a parent that sets what torchrun sets; its ranks share a session. Each
# is placed as HOW says.
torchrun() {
    owners=$1 places=$2 rank=0 pids=
    shift 2
    size=$(echo "$places" | wc -w)
    export WORLD_SIZE="$size" LOCAL_WORLD_SIZE="$size" GROUP_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500
    export TORCHELASTIC_RUN_ID="$$.$places" TORCHELASTIC_RESTART_COUNT=0 OMP_NUM_THREADS=1
    for place in $places; do
        (
            export RANK="$rank" LOCAL_RANK="$rank"
            placed "$place" $bind numa_rank "$@" "$owners"
        ) &
        pids="$pids $!"
        rank=$((rank + 1))
    done
    gather $pids
}

# by_hand OWNERS HOW [OPTION...]: only what has to be set, and each rank from a session of its own
by_hand() {
    owners=$1 places=$2 rank=0 pids=
    shift 2
    size=$(echo "$places" | wc -w)
    for place in $places; do
        (
            export RANK="$rank" WORLD_SIZE="$size" SHMRT_JOB="hand $places" OMP_NUM_THREADS=2
            placed "$place" $bind setsid numa_rank "$@" "$owners"
        ) &
        pids="$pids $!"
        rank=$((rank + 1))
    done
    gather $pids
}

# meanwhile ACTION torchrun|by_hand ARGUMENT...: ACTION, which has to succeed, is run while the ranks reduce
meanwhile() {
    action=$1
    shift
    rm -f /tmp/until /tmp/until.begun /tmp/until.acted
    (
        waited=0
        until [ -e /tmp/until.begun ] || [ "$waited" -eq 600 ]; do
            sleep 0.1
            waited=$((waited + 1))
        done
        if $action; then
            : >/tmp/until.acted
        fi
        sleep 1
        : >/tmp/until
    ) &
    "$@" --until /tmp/until && [ -e /tmp/until.acted ]
}

# with NAME=VALUE COMMAND...
with() {
    export "${1?}"
    shift
    "$@"
}

# says WORDS COMMAND...: the ranks print that, too
says() {
    words=$1
    shift
    "$@" >/tmp/says 2>&1
    rc=$?
    cat /tmp/says
    [ "$rc" -eq 0 ] || return "$rc"
    grep -q "$words" /tmp/says && return 0
    echo "nobody said: $words"
    return 96
}

# in_huge_pages LEAST_KB COMMAND...: so much of each rank's segment is in huge pages
in_huge_pages() {
    least=$1
    shift
    "$@" >/tmp/huge
    rc=$?
    cat /tmp/huge
    [ "$rc" -eq 0 ] || return "$rc"
    found=$(sed -n 's/.*pages rank .* segment: .*huge \([0-9]*\) kB/\1/p' /tmp/huge)
    if [ -z "$found" ]; then
        echo "no line tells of a segment's huge pages"
        return 95
    fi
    for kb in $found; do
        if [ "$kb" -lt "$least" ]; then
            echo "a segment has $kb kB in huge pages, expected $least at least"
            return 95
        fi
    done
}

# pid_of RANK
pid_of() {
    for pid in $(pidof numa_rank); do
        tr '\0' '\n' <"/proc/$pid/environ" | grep -qx "RANK=$1" && echo "$pid"
    done
}

# unbound COMMAND...: with an mbind that does nothing
unbound() {
    bind=no_mbind
    "$@"
}

# shellcheck source=/dev/null  # another for each guest
. /checks
exit $failed
