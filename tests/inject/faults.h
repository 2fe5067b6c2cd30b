/* SPDX-License-Identifier: Apache-2.0 */
/* faults.h - what the preloaded faults.c lets the program tell and ask; nothing where it is not
 * preloaded */
#ifndef TEST_INJECT_FAULTS_H
#define TEST_INJECT_FAULTS_H

#include <dlfcn.h>
#include <stdbool.h>

/** inject_window(): the fault comes only within the window. */
static inline void faults_window(bool open)
{
    void (*set)(bool) = (void (*)(bool))dlsym(RTLD_DEFAULT, "inject_window");
    if (set)
        set(open);
}

static inline long faults_number(const char *name)
{
    long (*get)(void) = (long (*)(void))dlsym(RTLD_DEFAULT, name);
    return get ? get() : 0;
}

/** Allocations that are not freed. */
static inline long faults_live(void)
{
    return faults_number("inject_live");
}

/** Calls of the kind that is to fail, within the window so far. */
static inline long faults_calls(void)
{
    return faults_number("inject_calls");
}

#endif
