/* SPDX-License-Identifier: Apache-2.0 */
/* rungs.c - asks the ladder for each rung by name. */
#include "rungs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct rungs rungs_here(void)
{
    struct rungs rungs = {0};
    for (int i = 0; shmrt_kernels_rung(i); i++) {
        assert_true(rungs.count < RUNGS_MAX);
        int rc = shmrt_kernels_choose(shmrt_kernels_rung(i), &rungs.kernels[rungs.count]);
        assert_true(rc == 0 || rc == -ENOTSUP);
        rungs.count += rc == 0;
    }
    assert_true(rungs.count > 0);
    assert_string_equal(rungs.kernels[0].name, "reference");
    return rungs;
}

void rungs_print(const struct rungs *rungs)
{
    const char *lead = "; not on this CPU or not in this build:";
    printf("rungs tested:");
    for (int i = 0; i < rungs->count; i++)
        printf(" %s", rungs->kernels[i].name);
    for (int i = 0; shmrt_kernels_rung(i); i++) {
        int tested = 0;
        for (int k = 0; k < rungs->count; k++)
            tested |= strcmp(rungs->kernels[k].name, shmrt_kernels_rung(i)) == 0;
        if (tested)
            continue;
        printf("%s %s", lead, shmrt_kernels_rung(i));
        lead = "";
    }
    printf("\n");
    fflush(stdout);
}
