// SPDX-License-Identifier: Apache-2.0
/*
 * comm.cpp - lifetime and use of a communicator.
 *
 * Two locks. call_ serialises everything that goes into the library, and may be held for as long as
 * a collective waits. abort_ guards the pointer for an abort from another thread. Order: call_
 * before abort_; neither is taken with the GIL held, and the GIL may be taken under both (by the
 * callbacks). A forked child may have copies of both locks that nobody will ever release: it asks
 * how often it was forked before it touches them.
 */
#include "comm.h"

#include "errors.h"
#include "host.h"

#include <pthread.h>

#include <cerrno>
#include <utility>

namespace shmrt
{

namespace
{

std::atomic<unsigned> forks{0};

void count_fork()
{
    forks.fetch_add(1, std::memory_order_relaxed);
}

[[noreturn]] void refuse_reentry(const char *what)
{
    throw_error(EDEADLK, std::string(what) +
                             " was called by a signal or log handler while this very thread is "
                             "in a collective; there only rank(), size(), is_initialized() "
                             "and finalize() may be called, or an exception raised");
}

} // namespace

unsigned fork_count()
{
    static const int registered = pthread_atfork(nullptr, nullptr, count_fork);
    (void)registered;
    return forks.load(std::memory_order_relaxed);
}

/*
 * Python's signal handlers and log handlers run inside a wait, on the thread that waits. What they
 * call here would wait for its own thread.
 */
Comm::Entry::Entry(Comm &comm, const char *what) : comm_(comm)
{
    comm.check_usable(what);
    if (comm.is_entered_by_this_thread())
        refuse_reentry(what);
    comm.call_.lock();
    if (!comm.comm_) {
        comm.call_.unlock();
        throw_error(ENOTCONN, std::string(what) + " was called after its communicator was closed");
    }
    comm.caller_.store(std::this_thread::get_id(), std::memory_order_relaxed);
}

Comm::Entry::~Entry()
{
    comm_.caller_.store(std::thread::id(), std::memory_order_relaxed);
    comm_.call_.unlock();
}

Comm::Comm(const CommParams &params)
    : rank_(params.rank), size_(params.size), name_(params.name.empty() ? "default" : params.name),
      forks_(fork_count())
{
}

std::shared_ptr<Comm> Comm::create(const CommParams &asked)
{
    observe_as_environment_says(asked.rank);
    std::vector<const char *> settings;
    for (const std::string &setting : asked.settings)
        settings.push_back(setting.c_str());
    settings.push_back(nullptr);

    const std::shared_ptr<Comm> comm(new Comm(asked));
    shmrt_params params{};
    params.rank = asked.rank;
    params.size = asked.size;
    params.job = asked.job ? asked.job->c_str() : nullptr;
    params.name = asked.name.empty() ? nullptr : asked.name.c_str();
    params.settings = settings.data();
    params.log = log_line;
    params.log_arg = comm.get();
    params.interrupt = check_signals;
    params.interrupt_arg = comm.get();

    shmrt_error error{};
    if (shmrt_comm_create(&params, &comm->comm_, &error)) {
        comm->throw_interrupt();
        trace_instant("error", std::string("the ranks did not meet: ") + error.text, comm->name_);
        throw_error(-error.code, error.text);
    }
    comm->is_interruptible_ = asked.is_interruptible;
    comm->tell_made();
    return comm;
}

void Comm::tell_made() const
{
    std::string tuning(shmrt_comm_tuning(comm_, nullptr, 0), '\0');
    shmrt_comm_tuning(comm_, tuning.data(), tuning.size() + 1);
    const std::string line = "rank " + std::to_string(rank_) + " of " + std::to_string(size_) +
                             " in group " + name_ + ": " + std::to_string(shmrt_comm_lanes(comm_)) +
                             " lane(s), kernel " + shmrt_comm_kernel(comm_) + "; " + tuning;
    host().log(SHMRT_LOG_INFO, line.c_str());
}

/* A child's copy of the parent's communicator is only unmapped: libshmrt knows that it is one. */
Comm::~Comm()
{
    shmrt_comm_destroy(comm_);
}

void Comm::refuse_forked(const char *what, int rank)
{
    throw_error(ENOTCONN,
                std::string(what) + " was called in a process that was forked from rank " +
                    std::to_string(rank) +
                    ": a communicator stays with the process that created it; reduce there, "
                    "or start this process with spawn and call shmrt.init() in it");
}

void Comm::check_usable(const char *what) const
{
    if (forks_ != fork_count())
        refuse_forked(what, rank_);
}

void Comm::abort(const char *reason)
{
    if (forks_ != fork_count())
        return;
    const std::lock_guard lock(abort_);
    if (comm_)
        shmrt_comm_abort(comm_, reason);
}

void Comm::close(const char *reason)
{
    if (forks_ != fork_count())
        return;
    if (is_entered_by_this_thread())
        refuse_reentry("closing a communicator");
    if (call_.try_lock())
        call_.unlock();
    else
        abort(reason);
    const std::lock_guard calls(call_);
    shmrt_comm *comm = nullptr;
    {
        const std::lock_guard aborts(abort_);
        comm = std::exchange(comm_, nullptr);
    }
    shmrt_comm_destroy(comm);
}

void Comm::throw_interrupt()
{
    if (interrupt_)
        std::rethrow_exception(std::exchange(interrupt_, nullptr));
}

/* call_ is held: the interrupt, if any, came out of the wait that has just failed. */
void Comm::fail()
{
    throw_interrupt();
    const shmrt_error *error = shmrt_comm_error(comm_);
    throw_error(-error->code, error->text);
}

void Comm::log_line(shmrt_log_level level, const char *line, void *)
{
    host().log(level, line);
}

int Comm::check_signals(void *self)
{
    Comm *comm = static_cast<Comm *>(self);
    if (!comm->is_interruptible_)
        return 0;
    std::exception_ptr raised = host().check_signals();
    if (!raised)
        return 0;
    comm->interrupt_ = std::move(raised);
    return 1;
}

} // namespace shmrt
