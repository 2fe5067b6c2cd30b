/* SPDX-License-Identifier: Apache-2.0 */
/* wake.c - the waker's side of a sleep; wait.c has the sleeper's side and the race between them. */
#include "sync.h"

#include "base/clock.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

bool shmrt_sync_has_membarrier(void)
{
    long known = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    return known >= 0 && (known & MEMBARRIER_CMD_GLOBAL_EXPEDITED) &&
           syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

bool shmrt_wake(struct shmrt_sync *sync, int rank, int lane)
{
    _Atomic uint32_t *asleep = &sync->peers[rank].sleep[lane].asleep;
    /* One waker of several does the system call. The value has to change, or a sleeper that has
     * looked at the flag but is not yet in the kernel would miss the wake-up. */
    if (!atomic_exchange_explicit(asleep, 0, memory_order_relaxed))
        return false;
    syscall(SYS_futex, asleep, FUTEX_WAKE, 1, NULL, NULL, 0);
    return true;
}

void shmrt_wake_peer(struct shmrt_sync *sync, int rank, int lane)
{
    if (shmrt_wake(sync, rank, lane))
        sync->stats[lane].woke_ns = shmrt_now_ns();
}
