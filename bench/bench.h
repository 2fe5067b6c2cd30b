/* SPDX-License-Identifier: Apache-2.0 */
/* bench.h - shm-bench inside: options, what ranks share while they measure, results */
#ifndef SHMRT_BENCH_H
#define SHMRT_BENCH_H

#include "shmrt.h"

#include <stdatomic.h>

enum { MAX_SAMPLES = 512, MAX_CONTENDERS = 4 };

struct bench_options {
    int ranks;
    size_t first_bytes;
    size_t last_bytes;
    size_t factor;
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    bool out_of_place;
    bool quiet;
    double seconds; /* for one size and contender */
    const char *json_path;
};

/** Times of one contender at one size, in microseconds a call. */
struct bench_result {
    const char *contender;
    size_t bytes;
    double best_us;
    double median_us;
    double p99_us;
};

/** Written by one rank between two barriers, read by all after the second. */
struct bench_shared {
    _Alignas(128) _Atomic uint64_t ping; /* rank 0 writes, for the round trip */
    _Alignas(128) _Atomic uint64_t pong; /* rank 1 writes */
    _Alignas(128) int batch;             /* rank 0 decides: calls of a sample, and samples */
    int samples;
    double sample_us[SHMRT_MAX_RANKS][MAX_SAMPLES];
    char cpus[SHMRT_MAX_RANKS][64];
};

/** One rank's state while it measures. */
struct bench_rank {
    const struct bench_options *options;
    struct bench_shared *shared;
    struct shmrt_comm *comm;
    int rank;
    size_t bytes; /* of the current size */
    char *in;
    char *out;
};

struct bench_contender {
    const char *name;
    /* Does it @calls times; 0 or a negative errno. */
    int (*run)(struct bench_rank *rank, int calls);
    bool by_size; /* false: one line, whatever the size */
};

extern const struct bench_contender bench_contenders[];
int bench_contender_count(int ranks);

/** Fill the buffers, all-reduce once, compare every byte. 0, or -EBADMSG when it is wrong. */
int bench_verify(struct bench_rank *rank);

/**
 * bench_measure - measure all contenders at the current size, in turns
 * @results: one a contender, complete on rank 0
 *
 * A sample is a batch of calls of at least 20 us; of each sample the slowest rank counts.
 */
int bench_measure(struct bench_rank *rank, struct bench_result *results);

/** The exit status: 0, 2 (usage, told on stderr), or -1 to go on. */
int bench_parse(int argc, char **argv, struct bench_options *out);

void bench_print_head(const struct bench_rank *rank, double roundtrip_us);
void bench_print_row(const struct bench_result *results, double roundtrip_us);
int bench_write_json(const struct bench_options *options, const struct bench_result *results,
                     size_t count);

#endif
