/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults.c - a library to preload: the calls of the C library that strace cannot make fail as they
 * do in life. An allocation that is refused; a close that says EINTR and has closed all the same; a
 * message that went or came in part.
 *
 * SHMRT_INJECT=malloc:17 lets the 17th call within the window fail. The window is what a program
 * says by inject_window(), or all of a program that does not know of it (SHMRT_INJECT=...:all), and
 * of what it forks; with ...:own not of that.
 * Live allocations are counted always: what is not freed shows as a difference.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* glibc's own, under the names that it keeps for who replaces the others. */
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *memory, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);
extern void __libc_free(void *memory);

static atomic_long live, calls;
static atomic_bool is_open;
static char kind[16], told[256];
static long failing;

static void close_window(void)
{
    atomic_store(&is_open, false);
}

/* What stands behind this library in LD_PRELOAD stays there. */
static void leave_preload(void)
{
    char rest[1024] = "";
    const char *list = getenv("LD_PRELOAD"), *colon = list ? strchr(list, ':') : NULL;
    if (colon)
        snprintf(rest, sizeof rest, "%s", colon + 1);
    unsetenv("LD_PRELOAD");
    if (rest[0])
        setenv("LD_PRELOAD", rest, 1);
}

/* The ranks of a launcher inherit neither the library nor the fault. */
__attribute__((constructor)) static void read_wish(void)
{
    char when[8] = "";
    const char *wish = getenv("SHMRT_INJECT");
    if (!wish || sscanf(wish, "%15[a-z]:%ld:%7s", kind, &failing, when) < 2)
        kind[0] = '\0';
    const char *file = getenv("SHMRT_INJECT_TELL");
    snprintf(told, sizeof told, "%s", file ? file : "");
    unsetenv("SHMRT_INJECT_TELL");
    unsetenv("SHMRT_INJECT");
    leave_preload();
    bool is_own = strcmp(when, "own") == 0;
    if (is_own)
        pthread_atfork(NULL, NULL, close_window);
    atomic_store(&is_open, is_own || strcmp(when, "all") == 0);
}

/* Found by their names, in faults.h. */
void inject_window(bool open);
long inject_live(void);
long inject_calls(void);

/* A program that does not know of the window can't tell either. */
__attribute__((destructor)) static void tell_calls(void)
{
    if (!told[0])
        return;
    FILE *file = fopen(told, "we");
    if (file) {
        fprintf(file, "%ld\n", inject_calls());
        fclose(file);
    }
}

void inject_window(bool open)
{
    atomic_store(&is_open, open);
}

long inject_live(void)
{
    return atomic_load(&live);
}

long inject_calls(void)
{
    return atomic_load(&calls);
}

/* Whether this call of @what is the one. */
static bool fails(const char *what)
{
    return atomic_load(&is_open) && strcmp(kind, what) == 0 &&
           atomic_fetch_add(&calls, 1) + 1 == failing;
}

/* hwloc and libgomp don't survive it, and what they allocate is not ours to mend. */
static bool refuses(const void *caller)
{
    Dl_info info;
    if (!atomic_load(&is_open) || strcmp(kind, "malloc") != 0)
        return false;
    bool is_known = dladdr(caller, &info) != 0 && info.dli_fname;
    return !(is_known &&
             (strstr(info.dli_fname, "libhwloc") || strstr(info.dli_fname, "libgomp"))) &&
           fails("malloc");
}

static void *counted(void *memory)
{
    if (memory)
        atomic_fetch_add(&live, 1);
    return memory;
}

static void *refused(void)
{
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t bytes)
{
    return refuses(__builtin_return_address(0)) ? refused() : counted(__libc_malloc(bytes));
}

void *calloc(size_t count, size_t bytes)
{
    return refuses(__builtin_return_address(0)) ? refused() : counted(__libc_calloc(count, bytes));
}

void *realloc(void *memory, size_t bytes)
{
    if (refuses(__builtin_return_address(0)))
        return refused();
    void *moved = __libc_realloc(memory, bytes);
    return memory ? moved : counted(moved);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return refuses(__builtin_return_address(0)) ? refused()
                                                : counted(__libc_memalign(alignment, bytes));
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    if (refuses(__builtin_return_address(0)))
        return ENOMEM;
    *out = counted(__libc_memalign(alignment, bytes));
    return *out ? 0 : ENOMEM;
}

void free(void *memory)
{
    int kept = errno;
    if (memory)
        atomic_fetch_sub(&live, 1);
    __libc_free(memory);
    errno = kept;
}

int close(int fd)
{
    long rc = syscall(SYS_close, fd);
    if (rc == 0 && fails("close")) {
        errno = EINTR;
        return -1;
    }
    return (int)rc;
}

/* The rest is lost, as where the peer sent less. */
ssize_t recvmsg(int socket, struct msghdr *header, int flags)
{
    long got = syscall(SYS_recvmsg, socket, header, flags);
    return got > 1 && fails("recvmsg") ? got / 2 : got;
}

ssize_t sendmsg(int socket, const struct msghdr *header, int flags)
{
    if (!fails("sendmsg"))
        return syscall(SYS_sendmsg, socket, header, flags);
    struct iovec half = header->msg_iov[0];
    struct msghdr part = *header;
    half.iov_len /= 2;
    part.msg_iov = &half;
    return syscall(SYS_sendmsg, socket, &part, flags);
}

ssize_t read(int fd, void *buffer, size_t bytes)
{
    if (bytes > 1 && fails("read"))
        bytes /= 2;
    return syscall(SYS_read, fd, buffer, bytes);
}

ssize_t write(int fd, const void *buffer, size_t bytes)
{
    if (bytes > 1 && fails("write"))
        bytes /= 2;
    return syscall(SYS_write, fd, buffer, bytes);
}
