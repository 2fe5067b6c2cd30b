/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mpi_kills.c - all-reduces until one fails, for bench/kills.py, which kills one of the ranks
 *
 * Usage, under mpirun: mpi-kills FOLDER ELEMENTS. Writes FOLDER/pid.RANK when the loop runs, and
 * FOLDER/end.RANK with the time (CLOCK_MONOTONIC) and the words of an error that is returned.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#ifdef OPEN_MPI
#include <mpi-ext.h>
#endif

static FILE *open_in(const char *folder, const char *what, int rank)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.%d", folder, what, rank);
    FILE *file = fopen(path, "w");
    if (!file)
        exit(2);
    return file;
}

/* Where the library has ULFM's functions it can be asked who has failed. */
static void name_failed(FILE *out)
{
#if defined(OMPI_HAVE_MPI_EXT_FTMPI) && OMPI_HAVE_MPI_EXT_FTMPI
    MPI_Group failed, all;
    int size = 0, own[64], ranks[64];
    MPIX_Comm_get_failed(MPI_COMM_WORLD, &failed);
    MPI_Comm_group(MPI_COMM_WORLD, &all);
    MPI_Group_size(failed, &size);
    for (int i = 0; i < size && i < 64; i++)
        own[i] = i;
    MPI_Group_translate_ranks(failed, size, own, all, ranks);
    for (int i = 0; i < size && i < 64; i++)
        fprintf(out, "; failed: rank %d", ranks[i]);
#else
    (void)out;
#endif
}

int main(int argc, char **argv)
{
    int rank, rc = MPI_SUCCESS, length;
    char text[MPI_MAX_ERROR_STRING];
    struct timespec now;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    int count = argc == 3 ? atoi(argv[2]) : 0;
    float *data = calloc((size_t)count + 1, sizeof *data);
    for (long i = 0; rc == MPI_SUCCESS; i++) {
        rc = MPI_Allreduce(MPI_IN_PLACE, data, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        if (i == 100) {
            FILE *file = open_in(argv[1], "pid", rank);
            fprintf(file, "%d\n", (int)getpid());
            fclose(file);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    MPI_Error_string(rc, text, &length);
    FILE *file = open_in(argv[1], "end", rank);
    fprintf(file, "%.6f\n%s", (double)now.tv_sec + (double)now.tv_nsec / 1e9, text);
    name_failed(file);
    fclose(file);
    _exit(3);
}
