# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Two nodes of two CPUs each.
check launch_2 launched "0 1" "-n 2"
check launch_4_that_share_nodes launched "0 0 1 1" "-n 4"
check launch_1_over_both_nodes launched "0:0-1" "-n 1"
check launch_interleaved launched "0:0-1" "-n 1 --mem interleave"
check torchrun_by_cpus torchrun "0 0 1 1" "cpus:0 cpus:1 cpus:2 cpus:3"
check torchrun_by_node torchrun "0 1" "node:0 node:1" --ask segment,pool,heap,stack
check torchrun_against_interleaving torchrun "0 1" "interleaved:0 interleaved:1"
# Ranks that nobody pins may run everywhere, and so may their pages be.
check torchrun_free torchrun "0-1 0-1" "free free"
check by_hand by_hand "1 0 1" "cpus:2-3 cpus:0-1 cpus:2-3"

# The checks find what they are for: binding that is taken out, and a report that differs from the kernel's.
check without_bind_torchrun expect_codes "40 40" unbound torchrun "0 1" "interleaved:0 interleaved:1"
check without_bind_by_hand expect_codes "40 40" unbound by_hand "0 1" "interleaved:0 interleaved:1"
check without_bind_launched unbound launched_wrong "0 1" "-n 2" numactl --interleave=all
check on_wrong_nodes expect_codes "41 41" torchrun "1 0" "cpus:0-1 cpus:2-3"

# A rank's CPUs change: results stay right, and its memory where it was.
move_rank_0() {
    taskset -a -p -c 2-3 "$(pid_of 0)"
}
check affinity_moves meanwhile move_rank_0 torchrun "0 1" "cpus:0-1 cpus:2-3"

# With its cpuset the kernel moves a rank's pages to the new nodes, bound or not: the report has to say so.
echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control
# group NAME CPUS NODE
group() {
    mkdir "/sys/fs/cgroup/$1"
    echo "$2" >"/sys/fs/cgroup/$1/cpuset.cpus"
    echo "$3" >"/sys/fs/cgroup/$1/cpuset.mems"
}
group first 0-1 0
group second 2-3 1
group far 2-3 0
check cpusets torchrun "0 1" "group:first group:second"
check cpuset_without_own_memory torchrun "0 0" "group:first group:far"
move_task() {
    pid_of 0 >/sys/fs/cgroup/second/cgroup.procs
}
check task_moves_to_other_cpuset expect_codes "40 0" meanwhile move_task by_hand "0 1" "group:first group:second"
move_cpuset() {
    echo 2-3 >/sys/fs/cgroup/first/cpuset.cpus && echo 1 >/sys/fs/cgroup/first/cpuset.mems
}
check cpuset_moves expect_codes "40 0" meanwhile move_cpuset torchrun "0 1" "group:first group:second"

# NUMA balancing moves private pages after a rank, as it has to show here, but none that are bound.
tune=/sys/kernel/debug/sched/numa_balancing
echo 20 >$tune/scan_delay_ms
echo 20 >$tune/scan_period_min_ms
echo 100 >$tune/scan_period_max_ms
echo 1 >/proc/sys/kernel/numa_balancing
migrated() {
    sed -n 's/^numa_pages_migrated //p' /proc/vmstat
}
move_and_wait() {
    before=$(migrated) waited=0
    taskset -a -p -c 2-3 "$(pid_of 0)"
    while [ "$(migrated)" -lt $((before + 100)) ]; do
        [ $waited -lt 300 ] || return 1
        sleep 0.2
        waited=$((waited + 1))
    done
    echo "balancing moved $(($(migrated) - before)) pages"
}
check balancing_moves_no_bound_page meanwhile move_and_wait by_hand "0 1" "cpus:0-1 cpus:2-3"
check balancing_launched launched "0 1" "-n 2"
echo 0 >/proc/sys/kernel/numa_balancing

# Huge pages: transparent ones, and those set aside on each node; then too few on the second.
thp=/sys/kernel/mm/transparent_hugepage
echo advise >$thp/shmem_enabled
check transparent_torchrun in_huge_pages 8192 with SHMRT_HUGE_PAGES=transparent torchrun "0 1" "cpus:0-1 cpus:2-3"
check transparent_launched in_huge_pages 8192 with SHMRT_HUGE_PAGES=transparent launched "0 1" "-n 2"
set_aside() {
    for node in 0 1; do
        echo "$1" >/sys/devices/system/node/node$node/hugepages/hugepages-2048kB/nr_hugepages
        shift
    done
    cat /sys/devices/system/node/node*/hugepages/hugepages-2048kB/nr_hugepages
}
export SHMRT_POOL=16M # all of its pages are promised
set_aside 24 24
check hugetlb_torchrun in_huge_pages 8192 with SHMRT_HUGE_PAGES=hugetlb torchrun "0 1" "cpus:0-1 cpus:2-3"
check hugetlb_against_interleaving in_huge_pages 8192 with SHMRT_HUGE_PAGES=hugetlb \
    torchrun "0 1" "interleaved:0 interleaved:1"
check hugetlb_launched in_huge_pages 8192 with SHMRT_HUGE_PAGES=hugetlb launched "0 1" "-n 2"
check hugetlb_without_bind expect_codes "40 40" with SHMRT_HUGE_PAGES=hugetlb \
    unbound torchrun "0 1" "interleaved:0 interleaved:1"
set_aside 48 1
check hugetlb_too_few says "3 more are needed; raise .*/node1/.*; ordinary pages serve instead" \
    with SHMRT_HUGE_PAGES=hugetlb torchrun "0 1" "cpus:0-1 cpus:2-3"
