/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_rendezvous.c - a rank meets peers that do anything: the bytes are a script of what they do.
 *
 * One thread is both sides. The rank under test runs shmrt_comm_create() whole, over real sockets;
 * wherever it would wait (ppoll), the script goes on to the end of its turn, and then nobody waits:
 * time is a number here (clock_gettime), which a wait moves forward. When the script is used up,
 * the caller interrupts the rank. Whatever happened, it has an error in words or a communicator for
 * which every peer gave its word, and no descriptor stays open.
 */
#include "base/clock.h"
#include "bytes.h"
#include "comm.h"
#include "shm/rendezvous_name.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    RANKS = 4,
    CONNECTIONS = 12,
    FDS = 8,        /* kinds of descriptor that a peer may send */
    OPEN_MOST = 96, /* descriptors that this program may have */
    TURNS_MOST = 20000,
    SEGMENT_BYTES = 256 * 1024,
    POOL_BYTES = 1024 * 1024,
};

static struct {
    struct bytes bytes;
    struct shmrt_hello hello;     /* as a good peer of number 0 would say it */
    int connections[CONNECTIONS]; /* ends that the peers hold; -1: none */
    int listeners[RANKS];         /* of lower ranks */
    int rank, size;
    int good_words; /* messages that may have been taken for a good verdict */
    int turns;
    int64_t now_ns;
    bool over;
} script;

static char job[32];
static int segments[RANKS], pools[RANKS], strange[FDS];

int __real_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *wait, const sigset_t *mask);
int __wrap_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *wait, const sigset_t *mask);
int __wrap___ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *wait,
                       const sigset_t *mask, size_t bytes);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    (void)clock;
    *out = shmrt_timespec_from_ns(script.now_ns += 1000);
    return 0;
}

static void add_connection(int fd)
{
    int at = 0;
    while (at < CONNECTIONS && script.connections[at] >= 0)
        at++;
    if (fd >= 0 && at == CONNECTIONS)
        close(fd);
    else if (fd >= 0)
        script.connections[at] = fd;
}

static int choose_connection(void)
{
    return script.connections[take(&script.bytes) % CONNECTIONS];
}

/* What lower ranks hear when the rank under test has called them. */
static void accept_calls(void)
{
    for (int r = 0; r < RANKS; r++)
        if (script.listeners[r] >= 0)
            add_connection(shmrt_name_accept(script.listeners[r]));
}

static void send_with(int fd, const void *message, size_t bytes, const int *fds, int n)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int) * FDS)];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (n) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n);
        control.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                        .cmsg_type = SCM_RIGHTS,
                                        .cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n)};
        memcpy(CMSG_DATA(&control.head), fds, sizeof(int) * (size_t)n);
    }
    if (fd >= 0)
        (void)sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static struct shmrt_hello make_hello(int rank)
{
    struct shmrt_hello hello = script.hello;
    hello.rank = rank;
    return hello;
}

static void send_good_hello(int fd, int rank)
{
    const struct shmrt_hello hello = make_hello(rank);
    const int fds[] = {segments[rank], pools[rank], strange[0]};
    send_with(fd, &hello, sizeof hello, hello.pool_bytes ? fds : (const int[]){fds[0], fds[2]},
              hello.pool_bytes ? 3 : 2);
}

/* Numbers at which arithmetic turns. */
static uint64_t choose_number(void)
{
    static const uint64_t numbers[] = {0,   1,    2,         3,          63,       64,
                                       255, 4096, INT32_MAX, UINT32_MAX, INT64_MAX};
    unsigned which = take(&script.bytes) % 16;
    uint64_t small = take(&script.bytes);
    if (which == 15)
        return UINT64_MAX - small;
    return which < sizeof numbers / sizeof numbers[0] ? numbers[which] : small;
}

/* A hello in which some fields are others, with some descriptors or none. */
static void send_hello(int fd)
{
    struct shmrt_hello hello = make_hello(take(&script.bytes) % RANKS);
    int fds[FDS], n = take(&script.bytes) % (FDS - 2);
    for (int patches = take(&script.bytes) % 4; patches > 0; patches--) {
        unsigned at = take_two(&script.bytes);
        uint64_t number = choose_number();
        size_t bytes = at & 0x8000 ? sizeof(uint32_t) : at & 0x4000 ? 1 : sizeof number;
        size_t place = at % (sizeof hello - sizeof number) / bytes * bytes;
        memcpy((char *)&hello + place, &number, bytes);
    }
    for (int i = 0; i < n; i++) {
        unsigned which = take(&script.bytes) % (FDS + 2 * RANKS);
        fds[i] = which < FDS           ? strange[which]
                 : which < FDS + RANKS ? segments[which - FDS]
                                       : pools[which - FDS - RANKS];
    }
    send_with(fd, &hello, sizeof hello, fds, n);
}

