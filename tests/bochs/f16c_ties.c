/* SPDX-License-Identifier: Apache-2.0 */
/*
 * f16c_ties.c - whether this CPU's VCVTPS2PH rounds ties to even, as CPUs do. Bochs 2.7 rounds them
 * up, and what is reduced in fp16 can't be right there.
 */
#include <immintrin.h>
#include <stdio.h>

int main(void)
{
    volatile float tie = 1.0f + 0x1p-11f; /* between 0x3c00 and 0x3c01 */
    __m128i half = _mm_cvtps_ph(_mm_set1_ps(tie), _MM_FROUND_TO_NEAREST_INT);
    unsigned int bits = (unsigned int)_mm_cvtsi128_si32(half) & 0xffff;
    printf("VCVTPS2PH of 1 + 2^-11: 0x%04x\n", bits);
    return bits != 0x3c00;
}
