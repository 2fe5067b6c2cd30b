/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_file.c - memfds: created, sized, mapped, bound, sealed; their pages taken ahead of use.
 *
 * fallocate takes ordinary pages, on the nodes of the file's policy. It does not serve for huge
 * ones: transparent ones are asked for by a mapping, which fallocate does not look at, and a
 * hugetlb file has no policy of its own, only the mapping has. So these are written to through
 * the owner's mapping (MADV_POPULATE_WRITE), which answers a shortage with an error too.
 */
#include "shared_file.h"

#include "bind.h"
#include "huge_pages.h"
#include "memory_limit.h"
#include "proof.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 0x0004U
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

enum {
    SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
    HUGETLB_SIZE_SHIFT = 26, /* the logarithm of the page's size stands there in the flags */
    ALIGNED_BYTES = 2 << 20, /* of mappings, so that huge pages can be mapped as such */
};

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

/* What pages the file will have, and so its size. */
static int choose_pages(const struct shmrt_file_wish *wish, struct shmrt_file *file,
                        struct shmrt_error *error_out)
{
    size_t usual = (size_t)sysconf(_SC_PAGESIZE);
    *file = (struct shmrt_file){.bytes = wish->bytes, .fd = -1, .kind = wish->kind};
    if (file->kind == SHMRT_PAGES_TRANSPARENT && wish->bytes < ALIGNED_BYTES)
        file->kind = SHMRT_PAGES_ORDINARY;
    file->page_bytes = usual;
    if (file->kind == SHMRT_PAGES_HUGETLB)
        file->page_bytes = shmrt_huge_pages_bytes("/sys", wish->bytes);
    if (file->page_bytes == 0)
        return shmrt_error_set(error_out, -ENOTSUP,
                               "this kernel has no hugetlb pages that fit into %s of %zu bytes",
                               wish->use->name, wish->bytes);
    file->mapped_bytes = wish->bytes;
    if (file->kind != SHMRT_PAGES_ORDINARY)
        file->mapped_bytes =
            round_up(wish->bytes,
                     file->kind == SHMRT_PAGES_HUGETLB ? file->page_bytes : (size_t)ALIGNED_BYTES);
    return 0;
}

static int open_file(const struct shmrt_file_use *use, const struct shmrt_file *file)
{
    char name[64];
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    snprintf(name, sizeof name, "shmrt-%s-%d", use->word, (int)getpid());
    if (file->kind == SHMRT_PAGES_HUGETLB)
        flags |= MFD_HUGETLB | (unsigned)__builtin_ctzl(file->page_bytes) << HUGETLB_SIZE_SHIFT;
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, flags);
    return fd;
}

/* An address at which huge pages fit, for file->mapped_bytes; NULL where the kernel may choose. */
static char *find_place(const struct shmrt_file *file)
{
    if (file->kind == SHMRT_PAGES_HUGETLB || file->mapped_bytes < ALIGNED_BYTES)
        return NULL;
    size_t bytes = file->mapped_bytes + ALIGNED_BYTES;
    char *room = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return NULL;
    char *place = room + (round_up((uintptr_t)room, ALIGNED_BYTES) - (uintptr_t)room);
    char *end = place + round_up(file->mapped_bytes, (size_t)sysconf(_SC_PAGESIZE));
    if (place > room)
        munmap(room, (size_t)(place - room));
    if (room + bytes > end)
        munmap(end, (size_t)(room + bytes - end));
    return place;
}

static int advise(const struct shmrt_file *file, size_t from, size_t bytes, int advice)
{
    int rc;
    do
        rc = madvise(file->base + from, bytes, advice) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    return rc;
}

/* With hugetlb the owner's mapping has the kernel promise all of its pages; @is_owner. On failure
 * @step_out names the call. */
