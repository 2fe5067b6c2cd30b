/* SPDX-License-Identifier: Apache-2.0 */
/* mixed_rank.c - a rank of stress_mixed: episode after episode, also when another rank dies. */
#include "mixed.h"

#include "flat.h"
#include "stress.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long others wait for a rank that stops; stress_mixed.c lets it go on later. */
#define STOP_TIMEOUT_S 1.0

static int complain(const struct life *life, const char *what, const char *text)
{
    const struct episode *e = &life->episode;
    fprintf(stderr, "rank %d: episode %llu of seed %llu, %d ranks: %s%s%s\n", life->rank,
            (unsigned long long)e->number, (unsigned long long)life->control->seed, e->size, what,
            text ? ": " : "", text ? text : "");
    return 1;
}

static struct shmrt_comm *create(struct life *life, const char *kind, struct shmrt_error *error)
{
    char name[64], job[64];
    struct shmrt_comm *comm = NULL;
    snprintf(job, sizeof job, "mixed-%d-%llu", (int)getppid(),
             (unsigned long long)life->control->seed);
    snprintf(name, sizeof name, "%s-%llu", kind, (unsigned long long)life->episode.number);
    struct shmrt_params params = {.rank = life->rank,
                                  .size = life->episode.size,
                                  .job = job,
                                  .name = name,
                                  .settings = life->episode.settings};
    if (shmrt_comm_create(&params, &comm, error) != 0)
        return NULL;
    return comm;
}

static void set_place(struct place *place, struct shmrt_comm *comm, const int *groups)
{
    *place = (struct place){.comm = comm, .groups = groups};
    if (comm)
        place->rank = (struct rank){.rank = shmrt_comm_rank(comm), .size = shmrt_comm_size(comm)};
}

/* In the order of the part's ranks: by key, then by rank. */
static void find_part_groups(struct life *life, struct place *part)
{
    const struct episode *e = &life->episode;
    int own_key, own = episode_color(e, life->splits, life->rank, &own_key);
    for (int r = 0; r < e->size; r++) {
        int key, at = 0;
        if (episode_color(e, life->splits, r, &key) != own)
            continue;
        for (int other = 0; other < e->size; other++) {
            int other_key, color = episode_color(e, life->splits, other, &other_key);
            at += color == own && (other_key < key || (other_key == key && other < r));
        }
        part->part_groups[at] = e->group_of[r];
    }
    part->groups = e->groups ? part->part_groups : NULL;
}

enum outcome mixed_split(struct life *life)
{
    struct shmrt_comm *comm = NULL;
    shmrt_comm_destroy(life->part.comm);
    life->part.comm = NULL;
    life->splits++;
    int key, color = episode_color(&life->episode, life->splits, life->rank, &key);
    int rc = shmrt_comm_split(life->world.comm, color, key, &comm);
    if (rc) {
        life->died = life->world.comm;
        life->code = rc;
        return DIED;
    }
    set_place(&life->part, comm, NULL);
    if (comm)
        find_part_groups(life, &life->part);
    return DONE;
}

/* A signal to this process alone, at any instruction of the next milliseconds. */
static void arm(int signal, uint64_t x, timer_t *timer_out)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = signal};
    struct itimerspec at = {.it_value.tv_nsec = 1 + (long)(x % 4000000)};
    if (timer_create(CLOCK_MONOTONIC, &event, timer_out) != 0 ||
        timer_settime(*timer_out, 0, &at, NULL) != 0)
        raise(signal);
}

static void set_timeouts(struct life *life, double seconds)
{
    struct place *const places[] = {&life->world, &life->twin, &life->part};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (places[i]->comm && shmrt_comm_set_timeout(places[i]->comm, seconds) != 0)
            complain(life, "timeout", shmrt_comm_error(places[i]->comm)->text);
}

/* What fate has for this rank. Return: true when it is to leave the episode. */
static bool meet_fate(struct life *life, timer_t *timer, bool *armed)
{
    const struct episode *e = &life->episode;
    if (e->fate == STOPS)
        set_timeouts(life, STOP_TIMEOUT_S);
    if (life->rank != e->victim)
        return false;
    switch (e->fate) {
    case IS_KILLED:
        arm(SIGKILL, next_random(&life->own), timer);
        return false;
    case STOPS:
        arm(SIGSTOP, next_random(&life->own), timer);
        *armed = true;
        return false;
    case EXITS:
        _exit(EXITS_WITH);
    case ABORTS:
        shmrt_comm_abort(life->world.comm, "as fate has it");
        return true;
    default:
        return false;
    }
}

/*
 * Whether an error is what this episode had in store. Who dies or aborts is named; but a rank that
 * has given up for that reason has left, and others that wait for it may hear of that first. Who
 * waits with a deadline names the rank that it waited for, which may be waiting itself.
 */
