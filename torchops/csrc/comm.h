// SPDX-License-Identifier: Apache-2.0
/* comm.h - one communicator of libshmrt, usable from any thread. */
#pragma once

#include "trace.h"

#include <shmrt.h>

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace shmrt
{

/** As struct shmrt_params. @name "" means "default". Each setting is "key=value". */
struct CommParams {
    int rank = 0;
    int size = 0;
    std::optional<std::string> job;
    std::string name;
    std::vector<std::string> settings;
    /* Do calls run signal handlers while they wait? Who calls with a lock held does it himself. */
    bool is_interruptible = true;
};

/**
 * Comm - a struct shmrt_comm, its lock, and what a failed call throws
 *
 * Every member may be called from any thread, none may be called with the GIL held: the callbacks
 * of the library take it. Failures are thrown by throw_error(). In a forked child every call
 * throws.
 */
class Comm
{
  public:
    /** Meet the other ranks. */
    static std::shared_ptr<Comm> create(const CommParams &params);

    Comm(const Comm &) = delete;
    Comm &operator=(const Comm &) = delete;
    ~Comm();

    int rank() const
    {
        return rank_;
    }
    int size() const
    {
        return size_;
    }

    /**
     * fn(struct shmrt_comm *) returns 0 or a negative errno value, with its text in
     * shmrt_comm_error(), which is thrown. One thread at a time is in @fn; @what names the caller.
     */
    template <class F> void call(const char *what, F fn)
    {
        if (is_observed()) {
            observed_call(what, fn);
            return;
        }
        const Entry entry(*this, what);
        if (fn(comm_))
            fail();
    }

    /** End every wait in it, on all ranks; at any time, from any thread. */
    void abort(const char *reason);

    /** Is the calling thread in call(), as a signal handler during a wait is? */
    bool is_entered_by_this_thread() const
    {
        return caller_.load(std::memory_order_relaxed) == std::this_thread::get_id();
    }

    /** What a call in a child of fork() gets, @rank being its parent's. */
    [[noreturn]] static void refuse_forked(const char *what, int rank);

    /** Leave, once the other threads have left call(), which are aborted with @reason. */
    void close(const char *reason);

  private:
    /* Holds call_, and refuses the thread that holds it already instead of waiting for itself. */
    class Entry
    {
      public:
        Entry(Comm &comm, const char *what);
        ~Entry();
        Entry(const Entry &) = delete;
        Entry &operator=(const Entry &) = delete;

      private:
        Comm &comm_;
    };

    explicit Comm(const CommParams &params);

    /* call(), for the trace and the log. */
    template <class F> [[gnu::cold, gnu::noinline]] void observed_call(const char *what, F &fn)
    {
        Observation seen(what, name_);
        try {
            const Entry entry(*this, what);
            seen.begin(comm_);
            const int rc = fn(comm_);
            seen.end(comm_, rc);
            if (rc)
                fail();
        } catch (...) {
            seen.tell();
            throw;
        }
        seen.tell();
    }

    static void log_line(shmrt_log_level level, const char *line, void *self);
    static int check_signals(void *self);

    void check_usable(const char *what) const;
    void throw_interrupt();
    [[noreturn]] void fail();
    void tell_made() const;

    const int rank_;
    const int size_;
    const std::string name_;
    const unsigned forks_; /* how often this process had been forked off when it was made */
    std::mutex call_;      /* held through each use of comm_: one thread at a time */
    std::mutex abort_;     /* keeps comm_ there for an abort; never held while waiting */
    /* Who holds call_. Each thread only looks for itself, and what it has written it sees. */
    std::atomic<std::thread::id> caller_;
    shmrt_comm *comm_ = nullptr;   /* changes under both locks */
    bool is_interruptible_ = true; /* while the ranks meet they are, whatever was asked for */
    std::exception_ptr interrupt_; /* under call_: what a signal handler raised during a wait */
};

/** How often this process has been forked off, since this library was loaded. */
unsigned fork_count();

} // namespace shmrt
