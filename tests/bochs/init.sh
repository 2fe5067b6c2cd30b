#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The first process of the guest: runs the programs that /programs names and ends the machine.
export PATH=/bin HOME=/root LC_ALL=C SHMRT_TUNE=off
# Bochs is slow. The stride is prime, so that every type, operation, number of terms and count gets its turn.
export SHMRT_TEST_STRIDE=11 SHMRT_TEST_RUNGS=avx512
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs -o mode=1777 shm /dev/shm
echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s, Linux $(uname -r)"
if ! f16c_ties; then
    echo "guest: float16 is left out"
    export SHMRT_TEST_WITHOUT=float16
fi
while read -r program; do
    echo "@begin $program"
    "$program"
    echo "@end $program $? $(cut -d' ' -f1 /proc/uptime)"
done </programs
bochs_exit
