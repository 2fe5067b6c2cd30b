/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rvv_usable.h - whether RISC-V's vectors, version 1.0, may be used: from what the kernel says (L1)
 *
 * The first answer of these decides:
 * - prctl: vectors are off for this process (an administrator's abi.riscv_v_default_allow=0, or a
 *   parent's wish). Whatever the CPU has, an instruction would be SIGILL.
 * - riscv_hwprobe, of all online CPUs; its bit means version 1.0, in every kernel that has it.
 * - AT_HWCAP without the bit V: there are none.
 * - AT_HWCAP with it, and no riscv_hwprobe: a vendor's kernel from before Linux 6.5, or an
 * emulator. T-Head's set the bit for version 0.7.1 too, whose encodings are others: an instruction
 * decides.
 */
#ifndef SHMRT_RVV_USABLE_H
#define SHMRT_RVV_USABLE_H

#include <stdbool.h>
#include <stdint.h>

/* As in the kernel's headers, which may be older than the kernel. */
enum {
    SHMRT_HWPROBE_CALL = 258,
    SHMRT_HWPROBE_KEY_EXTENSIONS = 4,
    SHMRT_HWPROBE_V = 1 << 2,
    SHMRT_HWCAP_V = 1 << ('V' - 'A'),
    SHMRT_PRCTL_V_GET_CONTROL = 70,
    SHMRT_PRCTL_V_NOW = 3, /* these bits of the answer */
    SHMRT_PRCTL_V_OFF = 1,
};

struct shmrt_rvv_facts {
    int control;     /* prctl's answer, or negative: this kernel has none */
    bool is_probed;  /* riscv_hwprobe knows the key */
    uint64_t probed; /* its value */
    unsigned long hwcap;
};

enum shmrt_rvv { SHMRT_RVV_ABSENT, SHMRT_RVV_USABLE, SHMRT_RVV_TO_BE_TRIED };

static inline enum shmrt_rvv shmrt_rvv_usable(const struct shmrt_rvv_facts *facts)
{
    if (facts->control >= 0 && (facts->control & SHMRT_PRCTL_V_NOW) == SHMRT_PRCTL_V_OFF)
        return SHMRT_RVV_ABSENT;
    if (facts->is_probed)
        return facts->probed & SHMRT_HWPROBE_V ? SHMRT_RVV_USABLE : SHMRT_RVV_ABSENT;
    return facts->hwcap & SHMRT_HWCAP_V ? SHMRT_RVV_TO_BE_TRIED : SHMRT_RVV_ABSENT;
}

#endif
