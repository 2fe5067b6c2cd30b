/* SPDX-License-Identifier: Apache-2.0 */
/* error.h - an errno value with words for a person, and the log callback (L0) */
#ifndef SHMRT_ERROR_H
#define SHMRT_ERROR_H

#include "attributes.h"
#include "shmrt.h"

#include <stdarg.h>

/** shmrt_error_set - fill @error_out (may be NULL) and hand back @code, for `return` */
int shmrt_error_set(struct shmrt_error *error_out, int code, const char *format, ...)
    SHMRT_PRINTF(3, 4);

/** Where lines for a person go; a NULL function means silence. */
struct shmrt_logger {
    void (*log)(enum shmrt_log_level level, const char *line, void *arg);
    void *arg;
};

void shmrt_log(const struct shmrt_logger *logger, enum shmrt_log_level level, const char *format,
               ...) SHMRT_PRINTF(3, 4);

/** What a long wait may call now and then; nonzero asks it to end. A NULL function never does. */
struct shmrt_interrupt {
    int (*check)(void *arg);
    void *arg;
};

static inline bool shmrt_interrupted(const struct shmrt_interrupt *interrupt)
{
    return interrupt->check && interrupt->check(interrupt->arg) != 0;
}

#endif
