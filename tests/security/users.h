/* SPDX-License-Identifier: Apache-2.0 */
/* users.h - a job of one user, and another user beside it who means harm. Needs root, to be both.
 */
#ifndef TEST_USERS_H
#define TEST_USERS_H

#include "shmrt.h"

#include <stdbool.h>
#include <sys/types.h>

enum { VICTIM = 65533, ATTACKER = 65534, JOB_MOST = 4, NAME_BYTES = 108, WAIT_S = 60 };

/** Whether this process can become both; says why not. */
bool users_are_there(void);

/** For good: the ids, no groups, no capabilities, no way to new ones; false when refused. */
bool become(uid_t uid);

/** The abstract name of a rank of the victim's job, without the zero byte in front. */
void name_of(const char *job, int rank, int suffix, char out[NAME_BYTES]);

/** A socket that is connected to the name, or -errno. */
int connect_to(const char *name, bool blocking);

/** A socket that is bound to the name, and listens where told so, or -errno. */
int take_name(const char *name, bool listens);

/** What an attacker does; calls ready() when it has begun, and goes on until it is ended. */
typedef void (*attack_body)(const char *job, void *arg);
void ready(void);

/** Returns when it has begun; -1 on failure. */
pid_t attack_start(attack_body attack, const char *job, void *arg);
void attack_stop(pid_t pid);

/** How a rank of the victim's fared; in memory that the test shares with it. */
struct outcome {
    pid_t pid;
    int code;
    int files_before, files_after; /* open descriptors */
    double meet_s, cpu_s;
    int warnings;
    char text[SHMRT_ERROR_TEXT_BYTES];    /* of the error */
    char warning[SHMRT_ERROR_TEXT_BYTES]; /* the last */
};

struct job {
    char key[64];
    int size;
    int late_ms; /* ranks but the first start so much later */
    int stay_ms; /* after they have met */
    /* Called in the test while ranks stay, may be NULL. */
    void (*meanwhile)(struct job *job, void *arg);
    void *arg;
    struct outcome *outcomes; /* by rank */
};

void job_make(struct job *job, int size);
void job_run(struct job *job);
void job_free(struct job *job);

/** Asserts that all ranks have met, reduced, and kept no descriptor. */
void job_assert_well(const struct job *job);

#endif
