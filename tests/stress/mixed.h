/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mixed.h - inside of stress_mixed
 *
 * Time is cut into episodes. In each, all ranks make communicators, run a random sequence of calls
 * on them and destroy them. What happens in an episode follows from the seed and its number alone,
 * so every process works it out by itself. In some episodes one rank, never rank 0, dies, stops or
 * aborts.
 */
#ifndef TEST_MIXED_H
#define TEST_MIXED_H

#include "calls.h"

#include <stdatomic.h>

enum fate { LIVES, IS_KILLED, EXITS, STOPS, ABORTS, FATES };

enum { EXITS_WITH = 42, MOST_SETTINGS = 12 };

/** What all ranks know of an episode. */
struct episode {
    uint64_t number, seed;
    int size;
    int operations;
    size_t most; /* elements of a block */
    const char *settings[MOST_SETTINGS];
    char groups_text[320];
    const int *groups; /* NULL, or the group of each rank, as the settings say */
    int group_of[SHMRT_MAX_RANKS];
    enum fate fate;
    int victim;
    int fate_at; /* operation */
};

/** episode_plan - what happens in episode @number of a run of @size ranks */
void episode_plan(struct episode *episode, uint64_t seed, uint64_t number, int size);

/** In which part of @size ranks @rank is at the @turn th split, and by what it is sorted there;
 * negative: in none. */
int episode_color(const struct episode *episode, uint64_t turn, int rank, int *key_out);

enum count {
    CHECKED, /* calls whose result was right */
    ERRORS,  /* that were expected: a rank had died, stopped or aborted */
    NAMED,   /* of them, those that name this rank */
    REFUSED, /* blocks that the pool had no memory for */
    COUNTS
};

/** In memory that all processes share; of each rank, it is the only one to write. */
struct control {
    uint64_t seed;
    int size;
    int64_t start_ns, end_ns;
    struct {
        _Atomic int pid[2]; /* in episodes of even and odd numbers: a dead rank's next life has
                             * begun before all have heard of its death */
        _Atomic uint64_t episode;
        _Atomic uint64_t counts[COUNTS];
    } rank[SHMRT_MAX_RANKS];
};

/** The life of one rank, from episode @first on. Return: 0, or the line of what failed. */
int mixed_live(struct control *control, int rank, uint64_t first);

enum outcome { DONE, DIED, WRONG };

/** A communicator, and this rank in it. */
struct place {
    struct shmrt_comm *comm; /* NULL: this rank is not in it */
    struct rank rank;
    const int *groups;
    int part_groups[SHMRT_MAX_RANKS];
    uint64_t stream; /* what is random here, the same on all its ranks */
};

enum { MOST_KEPT = 8 };

/** A block of a pool that outlives operations. */
struct kept {
    unsigned char *memory;
    size_t bytes;
    unsigned char value;
};

struct life {
    struct control *control;
    int rank;
    struct episode episode;
    struct place world, twin, part;
    uint64_t splits;
    uint64_t own; /* what is random on this rank alone */
    struct kept kept[MOST_KEPT];
    struct shmrt_comm *died; /* the communicator of which an operation has said DIED */
    int code;                /* and with what */
};

/** One random operation, the @number th of the episode. */
enum outcome mixed_operate(struct life *life, int number);

/** Make life->part anew. */
enum outcome mixed_split(struct life *life);

/** Looks at and gives back what is kept; whether it was untouched. */
bool mixed_free_kept(struct life *life);

#endif
