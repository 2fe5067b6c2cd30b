/* SPDX-License-Identifier: Apache-2.0 */
/* stress.h - what programs that run from a seed have in common: arguments, clock, seed */
#ifndef TEST_STRESS_H
#define TEST_STRESS_H

#include "timing.h"

#include <stdbool.h>
#include <stdint.h>

enum { STRESS_SKIPPED = 77 };

/** An argument "--name number"; @value holds the default before, and what was given after. */
struct stress_option {
    const char *name; /* with the dashes; NULL ends a list */
    uint64_t *value;
    const char *meaning;
};

/**
 * stress_parse - reads the arguments, each "--name number" or "--name=number"
 *
 * Ends the program with a list of @options when one is unknown or no number (status 2), or when
 * --help is asked for.
 */
void stress_parse(int argc, char **argv, const struct stress_option *options);

/** A seed of this moment. Print it: it is what repeats a run. */
uint64_t stress_fresh_seed(void);

#endif
