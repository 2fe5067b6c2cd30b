// SPDX-License-Identifier: Apache-2.0
/* group.h - the ranks of one c10d group, or of the default communicator, wherever they are. */
#pragma once

#include "across.h"
#include "comm.h"
#include "elsewhere.h"
#include "meeting.h"
#include "route.h"

#include <c10/util/FunctionRef.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace shmrt
{

struct GroupParams {
    int rank = 0;
    int size = 0;
    std::string name; /* of the c10d group; "" for the default communicator */
    /* Over which the ranks find out who shares a machine. Null: all do, and meet directly. */
    c10::intrusive_ptr<c10d::Store> store;
    /* For what goes between machines, and for fallbacks; may be empty where neither can be. */
    EngineFactory engine;
    std::optional<std::string> job; /* of the direct meeting, as CommParams */
    std::vector<std::string> settings;
    bool use_shm = true; /* false: as if SHMRT_DISABLE were set on this rank */
};

struct GroupStats {
    int machines = 1;
    AcrossStats across;
    std::map<std::string, std::uint64_t> fallbacks; /* calls, by reason */
};

/**
 * Group - all-reduce over ranks of one machine or of several, by whatever way route() decides
 *
 * Every member may be called from any thread, none with the GIL held. Failures are thrown by
 * throw_error(). Decisions are counted, and one that falls back is logged once, by rank 0.
 */
class Group
{
  public:
    /**
     * Collective. With a store: all ranks get one partition, or the same error. Without: as
     * Comm::create(); ECONNREFUSED, on all ranks, where one has shared memory switched off.
     */
    static std::shared_ptr<Group> create(const GroupParams &params);

    int rank() const
    {
        return rank_;
    }
    int size() const
    {
        return size_;
    }
    const std::string &name() const
    {
        return name_;
    }
    const Partition &partition() const
    {
        return partition_;
    }
    /** All ranks are on this machine and meet in shared memory: comm() is all of them. */
    bool is_local() const
    {
        return facts_.machines == 1 && facts_.off.empty();
    }
    /** Why shared memory is off for the whole group, or "". */
    const std::string &off() const
    {
        return facts_.off;
    }
    /** Of this machine's ranks. Null where this rank is the only one, and where it is off. */
    const std::shared_ptr<Comm> &comm() const
    {
        return comm_;
    }

    /** As shmrt_allreduce(); all ranks say the same in @call. */
    void allreduce(const void *in, void *out, std::size_t count, shmrt_dtype dtype, shmrt_op op,
                   const char *what, const CallFacts &call = {});
    /** As shmrt_allreduce_norm(), by the same ways. */
    void allreduce_norm(const shmrt_norm_args &args, const char *what, const CallFacts &call = {});
    void barrier(const char *what);

    /**
     * @turn(what, call) is to make each of the calls above when it is its turn among others of this
     * group, which are queued elsewhere: what goes into one communicator has one order on all
     * ranks. Before the first of them.
     */
    using Turn = std::function<void(const char *what, c10::function_ref<void()> call)>;
    void set_turn(Turn turn)
    {
        turn_ = std::move(turn);
    }
    /** What rules the next calls; to be told by who has the turn. */
    void tell(const char *what, std::chrono::milliseconds timeout, bool caller_only);
    /** The limit of collectives that are not told another one. */
    void set_timeout(std::chrono::milliseconds timeout);

    /** The engine of elsewhere(), for messages. Made by the first who asks: collective. */
    c10::intrusive_ptr<c10d::Backend> engine_elsewhere(const char *what);
    /** A collective of another engine, over all ranks, by who has the turn: see Engine::call(). */
    void elsewhere(const char *what, std::chrono::milliseconds timeout, Engine::Start start);
    /** Log it, where it is the first fall back for this reason; rank 0 speaks for all. */
    void tell_fallback(const char *what, const std::string &reason);

    /** End every wait in it, on all ranks of all machines; at any time, from any thread. */
    void abort(const std::string &reason);
    /** Is the calling thread in a call, as a signal handler during a wait is? */
    bool is_entered_by_this_thread() const;
    /** Leave, once the other threads are out of their calls, which are aborted with @reason. */
    void close(const std::string &reason);
    GroupStats stats();
    /** Where this rank and the others are, as a line for a person. */
    std::string describe() const;

  private:
    /* One thread at a time in what is more than one call of comm_; none waits for itself. */
    class Entry
    {
      public:
        Entry(Group &group, const char *what);
        ~Entry();
        Entry(const Entry &) = delete;
        Entry &operator=(const Entry &) = delete;

      private:
        Group &group_;
    };

    explicit Group(const GroupParams &params);

    void meet(const GroupParams &params);
    void set_elsewhere(const c10::intrusive_ptr<c10d::Store> &store);
    Way decide(const CallFacts &call);
    void in_turn(const char *what, c10::function_ref<void()> call);
    void allreduce_now(const void *in, void *out, std::size_t count, shmrt_dtype dtype, shmrt_op op,
                       const char *what, const CallFacts &call);
    void barrier_now(const char *what);
    const int rank_;
    const int size_;
    const std::string name_;
    const std::vector<std::string> settings_;
    const unsigned forks_; /* as in Comm */
    const EngineFactory make_engine_;
    GroupFacts facts_;
    Partition partition_;
    std::shared_ptr<Comm> comm_;
    std::unique_ptr<Across> across_; /* where there are several machines */

    Turn turn_; /* may be empty: all calls are made here */
    std::chrono::milliseconds told_timeout_{-1};
    bool told_caller_only_ = false;

    std::mutex call_; /* held through each call across machines, and each fallback */
    std::atomic<bool> closed_{false};
    std::atomic<std::thread::id> caller_; /* who holds it; each thread only looks for itself */
    Elsewhere elsewhere_;
    std::shared_ptr<Comm> alone_; /* of this rank only: norms of its own */
    std::mutex counts_lock_;
    std::map<std::string, std::uint64_t> fallbacks_;
    std::set<std::string> told_; /* reasons of fall backs that were logged */
};

/*
 * Groups by the name of their c10d group, for operators that take one. A child of fork() has those
 * of its parent, whose every call refuses.
 */
void register_group(const std::string &name, std::shared_ptr<Group> group);
/** What was registered as @name, or null; with @only, nothing else than that group. */
std::shared_ptr<Group> unregister_group(const std::string &name, const Group *only = nullptr);
std::vector<std::string> group_names();
/** EINVAL with the names that there are, where @name is none of them. */
std::shared_ptr<Group> find_group(const std::string &name);

} // namespace shmrt
