// SPDX-License-Identifier: Apache-2.0
/*
 * meeting.h - which ranks share a machine, found out together.
 *
 * All ranks of a group end with the same partition, or all with the same error.
 */
#pragma once

#include "comm.h"

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace shmrt
{

/** The ranks of a group by machine. Machines are numbered by their lowest rank. */
struct Partition {
    std::vector<int> machine_of;         /* of each rank */
    std::vector<int> local_of;           /* the number of each rank within its machine */
    std::vector<std::vector<int>> ranks; /* of each machine, ascending */
    std::vector<std::string> host;       /* the name of each machine */

    int machines() const
    {
        return static_cast<int>(ranks.size());
    }
    /** Ranks of the machine that has the fewest. */
    int smallest() const;
    /** "machine 1 (node7: ranks 2 and 3)" */
    std::string describe(int machine) const;
};

/** All @size ranks on one machine. */
Partition one_machine(int size);

/** Machines as the texts of @machines, one of each rank, say it, and their names @hosts. */
Partition partition_of(const std::vector<std::string> &machines,
                       const std::vector<std::string> &hosts);

struct MeetingParams {
    int rank = 0;
    int size = 0;
    std::string name; /* of the group */
    c10::intrusive_ptr<c10d::Store> store;
    std::vector<std::string> settings;
    std::string off; /* as switched_off() */
    /* Further preparation, after shared memory is there; its failure is that of all ranks. */
    std::function<void(const struct Meeting &)> prepare;
};

/** What a meeting comes to. @comm: of this machine's ranks; null for one alone, and where off. */
struct Meeting {
    Partition partition;
    std::shared_ptr<Comm> comm;
    std::string off;                       /* as GroupFacts.off */
    c10::intrusive_ptr<c10d::Store> store; /* of this meeting alone */
};

/**
 * Each rank publishes what it is, those that match meet in shared memory, and each publishes how
 * that went. Late is an error, never a fallback. Blocks until all ranks came, at most the option
 * rendezvous_timeout, and twice as long for each of the two outcomes (shared memory; @prepare).
 * Rank 0 then stays until the others have read them, at most 10 s.
 *
 * Throws, on all ranks alike and naming ranks: ETIMEDOUT (missing), EPROTO (another version, size
 * or job), or what shmrt_comm_create() said to one of them.
 */
Meeting meet_over_store(const MeetingParams &params);

/** Seconds of an option as this process has it: from @settings, else its variable, else @otherwise.
 */
double seconds_option(const std::vector<std::string> &settings, const char *key,
                      const char *variable, double otherwise);

/**
 * How long a rank of several machines waits in shared memory, where another machine may take
 * @timeout_s: who waits here for a rank that waits for the network gives that one the first word.
 */
double timeout_within_machine(double timeout_s);

/** 128 random bits, as a name for a job. */
std::string random_key();

} // namespace shmrt
