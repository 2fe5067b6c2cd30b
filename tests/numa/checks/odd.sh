# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Three nodes with CPUs, 1 of them without memory, and node 3 with neither. Modules of 1 and 3 come online later.
check memoryless_launched launched "0 2 2" "-n 3"
check memoryless_torchrun torchrun "0 2 2" "cpus:0-1 cpus:2-3 cpus:4-5"
check memoryless_shared launched "0 2" "-n 2"

bring_online() {
    grep -l offline /sys/devices/system/memory/memory*/state | while read -r block; do
        echo online_movable >"$block"
    done
    cat /sys/devices/system/node/has_memory
}
bring_online
check memory_came_launched launched "0 1 2" "-n 3"
check memory_came_torchrun torchrun "0 1 2" "cpus:0-1 cpus:2-3 cpus:4-5"

# The kernel moves what is on a node to others before the node goes.
take_node_1() {
    for block in /sys/devices/system/node/node1/memory*/state; do
        echo offline >"$block"
    done
    cat /sys/devices/system/node/has_memory
}
check memory_goes expect_codes "0 40 0" meanwhile take_node_1 torchrun "0 1 2" "cpus:0-1 cpus:2-3 cpus:4-5"
take_cpus_of_2() {
    echo 0 >/sys/devices/system/cpu/cpu4/online
    echo 0 >/sys/devices/system/cpu/cpu5/online
    cat /sys/devices/system/node/has_cpu
}
check cpus_go meanwhile take_cpus_of_2 by_hand "0 2" "cpus:0-1 cpus:4-5"

# Now 2 and 3 are memory only, and 1 has CPUs only: its ranks go where ranks are.
check cpus_gone_launched launched "0 0" "-n 2"
check cpus_gone_torchrun torchrun "0 0" "cpus:0-1 cpus:2-3"
