/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unmasked.c - runs the kernels of a rung without asking whether the CPU has its instructions.
 *
 * Where it does not, this must die of SIGILL: an emulator that let it pass would prove nothing.
 */
#include "kernels/rungs.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static const float terms[2][64] = {{1, 2}, {3, 4}};
    const void *in[2] = {terms[0], terms[1]};
    float out[64];
    struct shmrt_kernels kernels;
    if (argc != 2 || shmrt_kernels_choose_for(~0u, argv[1], &kernels) != 0) {
        fprintf(stderr, "usage: unmasked RUNG, one that this build has\n");
        return 2;
    }
    kernels.reduce[SHMRT_FLOAT32][SHMRT_SUM](out, in, 2, 2, 64);
    printf("%s ran\n", kernels.name);
    return out[0] == 4 && out[1] == 6 ? EXIT_SUCCESS : EXIT_FAILURE;
}
