/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c - asks the kernel for RISC-V's vectors, and where it is not clear which, the CPU. */
#include "../cpu.h"
#include "rvv_usable.h"

#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>

/*
 * To be run only where there are vectors of some version. Version 1.0 takes this setting (8 bits,
 * tails and masked-off elements agnostic); to 0.7.1 its bits are reserved, and it marks vtype as
 * illegal, in the sign. As words, for assemblers that know other versions or none:
 * vsetvli t0, zero, e8, m1, ta, ma; csrr reg, vtype.
 */
static bool takes_settings_of_1_0(void)
{
    long vtype;
    __asm__ __volatile__(".word 0x0c0072d7\n\tcsrr %0, 0xc21" : "=r"(vtype) : : "t0");
    return vtype >= 0;
}

unsigned int shmrt_cpu_flags(void)
{
    struct {
        int64_t key;
        uint64_t value;
    } pair = {SHMRT_HWPROBE_KEY_EXTENSIONS, 0}; /* the key becomes -1 where it is not known */
    bool answered = syscall(SHMRT_HWPROBE_CALL, &pair, 1, 0, NULL, 0) == 0;
    struct shmrt_rvv_facts facts = {
        .control = prctl(SHMRT_PRCTL_V_GET_CONTROL, 0, 0, 0, 0),
        .is_probed = answered && pair.key == SHMRT_HWPROBE_KEY_EXTENSIONS,
        .probed = pair.value,
        .hwcap = getauxval(AT_HWCAP),
    };
    enum shmrt_rvv rvv = shmrt_rvv_usable(&facts);
    if (rvv == SHMRT_RVV_TO_BE_TRIED)
        rvv = takes_settings_of_1_0() ? SHMRT_RVV_USABLE : SHMRT_RVV_ABSENT;
    return rvv == SHMRT_RVV_USABLE ? SHMRT_CPU_RVV : 0;
}
