/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c - hands the files that it is given to a fuzz target: each as it is, and each cut short.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { BYTES_MAX = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *file = fopen(path, "rbe");
    uint8_t *data = file ? malloc(BYTES_MAX) : NULL;
    if (!data) {
        fprintf(stderr, "%s cannot be read\n", path);
        if (file)
            fclose(file);
        return 1;
    }
    size_t size = fread(data, 1, BYTES_MAX, file);
    fclose(file);
    for (size_t length = 0; length < size; length += 1 + size / 16)
        LLVMFuzzerTestOneInput(data, length);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    int rc = argc > 1 ? 0 : 2;
    for (int i = 1; i < argc; i++)
        rc |= replay(argv[i]);
    return rc;
}
