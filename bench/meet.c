/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meet.c - the barrier of the benchmark, and the timing of a batch.
 *
 * The last rank to arrive would leave a plain barrier a line transfer before the others, and its
 * sample would contain that lead. So it names a moment a little ahead, and all leave then: the
 * clock is one for all CPUs of a machine.
 */
#include "meet.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPINS = 2000, YIELD_NS = 1000000, SLEEP_MS = 50, LEAD_NS = 1500 };

uint64_t bench_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

void bench_sleep(const uint32_t *word, uint32_t value, int ms)
{
    struct timespec most = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &most, NULL, 0);
}

void bench_wake(uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Returns as soon as *word is not value, or after a while without it. */
static void spin(const uint32_t *word, uint32_t value)
{
    for (int i = 0; i < SPINS; i++) {
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
            return;
        relax();
    }
    uint64_t until = bench_now_ns() + YIELD_NS;
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value && bench_now_ns() < until)
        sched_yield();
}

static int await_generation(const struct bench_party *party, uint32_t generation,
                            enum bench_patience patience)
{
    struct bench_barrier *b = party->barrier;
    int rc = 0;
    if (patience == BENCH_SPIN)
        spin(&b->generation, generation);
    while (rc == 0 && __atomic_load_n(&b->generation, __ATOMIC_ACQUIRE) == generation) {
        /* Counted before the kernel compares the generation; the last one adds to the generation
         * before it looks at the count: one of the two sees the other. */
        __atomic_fetch_add(&b->sleepers, 1, __ATOMIC_SEQ_CST);
        bench_sleep(&b->generation, generation, SLEEP_MS);
        __atomic_fetch_sub(&b->sleepers, 1, __ATOMIC_SEQ_CST);
        rc = party->stop ? party->stop(party->stop_arg) : 0;
    }
    return rc;
}

int bench_meet(const struct bench_party *party, enum bench_patience patience)
{
    struct bench_barrier *b = party->barrier;
    uint32_t generation = __atomic_load_n(&b->generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&b->arrived, 1, __ATOMIC_ACQ_REL) < party->ranks)
        return await_generation(party, generation, patience);
    __atomic_store_n(&b->arrived, 0, __ATOMIC_RELAXED);
    b->start_ns = bench_now_ns() + LEAD_NS;
    __atomic_store_n(&b->generation, generation + 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&b->sleepers, __ATOMIC_SEQ_CST) > 0)
        bench_wake(&b->generation);
    return 0;
}

int bench_start(const struct bench_party *party)
{
    int rc = bench_meet(party, BENCH_SPIN);
    while (rc == 0 && bench_now_ns() < party->barrier->start_ns)
        relax();
    return rc;
}

/* Every call by itself, after all ranks have prepared. */
static int time_apart(const struct bench_party *party, const struct bench_batch *batch, int calls,
                      double *us_out)
{
    uint64_t total_ns = 0;
    int rc = 0;
    for (int i = 0; i < calls && rc == 0; i++) {
        if ((rc = bench_meet(party, BENCH_SPIN)) != 0 || (rc = batch->prepare(batch->arg)) != 0 ||
            (rc = bench_start(party)) != 0)
            break;
        uint64_t start_ns = bench_now_ns();
        rc = batch->run(batch->arg, 1);
        total_ns += bench_now_ns() - start_ns;
    }
    *us_out = (double)total_ns / 1e3;
    return rc;
}

int bench_time_batch(const struct bench_party *party, const struct bench_batch *batch, int calls,
                     double *us_out)
{
    if (batch->prepare)
        return time_apart(party, batch, calls, us_out);
    int rc = bench_start(party);
    uint64_t start_ns = bench_now_ns();
    if (rc == 0)
        rc = batch->run(batch->arg, calls);
    *us_out = (double)(bench_now_ns() - start_ns) / 1e3;
    return rc;
}

int bench_pin(const uint64_t *mask, size_t words)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (size_t cpu = 0; cpu < words * 64 && cpu < CPU_SETSIZE; cpu++)
        if (mask[cpu / 64] >> cpu % 64 & 1)
            CPU_SET(cpu, &set);
    if (CPU_COUNT(&set) == 0)
        return 0;
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : -errno;
}
