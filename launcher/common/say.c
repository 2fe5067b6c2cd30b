/* SPDX-License-Identifier: Apache-2.0 */
/* say.c - formats lines and errors; longer ones are cut, never split. */
#include "say.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void launch_clean(char *text)
{
    for (char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = '?';
}

void launch_say(const char *format, ...)
{
    char line[1024] = "shm-launch: ";
    size_t at = strlen(line);
    va_list args;
    va_start(args, format);
    vsnprintf(line + at, sizeof line - at - 1, format, args);
    va_end(args);
    launch_clean(line);
    at = strlen(line);
    line[at] = '\n';
    /* Where standard error is gone there is nobody left to tell. */
    (void)!write(STDERR_FILENO, line, at + 1);
}

int launch_error(struct shmrt_error *error_out, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_out->code = code;
    vsnprintf(error_out->text, sizeof error_out->text, format, args);
    va_end(args);
    launch_clean(error_out->text);
    return code;
}

/* A write that found no memory shows in the stream only, and glibc's fclose() may say that all is
 * well and leave no text. */
int launch_close(FILE *stream, char *const *text)
{
    bool failed = ferror(stream) != 0;
    return fclose(stream) != 0 || failed || !*text ? -ENOMEM : 0;
}
