/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict.h - why a job ended, as an exit code and as one line for a person
 *
 * The first cause counts: a rank that dies because another did is no cause.
 */
#ifndef LAUNCH_VERDICT_H
#define LAUNCH_VERDICT_H

#include "job/job.h"

enum launch_cause {
    LAUNCH_CAUSE_NONE,
    LAUNCH_CAUSE_RANK,       /* value: status as of waitpid */
    LAUNCH_CAUSE_START,      /* value: negative errno of exec */
    LAUNCH_CAUSE_PREPARE,    /* value: negative errno of fork, or of what comes before exec */
    LAUNCH_CAUSE_STRICT,     /* a binding was refused, with --strict */
    LAUNCH_CAUSE_MISPLACED,  /* --verify found a rank elsewhere than planned, with --strict */
    LAUNCH_CAUSE_UNVERIFIED, /* value: ranks that --verify has not looked at, with --strict */
    LAUNCH_CAUSE_SIGNAL,     /* value: the signal sent to us */
    LAUNCH_CAUSE_TIMEOUT,
    LAUNCH_CAUSE_KEEPER, /* it died */
    LAUNCH_CAUSE_OUTPUT, /* value: errno of our own output */
};

/** How the ranks ended that were not the cause. */
struct launch_tally {
    size_t finished; /* by themselves, before we did anything */
    size_t failed;   /* of these */
    size_t asked;    /* after a signal that they could answer */
    size_t killed;   /* after SIGKILL */
};

struct launch_verdict {
    enum launch_cause cause;
    int rank, value, pid;
    struct launch_tally tally;
    bool calls_for_restart;
};

int launch_verdict_code(const struct launch_verdict *verdict);

/** The line, without a newline; empty when there is nothing to say. */
void launch_verdict_text(const struct launch_verdict *verdict, const struct launch_job *job,
                         char *text_out, size_t bytes);

#endif
