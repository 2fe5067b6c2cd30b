// SPDX-License-Identifier: Apache-2.0
/*
 * across.h - an all-reduce over several machines.
 *
 *   in shared memory        the machine's sum, a part on each of its first P ranks
 *   between machines        each part over its owners, one on every machine
 *   in shared memory        all parts to all ranks of the machine
 *
 * P is the number of ranks of the smallest machine, so every part has an owner everywhere.
 */
#pragma once

#include "engine.h"
#include "meeting.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace shmrt
{

struct AcrossStats {
    std::uint64_t calls = 0;
    std::uint64_t bytes = 0; /* that this rank has sent to other machines */
};

/**
 * Across - the ranks of one machine as a part of several
 *
 * Calls are serialised. A failure between machines or inside one is a failure of all ranks of all
 * machines: whoever sees one aborts its machine's communicator and closes its connections, which
 * the ranks on their other ends see. Afterwards every call throws what it was.
 */
class Across
{
  public:
    /** After the ranks have met; collective. @make: as EngineFactory. */
    Across(const Meeting &meeting, int rank, const EngineFactory &make,
           const std::vector<std::string> &settings);

    /**
     * As shmrt_allreduce(): the order is that of shared memory inside each machine, then that of
     * the machines. @in may equal @out.
     */
    void allreduce(const void *in, void *out, std::size_t count, shmrt_dtype dtype, shmrt_op op);
    void barrier();
    void abort(const std::string &reason);
    /** Leave. Who has finished all collectives that this rank took part in is not disturbed. */
    void close();
    /** How long each later call may wait for another machine. */
    void set_timeout(double timeout_s);
    AcrossStats stats();

  private:
    /* The elements of a part, or of a block of one. */
    struct Slice {
        std::size_t begin;
        std::size_t length;
    };
    struct Piece {
        const void *in;
        void *out;
        std::size_t count;
        shmrt_dtype dtype;
        shmrt_op op;
    };

    static Slice slice(std::size_t count, std::size_t parts, std::size_t part);
    template <class Work> void guarded(Work work);
    void reduce_piece(const Piece &piece);
    void machine_sum(const Piece &piece, const std::vector<std::size_t> &counts);
    void exchange(const Piece &piece, std::size_t length, void *out);
    void exchange_whole(const Piece &piece, std::size_t length, void *out);
    void exchange_blocks(const Piece &piece, std::size_t length, void *out);
    Engine::Bytes to_others(std::size_t bytes) const;
    void combine_terms(const Piece &piece, const void *const *terms, std::size_t length, void *out);
    void die(int code, const std::string &text);
    std::string own_name() const;
    std::optional<std::pair<int, std::string>> dead();

    const Partition partition_;
    const int rank_;
    const int machine_;
    const int local_;
    const int parts_;
    const std::shared_ptr<Comm> comm_; /* null where this rank is alone on its machine */
    const c10::intrusive_ptr<c10d::Store> store_;
    std::unique_ptr<Engine> engine_; /* to the owners of the same part; null for who owns none */

    std::mutex call_; /* held through each collective */
    std::mutex dead_lock_;
    std::optional<std::pair<int, std::string>> dead_;
    std::atomic<std::uint64_t> calls_{0}; /* read at any time, by a signal handler too */
    std::vector<std::byte> wide_, total_;
    Memory part_, terms_, blocks_; /* of transfers: what is sent, what comes, the second step's */
};

} // namespace shmrt
