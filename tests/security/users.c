/* SPDX-License-Identifier: Apache-2.0 */
/* users.c - processes under other user ids, and what both sides need. */
#include "users.h"

#include "comm.h"
#include "counting.h"
#include "ranks.h"
#include "shm/message.h"
#include "shm/rendezvous_name.h"
#include "timing.h"

#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static int ready_fd = -1;

bool become(uid_t uid)
{
    /* Dumpable, as it would be after execve(): /proc/PID is then the user's own. */
    return setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 &&
           setresuid(uid, uid, uid) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

bool users_are_there(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(geteuid() == 0 && become(VICTIM) ? 0 : 1);
    int status;
    bool there = waitpid(pid, &status, 0) == pid && status == 0;
    if (!there)
        fprintf(stderr, "skipped: only root can be two users\n");
    return there;
}

void name_of(const char *job, int rank, int suffix, char out[NAME_BYTES])
{
    char key[SHMRT_JOB_BYTES], own[NAME_BYTES];
    if (shmrt_job_key(job, NULL, key, NULL) != 0 ||
        shmrt_name_format(key, rank, suffix, own, NAME_BYTES) >= NAME_BYTES)
        abort();
    const char *rest = strchr(strchr(own, '/') + 1, '/'); /* a name begins with its user */
    snprintf(out, NAME_BYTES, "shmrt/%d%s", VICTIM, rest);
}

static socklen_t make_address(const char *name, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(out->sun_path + 1, sizeof out->sun_path - 1, "%s", name);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

int connect_to(const char *name, bool blocking)
{
    struct sockaddr_un address;
    socklen_t bytes = make_address(name, &address);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, bytes) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

int take_name(const char *name, bool listens)
{
    struct sockaddr_un address;
    socklen_t bytes = make_address(name, &address);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, bytes) == 0 && (!listens || listen(fd, 8) == 0))
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

void ready(void)
{
    if (ready_fd >= 0 && write(ready_fd, "y", 1) == 1)
        close(ready_fd);
    ready_fd = -1;
}

pid_t attack_start(attack_body attack, const char *job, void *arg)
{
    int ends[2];
    char answer = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        ready_fd = ends[1];
        alarm(WAIT_S);
        struct rlimit files = {.rlim_cur = 4096, .rlim_max = 4096};
        setrlimit(RLIMIT_NOFILE, &files);
        if (become(ATTACKER))
            attack(job, arg);
        _exit(1);
    }
    close(ends[1]);
    bool began = read(ends[0], &answer, 1) == 1;
    close(ends[0]);
    if (began)
        return pid;
    attack_stop(pid);
    return -1;
}

void attack_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void hear(enum shmrt_log_level level, const char *line, void *arg)
{
    struct outcome *outcome = arg;
    (void)level;
    outcome->warnings++;
    snprintf(outcome->warning, sizeof outcome->warning, "%s", line);
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int be_rank(const struct job *job, int rank, struct outcome *outcome)
{
    static const char *const settings[] = {"segment=1M", "pool=0", "rendezvous_timeout=30",
                                           "timeout=30", NULL};
    struct shmrt_comm *comm = NULL;
    struct shmrt_error error = {0};
    struct shmrt_params params = {.rank = rank,
                                  .size = job->size,
                                  .job = job->key,
                                  .settings = settings,
                                  .log = hear,
                                  .log_arg = outcome};
    double start = now_s();
    int rc = shmrt_comm_create(&params, &comm, &error);
    outcome->meet_s = now_s() - start;
    for (int round = 0; round < 2 && rc == 0; round++) {
        int32_t x = rank + 1;
        rc = shmrt_allreduce(comm, &x, &x, 1, SHMRT_INT32, SHMRT_SUM);
        if (rc == 0 && x != job->size * (job->size + 1) / 2)
            rc = -EIO;
        if (round == 0 && job->stay_ms)
            ranks_nap_ms(job->stay_ms);
    }
    snprintf(outcome->text, sizeof outcome->text, "%s", error.text);
    shmrt_comm_destroy(comm);
    return rc;
}

static void start_rank(const struct job *job, int rank)
{
    struct outcome *outcome = &job->outcomes[rank];
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid != 0) {
        outcome->pid = pid;
        return;
    }
    alarm(WAIT_S);
    if (!become(VICTIM))
        _exit(1);
    if (rank > 0)
        ranks_nap_ms(job->late_ms);
    outcome->files_before = count_entries("/proc/self/fd");
    outcome->code = be_rank(job, rank, outcome);
    outcome->files_after = count_entries("/proc/self/fd");
    outcome->cpu_s = cpu_s();
    _exit(0);
}

void job_make(struct job *job, int size)
{
    *job = (struct job){.size = size};
    ranks_unique_job(job->key);
    job->outcomes = mmap(NULL, JOB_MOST * sizeof *job->outcomes, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(job->outcomes != MAP_FAILED);
}

void job_run(struct job *job)
{
    fflush(NULL);
    for (int r = 0; r < job->size; r++)
        start_rank(job, r);
    if (job->meanwhile)
        job->meanwhile(job, job->arg);
    for (int r = 0; r < job->size; r++) {
        int status;
        assert_int_equal(waitpid(job->outcomes[r].pid, &status, 0), job->outcomes[r].pid);
        assert_int_equal(status, 0);
    }
}

void job_free(struct job *job)
{
    munmap(job->outcomes, JOB_MOST * sizeof *job->outcomes);
}

void job_assert_well(const struct job *job)
{
    for (int r = 0; r < job->size; r++) {
        const struct outcome *outcome = &job->outcomes[r];
        if (outcome->code)
            fprintf(stderr, "rank %d: %s: %s\n", r, strerror(-outcome->code), outcome->text);
        assert_int_equal(outcome->code, 0);
        assert_int_equal(outcome->files_after, outcome->files_before);
    }
}
