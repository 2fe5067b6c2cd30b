# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Four nodes: 0 with four CPUs, 1 and 2 with two and near each other, 3 with memory only, where nothing belongs.
check launch_3 launched "0 1:0-1 2" "-n 3"
check launch_4 launched "0 0 1 2" "-n 4"
check launch_5 launched "0 0 1 1 2" "-n 5"
check torchrun_by_cpus torchrun "0 1 2" "cpus:0-3 cpus:4-5 cpus:6-7"
check torchrun_against_interleaving torchrun "0 0 1 2" "interleaved:0 interleaved:0 interleaved:1 interleaved:2"
check torchrun_free torchrun "0-2 0-2 0-2" "free free free"
check by_hand by_hand "2 1-2" "cpus:6-7 cpus:4-7"
check without_bind_torchrun expect_codes "40 40 40" unbound torchrun "0 1 2" "interleaved:0 interleaved:1 interleaved:2"
check launch_on_memory_only_node launched "3" "-n 1 --tier hbm"
