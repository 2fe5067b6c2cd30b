/* SPDX-License-Identifier: Apache-2.0 */
/* failure_report.h - what the rank that failed first had to say about it */
#ifndef LAUNCH_FAILURE_REPORT_H
#define LAUNCH_FAILURE_REPORT_H

#include "io/wiring.h"

/**
 * launch_report_failure - show a traceback, or else the last lines on standard error
 * @rank, @number: of this machine, and counted over all machines
 * @say: one line of ours; called with @context
 * @traceback: NULL: none
 *
 * Not where they stand last on the screen anyway. A rank whose output is its own (the only one) has
 * said it there.
 */
void launch_report_failure(const struct launch_wiring *wiring, size_t rank, size_t number,
                           const char *traceback, void (*say)(void *context, const char *line),
                           void *context);

#endif
