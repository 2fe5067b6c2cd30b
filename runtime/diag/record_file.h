/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record_file.h - the flight recorder's copy in a file, for when no rank is left to tell (L2)
 *
 * Opt-in (SHMRT_RECORDER). The file is mapped, so what was stored stays in it whatever becomes of
 * the process; what is left after a machine's crash is not promised. One for each communicator of
 * each rank. torchops/shmrt/recorder.py reads it; docs/observability.md tells how.
 */
#ifndef SHMRT_RECORD_FILE_H
#define SHMRT_RECORD_FILE_H

#include "record.h"

/* "shmrtrec", little-endian */
#define SHMRT_RECORD_FILE_MAGIC UINT64_C(0x63657274726d6873)

enum { SHMRT_RECORD_FILE_VERSION = 1, SHMRT_RECORD_FILE_JOB_BYTES = 256 };

/** The first page of the file; then the records, then a note a lane. Native byte order. */
struct shmrt_record_file_head {
    uint64_t magic;
    uint32_t version;
    uint32_t rank;
    uint32_t size;
    uint32_t pid;
    uint32_t newest_at; /* bytes from the start of the file, as the next ones */
    uint32_t ring_at;
    uint32_t records; /* in the ring */
    uint32_t notes_at;
    uint32_t notes;
    uint32_t note_bytes;      /* from one to the next */
    int64_t made_realtime_ns; /* the same moment by both clocks */
    int64_t made_monotonic_ns;
    _Atomic int32_t code; /* what the communicator died of; 0: nothing yet. Release, after error */
    uint32_t pids[SHMRT_MAX_RANKS]; /* of all ranks: files with the same belong together */
    char job[SHMRT_RECORD_FILE_JOB_BYTES];
    char error[SHMRT_ERROR_TEXT_BYTES];
};

struct shmrt_record_file {
    struct shmrt_record_file_head *head; /* NULL: there is none */
    struct shmrt_records *records;
    struct shmrt_wait_note *notes; /* one a lane */
    size_t bytes;
    char *path;
};

/**
 * shmrt_record_file_create - a fresh file; never an existing one
 * @path:  of it ".rank<rank>.<pid>" and, if that is there, "-2", "-3", ... is made
 * @lanes: of a rank
 * @head:  rank, size, pids and job are taken from there
 *
 * All of its blocks are taken here: a full file system is an error now, not a SIGBUS later.
 * Return: 0 or -errno, with words.
 */
int shmrt_record_file_create(const char *path, int lanes, const struct shmrt_record_file_head *head,
                             struct shmrt_record_file *out,
                             struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Unmaps it. The file stays where the communicator had failed (its head has the code). */
void shmrt_record_file_close(struct shmrt_record_file *file, bool is_owner);

/** What the communicator died of. */
void shmrt_record_file_fail(struct shmrt_record_file *file, const struct shmrt_error *error);

#endif
