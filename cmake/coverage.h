/* SPDX-License-Identifier: Apache-2.0 */
/* coverage.h - comes before every file of a build that counts lines: a process writes its counts
 * when it exits, so one that leaves otherwise has to be told. Killed ones do not count. */
#ifndef SHMRT_COVERAGE_H
#define SHMRT_COVERAGE_H

#include <unistd.h>

extern void __gcov_dump(void);

static inline _Noreturn void coverage_exit(int code)
{
    __gcov_dump();
    _exit(code);
}

static inline int coverage_execvp(const char *file, char *const *words)
{
    __gcov_dump();
    return execvp(file, words);
}

#define _exit  coverage_exit
#define execvp coverage_execvp

#endif
