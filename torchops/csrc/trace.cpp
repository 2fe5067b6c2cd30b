// SPDX-License-Identifier: Apache-2.0
/*
 * trace.cpp - what is told of a collective, and to whom.
 *
 * The log gets a line, the trace an event; how events are written is in trace_file.cpp.
 */
#include "trace.h"

#include "host.h"
#include "trace_file.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sstream>

namespace shmrt
{

namespace trace_detail
{
std::atomic<bool> observed{false};
std::atomic<bool> tracing{false};
} // namespace trace_detail

namespace
{

using Clock = std::chrono::steady_clock;

/* Of SHMRT_LOG; anything else is the host's to complain about. */
int threshold_of(const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    for (int i = 0; text && i < 4; i++)
        if (std::strcmp(text, names[i]) == 0)
            return i - 1;
    return SHMRT_LOG_WARNING;
}

int threshold()
{
    static const int from_environment = threshold_of(std::getenv("SHMRT_LOG"));
    return from_environment;
}

double us(std::uint64_t ns)
{
    return static_cast<double>(ns) * 1e-3;
}

/* An operation only where there is one. */
bool reduces(shmrt_collective collective)
{
    return collective == SHMRT_ALLREDUCE || collective == SHMRT_REDUCE ||
           collective == SHMRT_REDUCE_SCATTER;
}

} // namespace

void observe_as_environment_says(int rank)
{
    static std::once_flag once;
    std::call_once(once, [rank] {
        const bool is_traced = open_trace_file(secure_getenv("SHMRT_TRACE"), rank);
        trace_detail::tracing.store(is_traced, std::memory_order_relaxed);
        trace_detail::observed.store(is_traced || is_logged(SHMRT_LOG_DEBUG),
                                     std::memory_order_relaxed);
    });
}

bool is_logged(shmrt_log_level level)
{
    return level <= threshold();
}

Observation::Counts Observation::count(const shmrt_comm *comm)
{
    Counts counts{};
    shmrt_comm_counters(comm, &counts.counters);
    shmrt_comm_skew(comm, counts.late_ns.data());
    return counts;
}

void Observation::begin(const shmrt_comm *comm)
{
    before_ = count(comm);
    start_ = Clock::now();
}

void Observation::end(const shmrt_comm *comm, int rc)
{
    stop_ = Clock::now();
    after_ = count(comm);
    shmrt_comm_last_call(comm, &last_);
    if (rc)
        failure_ = shmrt_comm_error(comm)->text;
}

std::string Observation::arguments() const
{
    std::ostringstream out;
    out << "\"caller\":" << json_string(what_) << ",\"group\":" << json_string(group_)
        << ",\"bytes\":" << after_.counters.bytes - before_.counters.bytes;
    if (last_.collective != SHMRT_BARRIER)
        out << ",\"dtype\":" << json_string(shmrt_dtype_name(last_.dtype));
    if (reduces(last_.collective))
        out << ",\"op\":" << json_string(shmrt_op_name(last_.op));
    out << ",\"way\":" << json_string(last_.way)
        << ",\"waited_us\":" << us(after_.counters.wait_ns - before_.counters.wait_ns)
        << ",\"late_us\":{";
    const char *comma = "";
    for (int rank = 0; rank < SHMRT_MAX_RANKS; rank++)
        if (late_ns(rank)) {
            out << comma << '"' << rank << "\":" << us(late_ns(rank));
            comma = ",";
        }
    out << '}';
    return out.str();
}

/* all-reduce of 4096 bytes (sum of float32) by shmrt::all_reduce_ in group default: one-shot, 12.5
 * us, 3.1 us of it waiting, for rank 1 */
std::string Observation::line() const
{
    std::ostringstream out;
    out << shmrt_collective_name(last_.collective);
    if (last_.collective != SHMRT_BARRIER)
        out << " of " << after_.counters.bytes - before_.counters.bytes << " bytes ("
            << (reduces(last_.collective) ? shmrt_op_name(last_.op) : "")
            << (reduces(last_.collective) ? " of " : "") << shmrt_dtype_name(last_.dtype) << ')';
    out << " by " << what_ << " in group " << group_ << ": " << last_.way << ", "
        << std::chrono::duration<double, std::micro>(stop_ - start_).count() << " us, "
        << us(after_.counters.wait_ns - before_.counters.wait_ns) << " us of it waiting";
    int latest = 0;
    for (int rank = 1; rank < SHMRT_MAX_RANKS; rank++)
        latest = late_ns(rank) > late_ns(latest) ? rank : latest;
    if (late_ns(latest))
        out << ", mostly for rank " << latest;
    return out.str();
}

void Observation::tell() const
{
    if (!failure_.empty()) {
        trace_instant("error", std::string(what_) + ": " + failure_, group_);
        if (is_logged(SHMRT_LOG_DEBUG))
            host().log(
                SHMRT_LOG_DEBUG,
                (std::string(what_) + " failed in group " + group_ + ": " + failure_).c_str());
        return;
    }
    if (after_.counters.calls == before_.counters.calls)
        return;
    if (is_tracing())
        write_trace_span(shmrt_collective_name(last_.collective), start_, stop_, arguments());
    if (is_logged(SHMRT_LOG_DEBUG))
        host().log(SHMRT_LOG_DEBUG, line().c_str());
}

void Span::begin(std::string_view name, std::string_view group, std::size_t bytes,
                 std::string_view dtype, std::string_view way)
{
    name_ = name;
    group_ = group.empty() ? "default" : group;
    bytes_ = bytes;
    dtype_ = dtype;
    way_ = way;
    start_ = Clock::now();
}

void Span::end() const
{
    const auto stop = Clock::now();
    if (is_tracing())
        write_trace_span(name_, start_, stop,
                         "\"group\":" + json_string(group_) +
                             ",\"bytes\":" + std::to_string(bytes_) +
                             ",\"dtype\":" + json_string(dtype_) + ",\"way\":" + json_string(way_));
    if (!is_logged(SHMRT_LOG_DEBUG))
        return;
    std::ostringstream line;
    line << name_ << " of " << bytes_ << " bytes (" << dtype_ << ") in group " << group_ << ": "
         << way_ << ", " << std::chrono::duration<double, std::micro>(stop - start_).count()
         << " us";
    host().log(SHMRT_LOG_DEBUG, line.str().c_str());
}

void trace_instant(std::string_view kind, std::string_view text, std::string_view group)
{
    if (is_tracing())
        write_trace_instant(std::string(kind) + ": " + std::string(text),
                            "\"group\":" + json_string(group.empty() ? "default" : group));
}

} // namespace shmrt
