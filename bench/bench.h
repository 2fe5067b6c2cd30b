/* SPDX-License-Identifier: Apache-2.0 */
/* bench.h - shm-bench inside: options, contenders, what ranks share while they measure, results */
#ifndef SHMRT_BENCH_H
#define SHMRT_BENCH_H

#include "meet.h"
#include "peer.h"
#include "shmrt.h"
#include "task.h"

#include <stdio.h>

enum {
    MAX_PEERS = 12,
    MAX_CONTENDERS = 16 + MAX_PEERS,
    MAX_SIZES = 48,
    MAX_SAMPLES = BENCH_MAX_SAMPLES,
    TURNS = 8,
    MAX_SAMPLES_A_TURN = MAX_SAMPLES / TURNS
};

#define MIN_SAMPLE_US 20.0
#define MIN_SINGLE_US 2.0 /* a shorter call is not timed alone: the clock would show */

struct bench_peer_option {
    char name[32];
    const char *command;
};

/** Where the library's buffers lie. */
enum bench_memory { BENCH_PRIVATE, BENCH_SHARED, BENCH_BOTH };

struct bench_options {
    uint32_t collective;
    uint32_t buffers;
    uint32_t root;
    int ranks;
    int threads; /* a rank; 0: as the library chooses */
    size_t first_bytes;
    size_t last_bytes;
    size_t factor;
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    bool out_of_place;
    enum bench_memory memory; /* shared: from shmrt_alloc */
    bool probe;
    bool traffic;
    bool quiet;
    bool verbose;
    double seconds; /* for one size and contender */
    double peer_timeout_s;
    const char *json_path;
    const char *plot_path;
    int peers;
    struct bench_peer_option peer[MAX_PEERS];
};

enum bench_kind { BENCH_LIBRARY, BENCH_FLOOR, BENCH_PROBE, BENCH_PEER };

/** Times of one contender at one size, in microseconds a call. */
struct bench_result {
    const char *contender;
    enum bench_kind kind;
    size_t bytes;       /* of a block: the size that was asked for */
    size_t moved_bytes; /* what a floor moves on each rank; else the larger of in and out */
    int batch;
    int samples;
    int singles; /* calls timed alone; 0: too short for that */
    double best_us;
    double median_us;
    double p99_us; /* of the singles */
};

/** Bytes that one call of the library moves, over all ranks; rank 0. */
struct bench_traffic {
    size_t bytes; /* the size that was asked for */
    int groups;
    uint64_t within_bytes;  /* of other ranks' memory, in the mover's own group */
    uint64_t between_bytes; /* from one group to another */
    uint64_t busiest_bytes; /* the most from any one group to any other */
};

/** A peer, as the parent started it. Ranks have the same pointers, since they are forked. */
struct bench_host {
    struct bench_peer_page *page;
    int guardian;      /* its pid */
    uint32_t expected; /* answers, when all have come; rank 0 */
};

/** Written by one rank between two barriers, read by all after the second. */
struct bench_shared {
    _Alignas(128) struct bench_barrier barrier;
    _Alignas(128) uint64_t ping;                        /* rank 0 writes, for the round trip */
    _Alignas(128) uint64_t pong;                        /* rank 1 writes */
    _Alignas(128) int decision;                         /* rank 0 */
    double slowest_us[MAX_SAMPLES];                     /* rank 0, from the next one */
    double us[SHMRT_MAX_RANKS][MAX_SAMPLES];            /* each rank its own */
    struct shmrt_traffic traffic[SHMRT_MAX_RANKS];      /* each rank its own */
    uint64_t cpus[SHMRT_MAX_RANKS][BENCH_CPU_WORDS];    /* the parent */
    char skipped[MAX_CONTENDERS][2 * BENCH_TEXT_BYTES]; /* rank 0: why; "": not skipped */
};

/** A pair of buffers; in place they are one. */
struct bench_place {
    char *in;
    char *out;
    bool shared;
};

/** Two where private and shared memory take turns. */
enum { MAX_PLACES = 2 };

struct bench_norm;

/** One rank's state while it measures. */
struct bench_rank {
    const struct bench_options *options;
    struct bench_shared *shared;
    struct bench_host *hosts;
    const struct bench_contender *contenders;
    int contender_count;
    const char *job;
    struct shmrt_comm *comm;
    int rank;
    struct bench_party party;
    size_t bytes;           /* of the current size */
    struct bench_task task; /* at the current size */
    int current;            /* the contender that is timed */
    char *in;               /* the current contender's */
    char *out;              /* in place: the same as in */
    struct bench_place place[MAX_PLACES];
    struct bench_norm *norm;    /* norm.c; NULL: another collective */
    struct shmrt_comm *created; /* create.c */
    unsigned creations;
    char *copy;  /* where memcpy copies to */
    char *plane; /* of all ranks, shared: one payload each, in rank order, @plane_bytes apart */
    size_t plane_bytes;
    uint64_t round; /* of the remote floors: what their lines hold */
};

struct bench_contender {
    char name[32];
    enum bench_kind kind;
    bool by_size; /* false: it does the same whatever the size */
    /* Does it @calls times; 0 or a negative errno. */
    int (*run)(struct bench_rank *rank, int calls);
    /* Untimed, before every call, by all ranks; NULL: what the option --buffers says. */
    int (*prepare)(struct bench_rank *rank);
    /* Does it once with data that tells right from wrong; 0, or -EBADMSG when it is wrong. */
    int (*verify)(struct bench_rank *rank);
    int peer;  /* index of a peer; its functions are NULL */
    int place; /* of its buffers */
};

