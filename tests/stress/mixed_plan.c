/* SPDX-License-Identifier: Apache-2.0 */
/* mixed_plan.c - what happens in an episode of stress_mixed: settings, groups, who dies and when.
 */
#include "mixed.h"

#include <string.h>

/* Small parts, so that rings wrap; lanes; waits that sleep at once; and as users have it. */
static const char *const variants[][5] = {
    {"oneshot_max=auto"},
    {"chunk=64", "oneshot_max=0", "segment=1M", "lanes=1"},
    {"chunk=128", "oneshot_max=64", "segment=1M", "lanes=3"},
    {"chunk=256", "oneshot_max=1K", "segment=2M", "exchange_max=0"},
    {"spin=0", "yield=0", "oneshot_max=256", "lanes=2", "segment=1M"},
    {"pool=4M", "segment=2M", "lanes=2", "lane_min=1K"},
};
enum {
    VARIANTS = sizeof variants / sizeof variants[0],
    VARIANT = sizeof variants[0] / sizeof *variants[0]
};

/* Groups of @each neighbours; or, for 0, even and odd ranks. */
static void write_groups(struct episode *e, int each)
{
    size_t at = (size_t)snprintf(e->groups_text, sizeof e->groups_text, "groups=");
    int groups = each ? (e->size + each - 1) / each : 2;
    for (int g = 0; g < groups; g++)
        for (int r = 0, first = 1; r < e->size; r++) {
            if ((each ? r / each : r % 2) != g)
                continue;
            const char *before = !first ? "," : g ? "/" : "";
            at += (size_t)snprintf(e->groups_text + at, sizeof e->groups_text - at, "%s%d", before,
                                   r);
            first = 0;
            e->group_of[r] = g;
        }
    e->groups = e->group_of;
}

static enum fate draw_fate(uint64_t x)
{
    if (x % 160 == 0)
        return STOPS; /* seldom: it takes a second */
    switch (x % 8) {
    case 1:
        return IS_KILLED;
    case 2:
        return EXITS;
    case 3:
        return ABORTS;
    default:
        return LIVES;
    }
}

void episode_plan(struct episode *e, uint64_t seed, uint64_t number, int size)
{
    uint64_t state = seed ^ number * UINT64_C(0xd1342543de82ef95), x = next_random(&state);
    int n = 0;
    *e = (struct episode){.number = number, .size = size, .seed = next_random(&state)};
    e->operations = 10 + (int)(x % 60);
    e->most = 40000 / (size_t)size;
    /* Deadlines are for what hangs, not for a machine that others use. */
    e->settings[n++] = "timeout=600";
    e->settings[n++] = "rendezvous_timeout=600";
    e->settings[n++] = "tune=off";
    const char *const *variant = variants[(x >> 8) % VARIANTS];
    for (size_t i = 0; i < VARIANT && variant[i]; i++)
        e->settings[n++] = variant[i];
    if (size > 2 && (x >> 16) % 3 == 0) {
        write_groups(e, (int)((x >> 20) % 4) * 2);
        e->settings[n++] = e->groups_text;
        e->settings[n++] = "hierarchy_min=0";
    }
    e->fate = draw_fate(x >> 24);
    e->victim = size > 1 ? 1 + (int)((x >> 40) % (uint64_t)(size - 1)) : 0;
    e->fate_at = (int)((x >> 48) % (uint64_t)e->operations);
    if (size == 1)
        e->fate = LIVES;
}

int episode_color(const struct episode *e, uint64_t turn, int rank, int *key_out)
{
    uint64_t state = e->seed + 31 * turn, x = next_random(&state);
    *key_out = x & 1 ? rank : -rank;
    switch ((x >> 1) % 4) {
    case 0:
        return rank % 2;
    case 1:
        return 2 * rank / e->size;
    case 2: /* all but one */
        return rank == (int)((x >> 8) % (uint64_t)e->size) ? -1 : 0;
    default:
        return rank % 3;
    }
}
