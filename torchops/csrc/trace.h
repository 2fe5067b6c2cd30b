// SPDX-License-Identifier: Apache-2.0
/*
 * trace.h - each collective as an event in a trace file (SHMRT_TRACE) and as a line of the log
 * (SHMRT_LOG=debug).
 *
 * Comm::call() observes what goes through it; nobody else has to. What is no call of a communicator
 * is told here: a Span for work between machines, trace_instant() for a decision or a failure.
 * Where nobody looks all of it costs one predictable branch.
 */
#pragma once

#include <shmrt.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace shmrt
{

namespace trace_detail
{
/* Written once, before the first communicator of a process is made. */
extern std::atomic<bool> observed;
extern std::atomic<bool> tracing;
} // namespace trace_detail

/** Does anybody look at each collective? */
inline bool is_observed()
{
    return __builtin_expect(trace_detail::observed.load(std::memory_order_relaxed), false);
}

/** Is there a trace file? */
inline bool is_tracing()
{
    return __builtin_expect(trace_detail::tracing.load(std::memory_order_relaxed), false);
}

/**
 * Reads SHMRT_TRACE and SHMRT_LOG, once in a process. @rank is that of the first communicator: the
 * process has it in its trace if no launcher has told another one.
 */
void observe_as_environment_says(int rank);

/** As SHMRT_LOG says, warnings where it says nothing. For hosts that have no filter of their own.
 */
bool is_logged(shmrt_log_level level);

/**
 * Observation - one call of a communicator, while its lock is held
 *
 * begin() before, end() after; tell() when the lock has been let go of, since a log handler may do
 * anything. Calls that completed no collective and did not fail are not told.
 */
class Observation
{
  public:
    /** @what names the caller, @group the communicator; both outlive this. */
    Observation(const char *what, const std::string &group) : what_(what), group_(group)
    {
    }
    void begin(const shmrt_comm *comm);
    void end(const shmrt_comm *comm, int rc);
    void tell() const;

  private:
    using Clock = std::chrono::steady_clock;
    struct Counts {
        shmrt_counters counters;
        std::array<std::uint64_t, SHMRT_MAX_RANKS> late_ns;
    };
    static Counts count(const shmrt_comm *comm);
    std::uint64_t late_ns(int rank) const
    {
        return after_.late_ns[rank] - before_.late_ns[rank];
    }
    std::string arguments() const;
    std::string line() const;

    const char *what_;
    const std::string &group_;
    Clock::time_point start_, stop_;
    Counts before_{}, after_{};
    shmrt_last_call last_{};
    std::string failure_;
};

/** Span - a collective that is no call of a communicator; @way is "across machines", say. */
class Span
{
  public:
    Span(std::string_view name, std::string_view group, std::size_t bytes, std::string_view dtype,
         std::string_view way)
    {
        if (is_observed())
            begin(name, group, bytes, dtype, way);
    }
    ~Span()
    {
        if (!name_.empty())
            end();
    }
    Span(const Span &) = delete;
    Span &operator=(const Span &) = delete;

  private:
    void begin(std::string_view name, std::string_view group, std::size_t bytes,
               std::string_view dtype, std::string_view way);
    void end() const;

    std::string name_, group_, dtype_, way_;
    std::size_t bytes_ = 0;
    std::chrono::steady_clock::time_point start_;
};

/** A moment in the trace: @kind is "fallback" or "error". */
void trace_instant(std::string_view kind, std::string_view text, std::string_view group = "");

} // namespace shmrt