static bool is_expected(struct life *life)
{
    const struct episode *e = &life->episode;
    const char *text = shmrt_comm_error(life->died)->text;
    char victim[48];
    int pid = atomic_load(&life->control->rank[e->victim].pid[e->number % 2]);
    snprintf(victim, sizeof victim, e->fate == ABORTS ? "rank %d aborted" : "(pid %d)",
             e->fate == ABORTS ? e->victim : pid);
    bool named = strstr(text, victim) != NULL;
    atomic_fetch_add(&life->control->rank[life->rank].counts[ERRORS], 1);
    atomic_fetch_add(&life->control->rank[life->rank].counts[NAMED], named);
    if (life->code != -ECONNABORTED && (life->code != -ETIMEDOUT || e->fate != STOPS))
        return false;
    return e->fate == STOPS ||
           (e->fate != LIVES && (named || strstr(text, "has destroyed its communicator")));
}

/* A dead communicator says so again. */
static int judge(struct life *life, enum outcome outcome)
{
    if (outcome == DONE)
        return 0;
    if (outcome == WRONG)
        return complain(life, "wrong result", NULL);
    if (!is_expected(life))
        return complain(life, "unexpected error", shmrt_comm_error(life->died)->text);
    if (shmrt_barrier(life->died) != life->code)
        return complain(life, "a dead communicator goes on", shmrt_comm_error(life->died)->text);
    return 0;
}

static int operate(struct life *life)
{
    const struct episode *e = &life->episode;
    enum outcome outcome = mixed_split(life);
    timer_t timer;
    bool armed = false;
    for (int i = 0; i < e->operations && outcome == DONE; i++) {
        if (e->fate != LIVES && i == e->fate_at && meet_fate(life, &timer, &armed))
            break;
        outcome = mixed_operate(life, i);
    }
    if (e->fate == IS_KILLED && life->rank == e->victim)
        raise(SIGKILL);
    if (armed)
        timer_delete(timer);
    return judge(life, outcome);
}

/* Rank 0 knows when it is time; nobody dies before all have heard it. */
static int hear_whether_last(struct life *life, bool *last_out)
{
    int8_t last = now_ns() >= life->control->end_ns;
    if (shmrt_broadcast(life->world.comm, &last, 1, SHMRT_INT8, 0) != 0)
        return complain(life, "unexpected error", shmrt_comm_error(life->world.comm)->text);
    *last_out = last;
    return 0;
}

static int begin(struct life *life)
{
    struct shmrt_error error = {0};
    const struct episode *e = &life->episode;
    struct shmrt_comm *world = create(life, "world", &error);
    set_place(&life->world, world, e->groups);
    struct shmrt_comm *twin = world ? create(life, "twin", &error) : NULL;
    set_place(&life->twin, twin, e->groups);
    set_place(&life->part, NULL, NULL);
    return twin ? 0 : complain(life, "no communicator", error.text);
}

/* Blocks are given back before their communicator is destroyed, or after. */
static int end(struct life *life)
{
    bool early = next_random(&life->own) % 2, whole = !early || mixed_free_kept(life);
    shmrt_comm_destroy(life->part.comm);
    shmrt_comm_destroy(life->twin.comm);
    shmrt_comm_destroy(life->world.comm);
    whole = mixed_free_kept(life) && whole;
    return whole ? 0 : complain(life, "a block of the pool was written to", NULL);
}

static int run_episode(struct life *life, uint64_t number, bool *last_out)
{
    episode_plan(&life->episode, life->control->seed, number, life->control->size);
    life->splits = 0;
    life->own = life->episode.seed + 1000 + (uint64_t)life->rank;
    atomic_store(&life->control->rank[life->rank].pid[number % 2], getpid());
    atomic_store(&life->control->rank[life->rank].episode, number);
    int failed = begin(life);
    if (!failed)
        failed = hear_whether_last(life, last_out);
    if (!failed && !*last_out)
        failed = operate(life);
    return end(life) || failed;
}

static unsigned long long sum(const struct control *control, enum count count)
{
    unsigned long long total = 0;
    for (int r = 0; r < control->size; r++)
        total += atomic_load(&control->rank[r].counts[count]);
    return total;
}

static void tell(const struct life *life, const struct flat *flat, int64_t *told_ns, bool always)
{
    const struct control *c = life->control;
    int64_t at_ns = now_ns();
    char memory[200];
    if (!always && at_ns - *told_ns < INT64_C(10000000000))
        return;
    *told_ns = at_ns;
    flat_describe(flat, memory, sizeof memory);
    printf("%4.0f s: %llu episodes, %llu calls right, %llu errors of which %llu name the rank, "
           "%llu blocks "
           "refused; %s\n",
           (double)(at_ns - c->start_ns) / 1e9, (unsigned long long)life->episode.number,
           sum(c, CHECKED), sum(c, ERRORS), sum(c, NAMED), sum(c, REFUSED), memory);
    fflush(stdout);
}

int mixed_live(struct control *control, int rank, uint64_t first)
{
    static struct life life;
    static struct flat flat = {.every_ns = 200000000};
    int64_t told_ns = now_ns();
    bool last = false;
    life = (struct life){.control = control, .rank = rank};
    for (uint64_t number = first; !last; number++) {
        int failed = run_episode(&life, number, &last);
        if (failed)
            return failed;
        flat_sample(&flat);
        if (rank == 0)
            tell(&life, &flat, &told_ns, last);
    }
    return rank == 0 && !flat_judge(&flat);
}