static int map_file(struct shmrt_file *file, bool is_owner, const char **step_out)
{
    *step_out = "mmap";
    char *place = find_place(file);
    int flags = MAP_SHARED | (place ? MAP_FIXED : 0) | (is_owner ? 0 : MAP_NORESERVE);
    void *base = mmap(place, file->mapped_bytes, PROT_READ | PROT_WRITE, flags, file->fd, 0);
    int rc = base == MAP_FAILED ? -errno : 0;
    if (rc) {
        if (place)
            munmap(place, file->mapped_bytes);
        return rc;
    }
    file->base = base;
    *step_out = "madvise";
    /* A forked child must not write into a protocol in which its parent takes part. */
    if ((rc = advise(file, 0, file->mapped_bytes, MADV_DONTFORK)) != 0) {
        munmap(base, file->mapped_bytes);
        file->base = NULL;
        return rc;
    }
    /* Where the kernel knows no such pages, ordinary ones come. */
    if (file->kind == SHMRT_PAGES_TRANSPARENT)
        (void)advise(file, 0, file->mapped_bytes, MADV_HUGEPAGE);
    return 0;
}

/* The error of too few hugetlb pages for @bytes of the file. */
static int set_shortage(const struct shmrt_file_use *use, const struct shmrt_file *file,
                        const struct shmrt_nodeset *nodes, size_t bytes,
                        struct shmrt_error *error_out)
{
    char text[SHMRT_ERROR_TEXT_BYTES - 64];
    shmrt_huge_pages_shortage("/sys", file->page_bytes, bytes / file->page_bytes, nodes, text,
                              sizeof text);
    return shmrt_error_set(error_out, -ENOMEM, "%s %s", use->name, text);
}

static int create_file(const struct shmrt_file_wish *wish, struct shmrt_file *file,
                       struct shmrt_error *error_out)
{
    const struct shmrt_file_use *use = wish->use;
    const char *step = "memfd_create";
    struct rlimit files;
    /* Past this limit ftruncate would not fail but raise SIGXFSZ. */
    if (getrlimit(RLIMIT_FSIZE, &files) == 0 && file->mapped_bytes > files.rlim_cur)
        return shmrt_error_set(
            error_out, -EFBIG,
            "%s of %zu bytes is more than `ulimit -f` allows (%" PRIu64 "); raise it, or lower %s",
            use->name, file->mapped_bytes, (uint64_t)files.rlim_cur, use->option);
    file->fd = open_file(use, file);
    int rc = file->fd < 0 ? -errno : 0;
    if (rc == 0) {
        step = "ftruncate";
        do
            rc = ftruncate(file->fd, (off_t)file->mapped_bytes) == 0 ? 0 : -errno;
        while (rc == -EINTR);
    }
    if (rc == 0) {
        rc = map_file(file, true, &step);
        if (rc == -ENOMEM && file->kind == SHMRT_PAGES_HUGETLB)
            return set_shortage(use, file, wish->nodes, file->mapped_bytes, error_out);
    }
    return rc == 0
               ? 0
               : shmrt_error_set(error_out, rc,
                                 "creating %s of %zu bytes failed in %s: %s (%s sets its size)",
                                 use->name, file->mapped_bytes, step, strerror(-rc), use->option);
}

static int check_headroom(const struct shmrt_file_use *use, size_t bytes,
                          struct shmrt_error *error_out)
{
    const char *limit;
    uint64_t room = shmrt_memory_headroom("/proc", "/sys/fs/cgroup", &limit);
    if (bytes <= room)
        return 0;
    return shmrt_error_set(error_out, -ENOMEM,
                           "%s of %zu bytes does not fit: %s has %" PRIu64
                           " left; free memory, raise the limit, or lower %s",
                           use->name, bytes, limit, room, use->option);
}

static int allocate(const struct shmrt_file_use *use, const struct shmrt_file *file, size_t from,
                    size_t bytes, struct shmrt_error *error_out)
{
    int rc;
    do
        rc = fallocate(file->fd, 0, (off_t)from, (off_t)bytes) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    if (rc)
        return shmrt_error_set(error_out, rc,
                               "taking %zu bytes of shared memory failed (%s); free memory, or "
                               "lower %s",
                               bytes, strerror(-rc), use->option);
    return 0;
}

