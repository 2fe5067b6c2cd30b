/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - the floors a second time, by code that shares nothing with the library or with the
 * other contenders: its own fork, mapping, barrier, clock and loops. Where both agree, neither
 * flatters nor hides. Runs before anything else is started.
 *
 * Each process times its own calls; a call's time is the slowest process's. Small sizes are timed
 * in batches only where nothing has to happen between two calls (memcpy, round trip, fork-join).
 */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_SAMPLES = 301, LONG_ENOUGH_US = 20 };

enum probe_floor { COPY, ROUNDTRIP, READ, WRITE, FORKJOIN, FLOORS };

static const char *const probe_names[FLOORS] = {
    "probe.memcpy", "probe.roundtrip", "probe.remote_read", "probe.remote_write", "probe.forkjoin"};

/* One mapping of all processes; the parts lie behind it. */
struct field {
    _Alignas(256) uint32_t count; /* arrivals at the barrier, for ever */
    _Alignas(256) uint32_t call;  /* of the round trip: process 0 */
    _Alignas(256) uint32_t echo;  /* process 1, on its own line */
    _Alignas(256) int batch;      /* process 0 */
    int samples;
    int found;
    double us[SHMRT_MAX_RANKS][MOST_SAMPLES];
};

struct prober {
    struct field *field;
    int rank;
    int ranks;
    int threads;
    uint32_t arrivals; /* own, at the barrier */
    unsigned char *own;
    unsigned char *other;
    unsigned char *from; /* private */
    unsigned char *to;
    size_t bytes;
};

static double clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* A counter that only grows: round k is over when ranks * k have arrived. */
static void gather_all(struct prober *p)
{
    uint32_t wanted = ++p->arrivals * (uint32_t)p->ranks;
    __atomic_fetch_add(&p->field->count, 1, __ATOMIC_ACQ_REL);
    for (int spins = 0; (int32_t)(__atomic_load_n(&p->field->count, __ATOMIC_ACQUIRE) - wanted) < 0;
         spins++)
        if (spins > 4000)
            sched_yield();
}

/* One load of each line is enough to bring it here. */
static void read_lines(const unsigned char *from, size_t bytes)
{
    const volatile uint64_t *words = (const volatile uint64_t *)(const void *)from;
    for (size_t i = 0; i < (bytes + 63) / 64; i++)
        (void)words[i * 8];
}

/* One store to each line is enough to take it from the others. */
static void write_lines(unsigned char *to, size_t bytes)
{
    volatile uint64_t *words = (volatile uint64_t *)(void *)to;
    for (size_t i = 0; i < (bytes + 63) / 64; i++)
        words[i * 8] = i;
}

/* Process 0 writes its line, process 1 answers on its own. */
static void bounce(struct prober *p, int calls)
{
    struct field *f = p->field;
    if (p->rank > 1)
        return;
    uint32_t *own = p->rank ? &f->echo : &f->call;
    const uint32_t *other = p->rank ? &f->call : &f->echo;
    for (uint32_t last = *own + (uint32_t)calls; *own != last;) {
        uint32_t next = *own + 1;
        if (p->rank == 0)
            __atomic_store_n(own, next, __ATOMIC_RELEASE);
        for (int spins = 0; __atomic_load_n(other, __ATOMIC_ACQUIRE) != next; spins++)
            if (spins > 4000)
                sched_yield();
        if (p->rank == 1)
            __atomic_store_n(own, next, __ATOMIC_RELEASE);
    }
}

static void fork_and_join(int threads, int calls)
{
    for (int i = 0; i < calls; i++) {
#pragma omp parallel num_threads(threads)
        __asm__ __volatile__("" : : : "memory");
    }
    (void)threads;
}

/* Untimed: what the other core has to do to the lines before a call. */
static void flip(struct prober *p, enum probe_floor floor)
{
    if (floor == READ)
        memset(p->own, p->own[0] + 1, p->bytes);
    else if (floor == WRITE)
        read_lines(p->other, p->bytes);
}

static void do_calls(struct prober *p, enum probe_floor floor, int calls)
{
    if (floor == ROUNDTRIP)
        bounce(p, calls);
    else if (floor == FORKJOIN)
        fork_and_join(p->threads, calls);
    else if (floor == READ)
        read_lines(p->other, p->bytes);
    else if (floor == WRITE)
        write_lines(p->own, p->bytes);
    else
        for (int i = 0; i < calls; i++) {
            memcpy(p->to, p->from, p->bytes);
            __asm__ __volatile__("" : : "r"(p->to) : "memory");
        }
}

static double time_calls(struct prober *p, enum probe_floor floor, int calls)
{
    gather_all(p);
    flip(p, floor);
    gather_all(p);
    double start = clock_us();
    do_calls(p, floor, calls);
    return clock_us() - start;
}

/* Process 0 decides: the batch is doubled until it is long enough, then as many as there is time
 * for. */
