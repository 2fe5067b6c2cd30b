/* SPDX-License-Identifier: Apache-2.0 */
/* stamp.c - the time is asked for with each piece of output, so most often only digits change. */
#include "stamp.h"

#include <stdio.h>
#include <string.h>

enum { SECONDS_LENGTH = sizeof "2026-11-21 19:13:45" - 1 };

void launch_stamp_renew(struct launch_stamp *stamp)
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    int millisecond = (int)(now.tv_nsec / 1000000);
    if (stamp->text[0] && now.tv_sec == stamp->second && millisecond == stamp->millisecond)
        return;
    if (!stamp->text[0] || now.tv_sec != stamp->second) {
        localtime_r(&now.tv_sec, &parts);
        strftime(stamp->text, sizeof stamp->text, "%Y-%m-%d %H:%M:%S", &parts);
    }
    snprintf(stamp->text + SECONDS_LENGTH, sizeof stamp->text - SECONDS_LENGTH, ".%03d ",
             millisecond);
    stamp->second = now.tv_sec;
    stamp->millisecond = millisecond;
}
