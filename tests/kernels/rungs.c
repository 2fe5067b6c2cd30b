/* SPDX-License-Identifier: Apache-2.0 */
/* rungs.c - asks the ladder for each rung by name. */
#include "rungs.h"

#include "kernels/rungs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* SHMRT_TEST_RUNGS, "sve svebf16", leaves out all others but the reference. */
static bool is_wanted(const char *name)
{
    const char *wanted = getenv("SHMRT_TEST_RUNGS");
    size_t length = strlen(name);
    if (!wanted || strcmp(name, "reference") == 0)
        return true;
    for (const char *at = wanted; (at = strstr(at, name)) != NULL; at += length)
        if ((at == wanted || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

/* The dtype that SHMRT_TEST_WITHOUT names, for a CPU that is emulated wrongly; or -1. */
static int dtype_left_out(void)
{
    const char *name = getenv("SHMRT_TEST_WITHOUT");
    for (int dtype = 0; name && dtype < SHMRT_DTYPE_COUNT; dtype++)
        if (strcmp(shmrt_dtype_name(dtype), name) == 0)
            return dtype;
    return -1;
}

/* The reference's kernels stand in for the rung's. */
static void leave_out(struct shmrt_kernels *kernels, const struct shmrt_kernels *reference)
{
    int dtype = dtype_left_out();
    if (dtype < 0 || kernels == reference)
        return;
    memcpy(kernels->reduce[dtype], reference->reduce[dtype], sizeof kernels->reduce[dtype]);
    memcpy(kernels->partial[dtype], reference->partial[dtype], sizeof kernels->partial[dtype]);
    memcpy(kernels->total[dtype], reference->total[dtype], sizeof kernels->total[dtype]);
    kernels->norm[dtype] = reference->norm[dtype];
}

bool rungs_skip_trial(struct rungs *rungs)
{
    return rungs->trials++ % rungs->stride != 0;
}

struct rungs rungs_here(void)
{
    const char *stride = getenv("SHMRT_TEST_STRIDE");
    struct rungs rungs = {.stride = stride ? (unsigned int)atoi(stride) : 1};
    assert_true(rungs.stride > 0);
    for (int i = 0; shmrt_kernels_rung(i); i++) {
        if (!is_wanted(shmrt_kernels_rung(i)))
            continue;
        assert_true(rungs.count < RUNGS_MAX);
        int rc = shmrt_kernels_choose(shmrt_kernels_rung(i), &rungs.kernels[rungs.count]);
        assert_true(rc == 0 || rc == -ENOTSUP);
        if (rc == 0)
            leave_out(&rungs.kernels[rungs.count++], &rungs.kernels[0]);
    }
    assert_true(rungs.count > 0);
    assert_string_equal(rungs.kernels[0].name, "reference");
    return rungs;
}

void rungs_reduce(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype, enum shmrt_op op,
                  void *out, const void *const *in, int n, size_t count)
{
    shmrt_kernels_reduce_to(kernels, dtype, op, &out, 1, in, NULL, n, count);
}

static bool is_tested(const struct rungs *rungs, const char *name)
{
    for (int k = 0; k < rungs->count; k++)
        if (strcmp(rungs->kernels[k].name, name) == 0)
            return true;
    return false;
}

void rungs_print(const struct rungs *rungs)
{
    printf("rungs tested:");
    for (int i = 0; i < rungs->count; i++)
        printf(" %s", rungs->kernels[i].name);
    for (int i = 0; shmrt_kernels_rung(i); i++) {
        const char *name = shmrt_kernels_rung(i);
        struct shmrt_kernels kernels;
        if (is_tested(rungs, name))
            continue;
        bool built = shmrt_kernels_choose_for(~0u, name, &kernels) == 0;
        const char *why = built ? "not on this CPU" : "not in this build";
        printf("; %s: %s", is_wanted(name) ? why : "not asked for", name);
    }
    if (dtype_left_out() >= 0)
        printf("; left out: %s", shmrt_dtype_name(dtype_left_out()));
    printf("\n");
    fflush(stdout);
}