static int size_batch(struct prober *p, enum probe_floor floor, double seconds, int *samples_out)
{
    bool is_apart = floor == READ || floor == WRITE;
    struct field *f = p->field;
    for (int batch = 1;; batch *= 2) {
        double us = time_calls(p, floor, batch);
        us = time_calls(p, floor, batch);
        if (p->rank == 0) {
            double samples = seconds * 1e6 / (us + 1);
            f->batch = is_apart || us >= LONG_ENOUGH_US ? batch : 0;
            f->samples = samples > MOST_SAMPLES ? MOST_SAMPLES : samples < 5 ? 5 : (int)samples;
        }
        gather_all(p);
        int chosen = f->batch;
        *samples_out = f->samples;
        gather_all(p);
        if (chosen)
            return chosen;
    }
}

static void probe_one(struct prober *p, enum probe_floor floor, double seconds,
                      struct bench_result *out)
{
    double us[MOST_SAMPLES];
    int samples = 0, batch = size_batch(p, floor, seconds, &samples);
    for (int i = 0; i < samples; i++)
        p->field->us[p->rank][i] = time_calls(p, floor, batch) / batch;
    gather_all(p);
    for (int i = 0; i < samples; i++) {
        us[i] = 0;
        for (int r = 0; r < p->ranks; r++)
            us[i] = p->field->us[r][i] > us[i] ? p->field->us[r][i] : us[i];
    }
    *out =
        (struct bench_result){.contender = probe_names[floor],
                              .kind = BENCH_PROBE,
                              .bytes = out->bytes,
                              .moved_bytes = floor == ROUNDTRIP || floor == FORKJOIN ? 0 : p->bytes,
                              .batch = batch};
    bench_summarise(us, samples, out);
    gather_all(p);
}

/* Of what process 0 finds, only numbers leave it: into @results, which are shared. */
static int probe_sizes(struct prober *p, const struct bench_options *o,
                       struct bench_result *results)
{
    struct bench_result unused;
    int n = 0;
    for (size_t bytes = o->first_bytes; bytes <= o->last_bytes; bytes *= o->factor) {
        struct bench_task task = bench_task_of(o, bytes);
        p->bytes = bench_payload_bytes(&task);
        for (enum probe_floor floor = COPY; floor < FLOORS; floor++) {
            bool moves = floor != ROUNDTRIP && floor != FORKJOIN;
            bool is_pair = floor != COPY && floor != FORKJOIN;
            if ((moves && p->bytes == 0) || (is_pair && p->ranks == 1))
                continue;
            struct bench_result *out = p->rank == 0 ? &results[n++] : &unused;
            out->bytes = bytes;
            probe_one(p, floor, o->seconds * (moves ? 0.5 : 0.1), out);
        }
        if (bytes == 0)
            break;
    }
    return n;
}

static size_t part_bytes(const struct bench_options *o)
{
    struct bench_task largest = bench_task_of(o, o->last_bytes);
    return (bench_payload_bytes(&largest) + 8191) / 4096 * 4096;
}

static int probe_rank(const struct bench_options *o, int rank, const uint64_t *cpus,
                      struct field *field, struct bench_result *results)
{
    size_t part = part_bytes(o);
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int cpu = 0; cpu < BENCH_CPU_WORDS * 64; cpu++)
        if (cpus[cpu / 64] >> cpu % 64 & 1)
            CPU_SET(cpu, &set);
    if (CPU_COUNT(&set) > 0 && sched_setaffinity(0, sizeof set, &set) != 0)
        return 1;
    unsigned char *parts = (unsigned char *)field + sizeof *field;
    unsigned char *mine = mmap(NULL, 2 * part, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (mine == MAP_FAILED)
        return 1;
    struct prober p = {.field = field,
                       .rank = rank,
                       .ranks = o->ranks,
                       .threads = o->threads > 1 ? o->threads : 1,
                       .own = parts + (size_t)rank * part,
                       .other = parts + (size_t)((rank + 1) % o->ranks) * part,
                       .from = mine,
                       .to = mine + part};
    memset(p.own, 1, part);
    memset(p.from, 1, part);
    memset(p.to, 2, part);
    int n = probe_sizes(&p, o, results);
    if (rank == 0)
        field->found = n;
    return 0;
}

static int await_all(int started, int wanted)
{
    int failed = started < wanted, status;
    for (int i = 0; i < started; i++)
        if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
            failed = 1;
    if (failed)
        fprintf(stderr, "shm-bench: the probe failed\n");
    return failed;
}

int bench_probe(const struct bench_options *options, const uint64_t cpus[][BENCH_CPU_WORDS],
                struct bench_result *results, size_t *count_out)
{
    size_t table = sizeof *results * MAX_SIZES * FLOORS;
    size_t bytes = sizeof(struct field) + part_bytes(options) * (size_t)options->ranks;
    void *memory =
        mmap(NULL, bytes + table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("shm-bench: probe");
        return 1;
    }
    struct field *field = memory;
    struct bench_result *found = (void *)((char *)memory + bytes);
    int started = 0;
    pid_t parent = getpid();
    fflush(NULL);
    for (pid_t pid = 1; started < options->ranks && pid > 0; started += pid > 0) {
        pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(getppid() != parent || probe_rank(options, started, cpus[started], field, found));
        }
    }
    int status = await_all(started, options->ranks);
    *count_out = status ? 0 : (size_t)field->found;
    memcpy(results, found, *count_out * sizeof *results);
    munmap(memory, bytes + table);
    return status;
}