/* ours.c: the library's collectives */
bool bench_ours_exists(uint32_t collective);
int bench_ours_run(struct bench_rank *rank, int calls);
int bench_ours_verify(struct bench_rank *rank);
int bench_places_take(struct bench_rank *rank);
void bench_places_give_back(struct bench_rank *rank);

/* norm.c: all-reduce with norm, in one call and in two */
int bench_norm_take(struct bench_rank *rank);
void bench_norm_give_back(struct bench_rank *rank);
int bench_norm_run(struct bench_rank *rank, int calls);
int bench_norm_verify(struct bench_rank *rank);
int bench_unfused_run(struct bench_rank *rank, int calls);
int bench_unfused_verify(struct bench_rank *rank);

/* create.c: a communicator and its first all-reduce */
int bench_create_prepare(struct bench_rank *rank);
int bench_create_run(struct bench_rank *rank, int calls);
int bench_create_verify(struct bench_rank *rank);

/* floors.c, forkjoin.c: what no collective can beat, on the same ranks */
int bench_memcpy_run(struct bench_rank *rank, int calls);
int bench_memcpy_verify(struct bench_rank *rank);
int bench_roundtrip_run(struct bench_rank *rank, int calls);
int bench_remote_read_prepare(struct bench_rank *rank);
int bench_remote_read_run(struct bench_rank *rank, int calls);
int bench_remote_read_verify(struct bench_rank *rank);
int bench_remote_write_prepare(struct bench_rank *rank);
int bench_remote_write_run(struct bench_rank *rank, int calls);
int bench_remote_write_verify(struct bench_rank *rank);
int bench_forkjoin_run(struct bench_rank *rank, int calls);
int bench_forkjoin_verify(struct bench_rank *rank);

/* contenders.c */
int bench_list_contenders(const struct bench_options *options, struct bench_contender *out);

/** Make a contender the current one, with its buffers. */
void bench_choose(struct bench_rank *rank, int contender);

/** The task of a size: the same for ours, for peers and for the sums of bytes. */
struct bench_task bench_task_of(const struct bench_options *options, size_t bytes);

/* measure.c */

/**
 * bench_measure - measure all contenders at the current size, in turns
 * @results: one a contender, complete on rank 0; samples 0 for one that is skipped
 *
 * A sample is a batch of calls of at least 20 us; of each sample the slowest rank counts.
 */
int bench_measure(struct bench_rank *rank, struct bench_result *results);
void bench_summarise(double *us, int n, struct bench_result *out);
double bench_p99(double *us, int n);

/* walk.c: what a rank does from fork to exit; its exit status */
int bench_walk(struct bench_rank *rank, const char *job, const struct bench_result *probes,
               size_t probe_count);

/* traffic.c */

/** One more call, by all ranks; rank 0 gets what it moved. */
int bench_traffic_take(struct bench_rank *rank, struct bench_traffic *out);

/* probe.c: the floors once more, by code that shares nothing with the library or the rest */
int bench_probe(const struct bench_options *options, const uint64_t cpus[][BENCH_CPU_WORDS],
                struct bench_result *results, size_t *count_out);

/* host.c: the side of shm-bench in what peer.h describes */
int bench_hosts_start(const struct bench_options *options, const struct bench_shared *shared,
                      struct bench_host *hosts, int *lifeline_out);
void bench_hosts_end(const struct bench_options *options, const struct bench_host *hosts,
                     int lifeline);
void bench_hosts_await(struct bench_rank *rank);
void bench_hosts_quit(struct bench_rank *rank);

/** All ranks; fills slowest_us on all. Trouble is in skipped[], never in the answer. */
int bench_host_verify(struct bench_rank *rank, int contender);
int bench_host_run(struct bench_rank *rank, int contender, int batch, int samples);

/* guard.c: a process that looks after one peer; does not return */
_Noreturn void bench_guard(struct bench_peer_page *page, const char *control, const char *command,
                           int threads, int lifeline, bool verbose);

/** The exit status: 0, 2 (usage, told on stderr), or -1 to go on. */
int bench_parse(int argc, char **argv, struct bench_options *out);

/* table.c, json.c, machine.c, plot.c: rank 0 tells */
struct bench_machine {
    char cpu[128];
    char kernel[128];
    char caches[256]; /* "L1d 48 KiB, L2 2 MiB, L3 480 MiB of 2 CPUs" */
    int cpus;
    int cores;
    int numa_nodes;
    double clock_ns; /* what reading the clock costs */
};

/** Everything that is reported. */
struct bench_report {
    const struct bench_rank *rank;
    struct bench_machine machine;
    struct bench_result *results;
    size_t count;
    size_t room;
    struct bench_traffic traffic[MAX_SIZES];
    size_t traffic_count;
};

void bench_machine_read(struct bench_machine *out);
const struct bench_result *bench_find(const struct bench_report *report, const char *contender,
                                      size_t bytes);

/** Medians of one of ours against others at one size; 0 where there is nothing to compare with. */
struct bench_ratios {
    double memcpy_x;
    double roundtrip_x;
    double floor_x; /* remote_write + remote_read + memcpy / 2 */
    double floor_us;
    double best_peer_x;
    const char *best_peer;
};

struct bench_ratios bench_ratios_at(const struct bench_report *report, const char *contender,
                                    size_t bytes);
const char *bench_size_text(size_t bytes, char out[24]);
void bench_cpus_text(const uint64_t *mask, char *out, size_t bytes);
void bench_print_head(const struct bench_report *report);
void bench_print_row(const struct bench_report *report, size_t bytes);
void bench_print_tail(const struct bench_report *report);
void bench_print_traffic(const struct bench_report *report);
void bench_progress(const struct bench_rank *rank, const char *contender, double done);
int bench_write_json(const struct bench_report *report, FILE *file);
int bench_plot(const struct bench_report *report, const char *path);

#endif
