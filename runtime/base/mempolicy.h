/* SPDX-License-Identifier: Apache-2.0 */
/* mempolicy.h - the kernel's calls about NUMA memory, which libc has no names for (L0). libnuma
 * has, but is not to be had for every CPU, and nothing else of it is needed. */
#ifndef SHMRT_MEMPOLICY_H
#define SHMRT_MEMPOLICY_H

#include <errno.h>
#include <linux/mempolicy.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * Each returns 0 or a negative errno value: -ENOSYS where the kernel has no NUMA, -EPERM in many
 * containers. Of a mask the kernel reads one bit less than it is told, here as well.
 */
static inline int shmrt_sys_set_mempolicy(int mode, const unsigned long *nodes, size_t bits)
{
    return syscall(SYS_set_mempolicy, mode, nodes, bits) == 0 ? 0 : -errno;
}

/** @address: with MPOL_F_ADDR, the policy of its page; else NULL. @nodes_out may be NULL. */
static inline int shmrt_sys_get_mempolicy(int *mode_out, unsigned long *nodes_out, size_t bits,
                                          const void *address, unsigned long flags)
{
    return syscall(SYS_get_mempolicy, mode_out, nodes_out, bits, address, flags) == 0 ? 0 : -errno;
}

static inline int shmrt_sys_mbind(void *base, size_t bytes, int mode, const unsigned long *nodes,
                                  size_t bits, unsigned flags)
{
    return syscall(SYS_mbind, base, bytes, mode, nodes, bits, flags) == 0 ? 0 : -errno;
}

/** The node of each page of @pid (0: the caller), or a negative errno value, in @nodes_out. */
static inline int shmrt_sys_page_nodes(int pid, size_t count, void **pages, int *nodes_out)
{
    return syscall(SYS_move_pages, pid, count, pages, NULL, nodes_out, 0) == 0 ? 0 : -errno;
}

#endif
