/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meet.h - how processes start a sample together and time it
 *
 * Without shmrt: its own barrier, so that the ranks of shm-bench and those of a peer start in the
 * same way and no contender's barrier is part of the measurement.
 */
#ifndef SHMRT_BENCH_MEET_H
#define SHMRT_BENCH_MEET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A barrier in shared memory. Zero is a fresh one. */
struct bench_barrier {
    uint32_t arrived;    /* ranks of this round; the last one writes 0 */
    uint32_t generation; /* a futex; rounds done; the last to arrive adds 1 */
    uint32_t sleepers;   /* each sleeper adds and takes away itself */
    uint32_t zero;
    uint64_t
        start_ns; /* when all leave, for bench_start(); the last to arrive, before generation */
};

/** Who meets there. */
struct bench_party {
    struct bench_barrier *barrier;
    uint32_t ranks;
    int (*stop)(void *arg); /* asked now and then by one who waits; not 0: give up */
    void *stop_arg;
};

enum bench_patience {
    BENCH_SPIN, /* spin, then yield, then sleep: the others come at once */
    BENCH_SLEEP /* sleep: leave the CPU to others meanwhile */
};

uint64_t bench_now_ns(void);

/** Return 0 when all have called it, or what stop() answered. */
int bench_meet(const struct bench_party *party, enum bench_patience patience);

/** Meet, and leave at one moment by the clock that all ranks share. */
int bench_start(const struct bench_party *party);

/** What a sample is made of. */
struct bench_batch {
    int (*run)(void *arg, int calls); /* 0 or a negative errno */
    int (*prepare)(void *arg);        /* untimed, before every call; NULL: calls just follow */
    void *arg;
};

/**
 * bench_time_batch - run @calls calls, started together with the other ranks
 * @us_out: this rank's time of all of them
 *
 * Without prepare() the clock is read twice. With it every call starts together and is timed
 * apart, after all ranks have prepared, and the times are added up; nothing is subtracted.
 */
int bench_time_batch(const struct bench_party *party, const struct bench_batch *batch, int calls,
                     double *us_out);

/** Sleep until *@word is no longer @value, at most @ms; may return early. */
void bench_sleep(const uint32_t *word, uint32_t value, int ms);
void bench_wake(uint32_t *word);

/** Go to the CPUs of @mask, bit c of word c / 64 for CPU c; an empty mask means any. */
int bench_pin(const uint64_t *mask, size_t words);

#ifdef __cplusplus
}
#endif
#endif
