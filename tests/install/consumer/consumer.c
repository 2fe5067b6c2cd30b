/* SPDX-License-Identifier: Apache-2.0 */
/* consumer.c - a user's program: two ranks as threads, one all-reduce. */
#include <pthread.h>
#include <shmrt.h>
#include <shmrt_placement.h>
#include <stdio.h>
#include <unistd.h>

static char job[32];

static void *run_rank(void *number)
{
    struct shmrt_params params = {.rank = *(int *)number, .size = 2, .job = job};
    struct shmrt_error error;
    struct shmrt_comm *comm;
    float x[3] = {1, 2, 3};
    if (shmrt_comm_create(&params, &comm, &error) != 0) {
        fprintf(stderr, "%s\n", error.text);
        return NULL;
    }
    int rc = shmrt_allreduce(comm, x, x, 3, SHMRT_FLOAT32, SHMRT_SUM);
    shmrt_comm_destroy(comm);
    return rc == 0 && x[0] == 2 && x[1] == 4 && x[2] == 6 ? number : NULL;
}

int main(void)
{
    pthread_t threads[2];
    int numbers[2] = {0, 1}, good = 0;
    snprintf(job, sizeof job, "consumer-%d", (int)getpid());
    for (int r = 0; r < 2; r++)
        if (pthread_create(&threads[r], NULL, run_rank, &numbers[r]) != 0)
            return 1;
    for (int r = 0; r < 2; r++) {
        void *result;
        pthread_join(threads[r], &result);
        good += result != NULL;
    }
    puts(shmrt_version());
    return good == 2 ? 0 : 1;
}