/* Out of the kernel's pool, so what is free otherwise does not count. */
static int take_hugetlb(const struct shmrt_file_use *use, const struct shmrt_file *file,
                        size_t from, size_t bytes, struct shmrt_error *error_out)
{
    int rc = advise(file, from, bytes, MADV_POPULATE_WRITE);
    if (rc == -EINVAL)
        return shmrt_error_set(error_out, -ENOTSUP,
                               "hugetlb pages can't be bound before Linux 5.14");
    if (rc == 0)
        return 0;
    /* Some may have come: given back, they count as free again. */
    (void)fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
                    (off_t)bytes);
    bool is_bound = !shmrt_nodeset_is_empty(&file->bound_nodes);
    return set_shortage(use, file, is_bound ? &file->bound_nodes : NULL, bytes, error_out);
}

int shmrt_file_take(const struct shmrt_file_use *use, const struct shmrt_file *file, size_t from,
                    size_t bytes, struct shmrt_error *error_out)
{
    int rc;
    if (from + bytes == file->bytes) /* with what the file has beyond, to a whole huge page */
        bytes = file->mapped_bytes - from;
    if (file->kind == SHMRT_PAGES_HUGETLB)
        return take_hugetlb(use, file, from, bytes, error_out);
    if ((rc = check_headroom(use, bytes, error_out)) != 0)
        return rc;
    if (file->kind == SHMRT_PAGES_TRANSPARENT)
        (void)advise(file, from, bytes, MADV_POPULATE_WRITE); /* what it lacks comes now */
    if ((rc = allocate(use, file, from, bytes, error_out)) != 0)
        return rc;
    /* Spares the owner its page faults, and shows who asks for them that all are there. Before
     * Linux 5.14 it has the faults. */
    if (file->kind == SHMRT_PAGES_ORDINARY)
        (void)advise(file, from, bytes, MADV_POPULATE_WRITE);
    /* Makes huge ones of what is there, also where they don't come by themselves. */
    if (file->kind == SHMRT_PAGES_TRANSPARENT)
        (void)advise(file, from, bytes, MADV_COLLAPSE);
    return 0;
}

static int try_kind(const struct shmrt_file_wish *wish, struct shmrt_file *file,
                    struct shmrt_error *error_out)
{
    int rc = choose_pages(wish, file, error_out);
    if (rc == 0 && file->kind == SHMRT_PAGES_HUGETLB &&
        !shmrt_huge_pages_suffice("/sys", file->page_bytes, file->mapped_bytes / file->page_bytes,
                                  wish->nodes))
        rc = set_shortage(wish->use, file, wish->nodes, file->mapped_bytes, error_out);
    if (rc == 0)
        rc = create_file(wish, file, error_out);
    if (rc == 0 && wish->nodes) {
        file->bind_code = shmrt_bind_memory(file->base, file->mapped_bytes, wish->nodes);
        if (file->bind_code == 0)
            file->bound_nodes = *wish->nodes;
    }
    if (rc == 0 && wish->taken_bytes)
        rc = shmrt_file_take(wish->use, file, 0, wish->taken_bytes, error_out);
    if (rc)
        shmrt_file_release(file, true);
    return rc;
}

/* The files of /sys that decide are three, and change with the kernel: only the result is told. */
static void tell_if_not_huge(const struct shmrt_file_wish *wish, const struct shmrt_file *file,
                             const struct shmrt_logger *logger)
{
    size_t huge = shmrt_proof_huge_bytes(file);
    size_t wanted = wish->taken_bytes / ALIGNED_BYTES * ALIGNED_BYTES;
    if (huge < wanted)
        shmrt_log(logger, SHMRT_LOG_WARNING,
                  "SHMRT_HUGE_PAGES=transparent: %zu of the %zu bytes of %s are in huge pages, "
                  "and ordinary ones serve for the rest: memory is too fragmented, or the kernel "
                  "is older than 6.1 and shmem_enabled in /sys/kernel/mm/transparent_hugepage is "
                  "never, or that says deny",
                  huge, wanted, wish->use->name);
}

