#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The first process of a guest: runs the checks and ends the machine.
export PATH=/bin HOME=/root LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s, Linux $(uname -r)"
sh /run
guest_exit $?
