/* SPDX-License-Identifier: Apache-2.0 */
/* cpu_other.c - an architecture without rungs of its own runs the reference. */
#include "cpu.h"

unsigned int shmrt_cpu_flags(void)
{
    return 0;
}
