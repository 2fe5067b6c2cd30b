/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - formats errors and log lines into the caller's memory; keeps nothing. */
#include "error.h"

#include <stdio.h>

int shmrt_error_set(struct shmrt_error *error_out, int code, const char *format, ...)
{
    if (error_out) {
        va_list args;
        va_start(args, format);
        error_out->code = code;
        vsnprintf(error_out->text, sizeof error_out->text, format, args);
        va_end(args);
    }
    return code;
}

void shmrt_log(const struct shmrt_logger *logger, enum shmrt_log_level level, const char *format,
               ...)
{
    if (!logger->log)
        return;
    char line[SHMRT_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    logger->log(level, line, logger->arg);
}
