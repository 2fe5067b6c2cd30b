/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank.c - a rank in a guest: collectives with exact results, and then the question where its
 * pages are, to the kernel (numa_pages) and to libshmrt, whose answers have to be the same.
 *
 * usage: numa_rank [--ask KINDS] [--until FILE] OWNERS
 *
 * OWNERS has for each rank what numa_pages takes: "0 0 1" or "0:0-1 2". KINDS are the kinds of
 * pages that have to be there, "segment,pool" if not given. With --until the ranks go on reducing
 * until the file is there; FILE.begun says that they do.
 */
#include "work.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 2 << 20,
    STACK_BYTES = 256 << 10,
    SMALL_BYTES = 4 << 10,
    SMALL_BLOCKS = 256,
    ASKING_FAILED = 64, /* numa_pages did */
    EXIT_USAGE = 2,
    EXIT_FAILED = 3,
    EXIT_ELSEWHERE = 40, /* pages are elsewhere, and libshmrt says so too */
    EXIT_DISAGREE = 41
};

struct asked {
    const char *kinds;
    const char *until;
    char nodes[32]; /* this rank's */
};

static void say(enum shmrt_log_level level, const char *line, void *rank)
{
    fprintf(stderr, "rank %d: %s: %s\n", *(const int *)rank,
            level == SHMRT_LOG_WARNING ? "warning" : "info", line);
}

/* Pages that are where they belong. */
struct right {
    size_t segment, pool;
};

/* The word of @owners at @rank. */
static bool find_owner(const char *owners, int rank, char *out, size_t room)
{
    const char *at = owners + strspn(owners, " ");
    for (int i = 0; i < rank && *at; i++) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    snprintf(out, room, "%.*s", (int)strcspn(at, " "), at);
    return *at != '\0';
}

/* All ranks leave in the same round. */
static bool work_until(struct shmrt_comm *comm, const struct work_buffers *private,
                       const struct work_buffers *shared, const char *file)
{
    char begun[256];
    snprintf(begun, sizeof begun, "%s.begun", file);
    for (bool is_end = false; !is_end;) {
        is_end = access(file, F_OK) == 0;
        if (!work_round(comm, private, shared, &is_end))
            return false;
        close(open(begun, O_CREAT | O_CLOEXEC, 0644));
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return true;
}

/* Lets numa_pages print what the kernel says of this process. Its exit code, and the 4 KiB pages
 * that are right. */
static int ask_kernel(const struct asked *asked, int rank, struct right *out)
{
    char command[256], line[256];
    snprintf(command, sizeof command, "exec numa_pages %d %d %s %s %d", (int)getpid(), rank,
             asked->nodes, asked->kinds, 2 * BLOCK_BYTES);
    FILE *answer = popen(command, "re");
    while (answer && fgets(line, sizeof line, answer)) {
        (void)sscanf(line, "pages rank %*d segment: %zu", &out->segment);
        (void)sscanf(line, "pages rank %*d pool: %zu", &out->pool);
        fputs(line, stdout);
    }
    int status = answer ? pclose(answer) : -1;
    return status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : ASKING_FAILED;
}

/* Whether libshmrt counts as many bytes, and its report for a person says so. */
static bool agrees(const struct shmrt_pages_proof *proof, size_t right, const char *report)
{
    char words[80];
    snprintf(words, sizeof words, "%zu of %zu page", proof->pages_on_node, proof->pages);
    return proof->pages_on_node * proof->page_bytes == right * SMALL_BYTES &&
           proof->pages_unknown == 0 && strstr(report, words);
}

static int judge(struct shmrt_comm *comm, const struct asked *asked)
{
    struct shmrt_placement_proof proof;
    struct right right = {0};
    char report[2048];
    /* It maps all pages first, without which the kernel would not tell another process of them. */
    int rc = shmrt_comm_verify(comm, &proof);
    int wrong = ask_kernel(asked, shmrt_comm_rank(comm), &right);
    shmrt_comm_report(comm, report, sizeof report);
    printf("%s", report);
    fflush(stdout);
    if (rc || wrong >= ASKING_FAILED)
        return EXIT_FAILED;
    if (!agrees(&proof.segment, right.segment, report) || !agrees(&proof.pool, right.pool, report))
        return EXIT_DISAGREE;
    return wrong ? EXIT_ELSEWHERE : 0;
}

/* Memory of every kind, touched here, held while the pages are asked for. */
static int run(struct shmrt_comm *comm, const struct asked *asked)
{
    struct work_buffers private = {malloc(BLOCK_BYTES), malloc(BLOCK_BYTES)}, shared = {0};
    char *small[SMALL_BLOCKS], stack[STACK_BYTES];
    void *blocks[2] = {0};
    int rc = EXIT_FAILED;
    for (int i = 0; i < SMALL_BLOCKS; i++)
        small[i] = calloc(1, SMALL_BYTES);
    for (size_t i = 0; i < sizeof stack; i += 1024)
        ((volatile char *)stack)[i] = 1;
    for (int i = 0; i < 2; i++)
        if (shmrt_alloc(comm, BLOCK_BYTES, &blocks[i]) != 0)
            fprintf(stderr, "shmrt_alloc: %s\n", shmrt_comm_error(comm)->text);
    shared = (struct work_buffers){blocks[0], blocks[1]};
    if (private.in && private.out && shared.in && shared.out) {
        memset(shared.in, 1, BLOCK_BYTES);
        memset(shared.out, 1, BLOCK_BYTES);
        bool is_right = work_once(comm, &private, &shared) &&
                        (!asked->until || (work_until(comm, &private, &shared, asked->until) &&
                                           work_once(comm, &private, &shared)));
        if (is_right && shmrt_barrier(comm) == 0)
            rc = judge(comm, asked);
        if (shmrt_barrier(comm) != 0 && rc == 0)
            rc = EXIT_FAILED;
    }
    for (int i = 0; i < SMALL_BLOCKS; i++)
        free(small[i]);
    shmrt_free(blocks[0]);
    shmrt_free(blocks[1]);
    free(private.in);
    free(private.out);
    return rc;
}

static int parse(int argc, char **argv, struct asked *out, const char **owners_out)
{
    static const struct option options[] = {
        {"ask", required_argument, NULL, 'a'}, {"until", required_argument, NULL, 'u'}, {0}};
    *out = (struct asked){.kinds = "segment,pool"};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (option == 'a')
            out->kinds = optarg;
        else if (option == 'u')
            out->until = optarg;
        else
            return EXIT_USAGE;
    }
    *owners_out = argv[optind];
    return argc == optind + 1 ? 0 : EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct asked asked;
    const char *owners;
    struct shmrt_error error;
    struct shmrt_comm *comm;
    struct shmrt_params params = {.log = say};
    params.log_arg = &params.rank;
    if (parse(argc, argv, &asked, &owners) != 0 || shmrt_params_from_env(&params, &error) != 0 ||
        !find_owner(owners, params.rank, asked.nodes, sizeof asked.nodes)) {
        fprintf(stderr,
                "usage: RANK=R WORLD_SIZE=N numa_rank [--ask KINDS] [--until FILE] OWNERS\n");
        return EXIT_USAGE;
    }
    if (shmrt_comm_create(&params, &comm, &error) != 0) {
        fprintf(stderr, "rank %d: %s\n", params.rank, error.text);
        return EXIT_FAILED;
    }
    int rc = run(comm, &asked);
    shmrt_comm_destroy(comm);
    return rc;
}