int shmrt_file_make(const struct shmrt_file_wish *wish, const struct shmrt_logger *logger,
                    struct shmrt_file *file_out, struct shmrt_error *error_out)
{
    struct shmrt_error shortage;
    struct shmrt_file_wish ordinary = *wish;
    ordinary.kind = SHMRT_PAGES_ORDINARY;
    if (wish->kind != SHMRT_PAGES_HUGETLB) {
        int rc = try_kind(wish, file_out, error_out);
        if (rc == 0 && file_out->kind == SHMRT_PAGES_TRANSPARENT && wish->taken_bytes)
            tell_if_not_huge(wish, file_out, logger);
        return rc;
    }
    if (try_kind(wish, file_out, &shortage) == 0)
        return 0;
    int rc = try_kind(&ordinary, file_out, error_out);
    if (rc == 0)
        shmrt_log(logger, SHMRT_LOG_WARNING,
                  "SHMRT_HUGE_PAGES=hugetlb: %s; ordinary pages serve instead", shortage.text);
    return rc;
}

/* What its owner has made of @bytes: as they are, or up to a whole huge page. */
static int look_at(int fd, size_t bytes, bool hugetlb, struct shmrt_file *file_out)
{
    struct stat status;
    struct statfs system;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || fstat(fd, &status) != 0 || fstatfs(fd, &system) != 0)
        return errno == EINVAL ? -EPROTO : -errno; /* EINVAL: it can't be sealed at all */
    if ((seals & SEALS) != SEALS)
        return -EPROTO;
    bool is_hugetlb = system.f_type == HUGETLBFS_MAGIC;
    if (is_hugetlb && !hugetlb)
        return -EXDEV;
    size_t unit = is_hugetlb ? (size_t)system.f_bsize : ALIGNED_BYTES;
    size_t size = (size_t)status.st_size;
    if (size != bytes && size != round_up(bytes, unit))
        return -EPROTO;
    *file_out = (struct shmrt_file){
        .bytes = bytes,
        .mapped_bytes = size,
        .page_bytes = is_hugetlb ? unit : (size_t)sysconf(_SC_PAGESIZE),
        .kind = is_hugetlb ? SHMRT_PAGES_HUGETLB : SHMRT_PAGES_ORDINARY,
        .fd = fd,
    };
    return 0;
}

int shmrt_file_attach(int fd, size_t bytes, bool hugetlb, struct shmrt_file *file_out)
{
    int rc = look_at(fd, bytes, hugetlb, file_out);
    if (rc == 0)
        rc = map_file(file_out, false, &(const char *){NULL});
    if (rc) {
        close(fd);
        *file_out = (struct shmrt_file){.fd = -1};
    }
    return rc;
}

int shmrt_file_refuse(int code, const char *name, size_t bytes, int rank,
                      struct shmrt_error *error_out)
{
    if (code == -EXDEV)
        return shmrt_error_set(error_out, -EPROTO,
                               "rank %d sent %s of hugetlb pages, which this rank does not use; "
                               "start all ranks with the same SHMRT_HUGE_PAGES",
                               rank, name);
    return shmrt_error_set(error_out, -EPROTO,
                           "rank %d sent %s that is not sealed, or not of %zu bytes", rank, name,
                           bytes);
}

int shmrt_file_seal(const struct shmrt_file *file)
{
    return fcntl(file->fd, F_ADD_SEALS, SEALS) == 0 ? 0 : -errno;
}

void shmrt_file_close_fd(struct shmrt_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

void shmrt_file_release(struct shmrt_file *file, bool mapped)
{
    if (file->base && mapped)
        munmap(file->base, file->mapped_bytes);
    file->base = NULL;
    shmrt_file_close_fd(file);
}
