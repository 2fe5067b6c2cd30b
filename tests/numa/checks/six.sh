# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Two sockets of three nodes with two CPUs each.
check launch_2 launched "0:0-2 3:3-5" "-n 2"
check launch_5 launched "0:0-1 2:1-2 3 4 5" "-n 5"
check launch_6 launched "0 1 2 3 4 5" "-n 6"
check torchrun_6 torchrun "0 1 2 3 4 5" "node:0 node:1 node:2 node:3 node:4 node:5" --ask segment,pool,heap,stack
check by_hand_3 by_hand "5 0-2 3-5" "cpus:10-11 cpus:0-5 cpus:6-11"
check without_bind_torchrun expect_codes "40 40" unbound torchrun "0 5" "interleaved:0 interleaved:5"

# Sockets are the groups of hierarchical collectives, also where they have unequal numbers of ranks.
export SHMRT_HIERARCHY_MIN=0
check groups_launched_12 says "ranks 0-5 | 6-11" launched "0 0 1 1 2 2 3 3 4 4 5 5" "-n 12"
check groups_torchrun_5 says "ranks 0,2 | 1,3-4" torchrun "0 3 1 4 5" "node:0 node:3 node:1 node:4 node:5"