static void send_verdict(int fd, int code)
{
    static const int codes[] = {0, -EPROTO, -ECONNABORTED, -ECONNREFUSED, -ENOMEM, 1, INT32_MIN};
    struct shmrt_verdict verdict = {.head = shmrt_message_head_make(SHMRT_MESSAGE_VERDICT),
                                    .code = codes[code % 7]};
    memset(verdict.text, code & 0x80 ? '%' : 'x', sizeof verdict.text - (code & 0x40 ? 0 : 100));
    script.good_words += verdict.code == 0;
    send_with(fd, &verdict, sizeof verdict, NULL, 0);
}

/* Bytes as they come; or with our head in front, of any kind and protocol. */
static void send_raw(int fd)
{
    union shmrt_message message = {0};
    struct bytes *bytes = &script.bytes;
    unsigned length = take_two(bytes), kind = take(bytes);
    size_t at = 0, most = length % (sizeof message + 1);
    if (kind)
        message.head = shmrt_message_head_make((enum shmrt_message_kind)(kind % 5));
    if (kind & 0x80)
        message.head.protocol = take(bytes);
    for (at = kind ? sizeof message.head : 0; at < most && bytes->at < bytes->end && at < 64; at++)
        ((uint8_t *)&message)[at] = take(bytes);
    script.good_words++;
    send_with(fd, &message, most, strange, length & 0x4000 ? 1 : 0);
}

static void listen_as(int rank)
{
    if (rank < script.rank && script.listeners[rank] < 0) {
        const struct shmrt_logger silence = {0};
        script.listeners[rank] = shmrt_name_listen(script.hello.job, rank, &silence, NULL);
    }
}

static void close_connection(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void do_one(unsigned what)
{
    struct bytes *bytes = &script.bytes;
    int fd;
    switch (what) {
    case 1:
        add_connection(shmrt_name_connect(script.hello.job, script.rank, NULL));
        break;
    case 2:
        send_hello(choose_connection());
        break;
    case 3:
        fd = choose_connection();
        send_good_hello(fd, take(bytes) % RANKS);
        break;
    case 4:
        fd = choose_connection();
        send_verdict(fd, take(bytes));
        break;
    case 5:
        send_raw(choose_connection());
        break;
    case 6:
        close_connection(&script.connections[take(bytes) % CONNECTIONS]);
        break;
    case 7:
        script.now_ns += INT64_C(1) << take(bytes) % 40;
        break;
    case 8:
        listen_as(take(bytes) % RANKS);
        break;
    case 9:
        close_connection(&script.listeners[take(bytes) % RANKS]);
        break;
    case 10:
        fd = choose_connection();
        if (fd >= 0)
            shutdown(fd, take(bytes) % 3);
        break;
    default: {
        struct shmrt_message_head bye = shmrt_message_head_make(SHMRT_MESSAGE_BYE);
        send_with(choose_connection(), &bye, sizeof bye, NULL, 0);
    }
    }
}

/* The rank has nothing to do: the peers' turn, then a look at what they did. */
int __wrap_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *wait, const sigset_t *mask)
{
    const struct timespec none = {0};
    bool was_at_end = script.bytes.at == script.bytes.end;
    must(script.turns++ < TURNS_MOST); /* else it goes round for nothing */
    accept_calls();
    while (script.bytes.at < script.bytes.end) {
        unsigned what = take(&script.bytes) % 12;
        if (what != 0)
            do_one(what);
        if (what <= 1) /* so of a connection too: descriptors go through when it is accepted */
            break;
    }
    int ready = __real_ppoll(fds, n, &none, mask);
    if (ready == 0) {
        script.now_ns += (int64_t)wait->tv_sec * 1000000000 + wait->tv_nsec;
        script.over = script.over || was_at_end;
    }
    return ready;
}

/* What ppoll is in a build with _FORTIFY_SOURCE. */
int __wrap___ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *wait,
                       const sigset_t *mask, size_t bytes)
{
    must(n * sizeof *fds <= bytes);
    return __wrap_ppoll(fds, n, wait, mask);
}

static int is_over(void *arg)
{
    (void)arg;
    return script.over;
}

/* Which descriptors are open, as far as OPEN_MOST. */
static void list_open(bool out[OPEN_MOST])
{
    struct pollfd fds[OPEN_MOST];
    const struct timespec none = {0};
    for (int i = 0; i < OPEN_MOST; i++)
        fds[i] = (struct pollfd){.fd = i};
    must(__real_ppoll(fds, OPEN_MOST, &none, NULL) >= 0);
    for (int i = 0; i < OPEN_MOST; i++)
        out[i] = !(fds[i].revents & POLLNVAL);
}

