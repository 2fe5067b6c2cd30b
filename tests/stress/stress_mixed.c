/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_mixed.c - everything at once, for as long as asked: all collectives, messages and norms,
 * blocking and started, on several communicators and groups that are made and destroyed all along,
 * with ranks that die, stop and abort. Each result is checked, and rank 0, which outlives all,
 * watches what it holds.
 *
 * This file starts the ranks, and new ones for those that died.
 */
#include "flat.h"
#include "mixed.h"
#include "stress.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOPPED_NS INT64_C(1500000000)
#define STUCK_NS   INT64_C(400000000000) /* under the limit of ctest, 600 s */

struct run {
    struct control *control;
    pid_t pids[SHMRT_MAX_RANKS];
    int64_t stopped_ns[SHMRT_MAX_RANKS]; /* since when; 0: it runs */
    int running;
    uint64_t fates[FATES]; /* that have been met */
    uint64_t beat;         /* of all ranks together */
    int64_t beat_ns;
};

static bool start(struct run *run, int rank, uint64_t first)
{
    pid_t parent = getpid();
    fflush(NULL);
    run->pids[rank] = fork();
    if (run->pids[rank] == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        int failed = mixed_live(run->control, rank, first);
        fflush(NULL);
        _exit(failed ? 1 : 0);
    }
    if (run->pids[rank] < 0)
        perror("fork");
    run->running += run->pids[rank] > 0;
    return run->pids[rank] > 0;
}

static int rank_of(const struct run *run, pid_t pid)
{
    int rank = 0;
    while (rank < run->control->size && run->pids[rank] != pid)
        rank++;
    return rank;
}

/* Whether a rank was meant to end like this; then another one takes its place. */
static bool replace(struct run *run, int rank, int status)
{
    uint64_t number = atomic_load(&run->control->rank[rank].episode);
    struct episode e;
    episode_plan(&e, run->control->seed, number, run->control->size);
    bool killed = e.fate == IS_KILLED && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    bool exited = e.fate == EXITS && WIFEXITED(status) && WEXITSTATUS(status) == EXITS_WITH;
    if (rank == e.victim && (killed || exited)) {
        run->fates[e.fate]++;
        return start(run, rank, number + 1);
    }
    fprintf(stderr, "rank %d ended in episode %" PRIu64 " with %s %d\n", rank, number,
            WIFSIGNALED(status) ? "signal" : "status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return false;
}

static bool handle(struct run *run, pid_t pid, int status)
{
    int rank = rank_of(run, pid);
    if (WIFSTOPPED(status)) {
        run->stopped_ns[rank] = now_ns();
        return true;
    }
    run->pids[rank] = 0;
    run->running--;
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0) || replace(run, rank, status);
}

static void let_go_on(struct run *run)
{
    for (int r = 0; r < run->control->size; r++)
        if (run->stopped_ns[r] && now_ns() - run->stopped_ns[r] > STOPPED_NS) {
            run->stopped_ns[r] = 0;
            run->fates[STOPS]++;
            kill(run->pids[r], SIGCONT);
        }
}

/* Waits in the library have deadlines; this is for when they have none. */
static bool is_stuck(struct run *run)
{
    uint64_t beat = 0;
    for (int r = 0; r < run->control->size; r++)
        beat += atomic_load(&run->control->rank[r].counts[CHECKED]) +
                atomic_load(&run->control->rank[r].episode);
    int64_t at_ns = now_ns();
    if (beat != run->beat)
        run->beat_ns = at_ns;
    run->beat = beat;
    if (at_ns - run->beat_ns < STUCK_NS)
        return false;
    for (int r = 0; r < run->control->size; r++)
        fprintf(stderr, "rank %d hangs in episode %" PRIu64 "\n", r,
                atomic_load(&run->control->rank[r].episode));
    return true;
}

static void kill_all(struct run *run)
{
    for (int r = 0; r < run->control->size; r++)
        if (run->pids[r] > 0) {
            kill(run->pids[r], SIGKILL);
            waitpid(run->pids[r], NULL, 0);
        }
}

static bool watch(struct run *run)
{
    bool well = true;
    run->beat_ns = now_ns();
    while (well && run->running) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED);
        if (pid > 0)
            well = handle(run, pid, status);
        else
            ranks_nap_ms(2);
        let_go_on(run);
        well = well && !is_stuck(run);
    }
    return well;
}

static bool run_all(struct control *control, struct run *run)
{
    bool well = true;
    *run = (struct run){.control = control};
    for (int r = 0; r < control->size && well; r++)
        well = start(run, r, 0);
    well = well && watch(run);
    kill_all(run);
    return well;
}

int main(int argc, char **argv)
{
    uint64_t seconds = 10, ranks = 2, seed = stress_fresh_seed();
    const struct stress_option options[] = {
        {"--seconds", &seconds, "how long"},
        {"--ranks", &ranks, "processes"},
        {"--seed", &seed, "of all that is random"},
        {0},
    };
    stress_parse(argc, argv, options);
    flat_count_exactly(argv);
    if (ranks < 1 || ranks > SHMRT_MAX_RANKS) {
        fprintf(stderr, "--ranks %" PRIu64 " is not from 1 to %d\n", ranks, SHMRT_MAX_RANKS);
        return 2;
    }
    printf("stress_mixed --seconds %" PRIu64 " --ranks %" PRIu64 " --seed %" PRIu64 "\n", seconds,
           ranks, seed);
    struct control *control =
        mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (control == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    control->seed = seed;
    control->size = (int)ranks;
    control->start_ns = now_ns();
    control->end_ns = control->start_ns + (int64_t)seconds * 1000000000;
    struct run run;
    bool well = run_all(control, &run);
    printf("stress_mixed: %s; %" PRIu64 " ranks were killed, %" PRIu64 " left, %" PRIu64
           " stopped\n",
           well ? "all right" : "FAILED", run.fates[IS_KILLED], run.fates[EXITS], run.fates[STOPS]);
    return !well;
}
