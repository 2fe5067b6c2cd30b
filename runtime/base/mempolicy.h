/* SPDX-License-Identifier: Apache-2.0 */
/* mempolicy.h - the kernel's calls about NUMA memory (L0): libnuma's wrappers, or the same system
 * calls in a build without libraries for the topology (SHMRT_TOPO=OFF), for CPUs that have none */
#ifndef SHMRT_MEMPOLICY_H
#define SHMRT_MEMPOLICY_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#ifdef SHMRT_WITH_LIBNUMA
#include <numaif.h>
#define SHMRT_NUMA_CALL(name, ...) name(__VA_ARGS__)
#else
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#define SHMRT_NUMA_CALL(name, ...) syscall(SYS_##name, __VA_ARGS__)
#endif

/*
 * Each returns 0 or a negative errno value: -ENOSYS where the kernel has no NUMA, -EPERM in many
 * containers. Of a mask the kernel reads one bit less than it is told, here as well.
 */
static inline int shmrt_sys_set_mempolicy(int mode, const unsigned long *nodes, size_t bits)
{
    return SHMRT_NUMA_CALL(set_mempolicy, mode, nodes, bits) == 0 ? 0 : -errno;
}

/** @address: with MPOL_F_ADDR, the policy of its page; else NULL. @nodes_out may be NULL. */
static inline int shmrt_sys_get_mempolicy(int *mode_out, unsigned long *nodes_out, size_t bits,
                                          const void *address, unsigned long flags)
{
    /* The kernel does not write to @address, whatever libnuma declares. */
    void *page = (void *)(uintptr_t)address;
    return SHMRT_NUMA_CALL(get_mempolicy, mode_out, nodes_out, bits, page, flags) == 0 ? 0 : -errno;
}

static inline int shmrt_sys_mbind(void *base, size_t bytes, int mode, const unsigned long *nodes,
                                  size_t bits, unsigned flags)
{
    return SHMRT_NUMA_CALL(mbind, base, bytes, mode, nodes, bits, flags) == 0 ? 0 : -errno;
}

/** The node of each page of @pid (0: the caller), or a negative errno value, in @nodes_out. */
static inline int shmrt_sys_page_nodes(int pid, size_t count, void **pages, int *nodes_out)
{
    return SHMRT_NUMA_CALL(move_pages, pid, count, pages, NULL, nodes_out, 0) == 0 ? 0 : -errno;
}

#endif