static int make_memfd(size_t bytes, unsigned seals)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
    must(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

/* What good peers would send, and what only a strange one would. */
static void make_descriptors(void)
{
    const char *const settings[] = {"segment=256K", "pool=1M", "bind=0", NULL};
    struct shmrt_options options;
    struct shmrt_logger silent = {0};
    int pipes[2];
    must(shmrt_options_load(settings, &options, NULL) == 0);
    for (int r = 0; r < RANKS; r++) {
        struct shmrt_segment segment;
        struct shmrt_pool *pool;
        must(shmrt_segment_create(r, &options, &silent, &segment, NULL) == 0);
        must(shmrt_pool_create(POOL_BYTES, SHMRT_PAGES_ORDINARY, NULL, &silent, &pool, NULL) == 0);
        segments[r] = dup(segment.file.fd);
        pools[r] = dup(pool->file.fd);
        shmrt_segment_release(&segment, true);
        shmrt_pool_release(pool, true);
    }
    must(pipe2(pipes, O_CLOEXEC) == 0);
    strange[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
    strange[1] = pipes[0];
    strange[2] = pipes[1];
    strange[3] = make_memfd(SEGMENT_BYTES, 0);
    strange[4] = make_memfd(SEGMENT_BYTES, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    strange[5] = make_memfd(0, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    strange[6] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    strange[7] = open("/", O_RDONLY | O_CLOEXEC);
}

static void start(const uint8_t *data, size_t size, bool has_pool)
{
    memset(&script, 0, sizeof script);
    script.bytes = (struct bytes){data, data + size};
    script.now_ns = INT64_C(1000000000);
    memset(script.connections, -1, sizeof script.connections);
    memset(script.listeners, -1, sizeof script.listeners);
    script.size = 2 + take(&script.bytes) % (RANKS - 1);
    script.rank = take(&script.bytes) % script.size;
    script.hello = (struct shmrt_hello){
        .head = shmrt_message_head_make(SHMRT_MESSAGE_HELLO),
        .size = script.size,
        .pid = getpid(),
        .membarrier = 1,
        .segment_bytes = SEGMENT_BYTES,
        .pool_bytes = has_pool ? POOL_BYTES : 0,
        .oneshot_max_bytes = 4096,
        .lanes = 1,
        .tuning = {4096, 65536, 32768},
        .groups = "one",
    };
    snprintf(script.hello.version, sizeof script.hello.version, "%s", shmrt_version());
    must(shmrt_job_key(job, NULL, script.hello.job, NULL) == 0);
}

static void finish(void)
{
    for (int i = 0; i < CONNECTIONS; i++)
        close_connection(&script.connections[i]);
    for (int r = 0; r < RANKS; r++)
        close_connection(&script.listeners[r]);
}

/* One option of two: with a pool; and switched off. */
static struct shmrt_comm *create(unsigned with, int *rc_out, struct shmrt_error *error_out)
{
    const char *const settings[] = {"segment=256K",
                                    "oneshot_max=4096",
                                    "exchange_max=64K",
                                    "hierarchy_min=1M",
                                    "tune=off",
                                    "bind=0",
                                    "groups=one",
                                    "timeout=1",
                                    "spin=0",
                                    "yield=0",
                                    "lane_min=32K",
                                    "lanes=1",
                                    "warn=10",
                                    "rendezvous_timeout=60",
                                    with & 1 ? "pool=1M" : "pool=0",
                                    with & 2 ? "disable=1" : "disable=0",
                                    NULL};
    struct shmrt_params params = {.rank = script.rank,
                                  .size = script.size,
                                  .job = job,
                                  .settings = settings,
                                  .interrupt = is_over};
    struct shmrt_comm *comm = NULL;
    *rc_out = shmrt_comm_create(&params, &comm, error_out);
    return comm;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_ready;
    bool before[OPEN_MOST], after[OPEN_MOST];
    struct shmrt_error error = {0};
    int rc;
    unsigned with = size ? data[0] : 0;
    snprintf(job, sizeof job, "fuzz-%d", (int)getpid());
    if (!is_ready)
        make_descriptors();
    is_ready = true;
    list_open(before);
    start(data + (size > 0), size - (size > 0), with & 1);
    script.hello.absent = with >> 2 & 3;
    struct shmrt_comm *comm = create(with, &rc, &error);
    must((rc == 0) == (comm != NULL));
    must(rc == 0 || (rc < 0 && error.code == rc && error.text[0]));
    must(rc != 0 || script.good_words >= script.size - 1);
    if (comm) {
        char report[4096];
        must(shmrt_comm_lanes(comm) >= 1 && shmrt_comm_report(comm, report, sizeof report) > 0);
    }
    shmrt_comm_destroy(comm);
    finish();
    list_open(after);
    must(memcmp(before, after, sizeof before) == 0);
    return 0;
}
