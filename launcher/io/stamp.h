/* SPDX-License-Identifier: Apache-2.0 */
/* stamp.h - the time in front of lines */
#ifndef LAUNCH_STAMP_H
#define LAUNCH_STAMP_H

#include <time.h>

/** "2026-11-21 19:13:45.123 ", the local time; made anew only when it has changed. */
struct launch_stamp {
    char text[48];
    time_t second;
    int millisecond;
};

/** Bring it to now. */
void launch_stamp_renew(struct launch_stamp *stamp);

#endif
