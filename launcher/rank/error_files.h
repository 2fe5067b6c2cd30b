/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error_files.h - the folder where ranks may leave what went wrong (TORCHELASTIC_ERROR_FILE)
 *
 * A function under torch's @record writes DIR/attempt/rank/error.json when it fails. The folder is
 * this user's alone and lives as long as an attempt; when the launcher is killed, the keeper
 * removes it, and when both are, the next job does that finds it there, old and unlocked.
 */
#ifndef LAUNCH_ERROR_FILES_H
#define LAUNCH_ERROR_FILES_H

#include "job/job.h"

/** Make the folder under TMPDIR or /tmp and set @job's error_dir; NULL where that is impossible. */
void launch_errors_open(struct launch_job *job);

/** Make a rank's part of it. Called by the rank itself, so that it costs the others no time. */
void launch_errors_open_rank(const struct launch_job *job, size_t rank);

/** What the rank left: its traceback, or its message; NULL: nothing. To be freed. */
char *launch_errors_read(const struct launch_job *job, size_t rank);

/** Remove the folder and all in it. More than once does no harm. */
void launch_errors_remove(const struct launch_job *job);

/** The same, and forget it. */
void launch_errors_close(struct launch_job *job);

#endif
