#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# two_machines.sh WORD... - run a command on two "machines" at once: namespaces with a cable between
# them, addresses 10.77.0.1 and 10.77.0.2. The word MACHINE of the command becomes 0 or 1. No root
# needed. Exit code 1: a command failed, or such namespaces are not allowed here.
set -eu

if [[ -z ${TWO_MACHINES:-} ]]; then
    export TWO_MACHINES=1
    exec unshare --user --map-root-user --mount --net --pid --fork --kill-child --mount-proc "$0" "$@"
fi

enter() { # MACHINE WORD...
    nsenter -t "${holders[$1]}" --net --mount --uts --ipc "${@:2}"
}

# This shell is process 1 of its namespace: whatever it has started ends with it.
holders=()
for machine in 0 1; do
    unshare --net --mount --uts --ipc --propagation private sleep infinity &
    holders+=($!)
done
for machine in 0 1; do
    until [[ $(readlink "/proc/${holders[machine]}/ns/uts") != $(readlink /proc/self/ns/uts) ]] &&
        [[ $(readlink "/proc/${holders[machine]}/exe") == *sleep ]]; do
        kill -0 "${holders[machine]}"
        sleep 0.01
    done
done
ip link add cable netns "${holders[0]}" type veth peer name cable netns "${holders[1]}"
for machine in 0 1; do
    enter $machine hostname "machine$machine"
    enter $machine mount -t tmpfs shm /dev/shm
    enter $machine ip link set lo up
    enter $machine ip addr add "10.77.0.$((machine + 1))/24" dev cable
    enter $machine ip link set cable up
done

commands=()
for machine in 0 1; do
    words=()
    for word; do
        [[ $word == MACHINE ]] && word=$machine
        words+=("$word")
    done
    enter $machine "${words[@]}" &
    commands+=($!)
done
code=0
for command in "${commands[@]}"; do
    wait "$command" || code=1
done
exit $code
