// SPDX-License-Identifier: Apache-2.0
/* route.h - which way a reduction goes, and why; the only place where that is decided. */
#pragma once

#include <shmrt.h>

#include <string>
#include <vector>

namespace shmrt
{

enum class Way {
    SHARED_MEMORY, /* all ranks are on this machine */
    ACROSS,        /* in shared memory inside each machine, and over the network between them */
    FALLBACK       /* the engine alone, as if there were no shared memory */
};

/** What holds for a group as long as it lives, and is the same on all of its ranks. */
struct GroupFacts {
    int machines = 1;
    int ranks = 1;
    std::string off; /* why shared memory is off in this group; "" where it is not */
};

/** What one call says. All ranks of the group have to say the same. */
struct CallFacts {
    bool use_shm = true;
};

struct Decision {
    Way way = Way::SHARED_MEMORY;
    std::string reason; /* of a fallback, for a person; "" otherwise */
};

/** Pure: equal facts give equal decisions, so the ranks of a group decide alike. */
Decision route(const GroupFacts &group, const CallFacts &call);

/** What a rank tells the others of itself before they decide where shared memory serves. */
struct RankFacts {
    std::string machine; /* equal for ranks that can meet: boot id, network namespace, user */
    std::string off;     /* the switch that this rank has off, as "SHMRT_DISABLE=1"; "" for none */
};

/**
 * Why these ranks do without shared memory: the switches that are off and the ranks that have them,
 * or a machine with more ranks than one communicator holds. "" where they don't.
 */
std::string why_off(const std::vector<RankFacts> &ranks);

/** The switch of the environment or of init() that is off in this process, or "". EINVAL: a
 * variable is neither 0 nor 1. */
std::string switched_off(bool use_shm);

} // namespace shmrt
