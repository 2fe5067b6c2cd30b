// SPDX-License-Identifier: Apache-2.0
/*
 * default_comm.cpp - lifetime and use of the default communicator.
 *
 * Two locks. call_ serialises everything that goes into the library, and may be held for as long as
 * a collective waits. state_ guards the pointer, for questions that must be answered at once and
 * for an abort from another thread. Order: call_ before state_; neither is taken with the GIL held,
 * and the GIL may be taken under both (by the callbacks).
 */
#include "default_comm.h"

#include "errors.h"

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <utility>

namespace py = pybind11;

namespace shmrt
{

namespace
{

using Clock = std::chrono::steady_clock;

constexpr const char *POOL_IS_FULL = "no room in the pool: in private memory";
constexpr const char *POOL_IS_OFF = "the pool is off: in private memory";

double seconds_since(Clock::time_point start)
{
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/* The one global: which object is the default. It changes only in the child of a fork. */
std::atomic<DefaultComm *> current{nullptr};

bool python_is_usable()
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsInitialized() && !Py_IsFinalizing();
#else
    return Py_IsInitialized() && !_Py_IsFinalizing();
#endif
}

} // namespace

/*
 * The child of a fork shares the parent's rank and memory, and its locks may be held by threads
 * that it does not have. It gets a fresh object and leaves the old one alone: destroying it would
 * tell the other ranks that this one has left.
 */
void forget_after_fork()
{
    DefaultComm *old = current.load();
    auto *fresh = new DefaultComm;
    fresh->forked_from_ = old->request_ ? old->request_->rank : old->forked_from_;
    current.store(fresh);
}

DefaultComm &DefaultComm::get()
{
    DefaultComm *comm = current.load(std::memory_order_acquire);
    if (comm)
        return *comm;
    auto *fresh = new DefaultComm;
    if (!current.compare_exchange_strong(comm, fresh)) {
        delete fresh;
        return *comm;
    }
    pthread_atfork(nullptr, nullptr, forget_after_fork);
    return *fresh;
}

const char *operator_name(Operator which)
{
    switch (which) {
    case Operator::DEEPSPEED:
        return "deepspeed::inference_all_reduce";
    case Operator::DEEPSPEED_INPLACE:
        return "deepspeed::inference_all_reduce_";
    case Operator::SHMRT:
        return "shmrt::inference_all_reduce";
    case Operator::SHMRT_INPLACE:
        return "shmrt::inference_all_reduce_";
    case Operator::NAMED:
        return "shmrt::all_reduce";
    case Operator::NAMED_INPLACE:
        return "shmrt::all_reduce_";
    case Operator::RMS_NORM:
        return "shmrt::all_reduce_add_rms_norm";
    case Operator::RMS_NORM_INPLACE:
        return "shmrt::all_reduce_add_rms_norm_";
    case Operator::LAYER_NORM:
        return "shmrt::all_reduce_add_layer_norm";
    case Operator::LAYER_NORM_INPLACE:
        return "shmrt::all_reduce_add_layer_norm_";
    case Operator::COUNT:
        break;
    }
    return "unknown";
}

/*
 * Python's signal handlers and log handlers run inside a wait, on the thread that waits. What they
 * call here would wait for its own thread.
 */
DefaultComm::Entry::Entry(DefaultComm &comm, const char *what) : comm_(comm)
{
    const std::thread::id self = std::this_thread::get_id();
    if (comm.caller_.load(std::memory_order_relaxed) == self)
        throw_error(EDEADLK, std::string(what) +
                                 " was called by a signal or log handler while this very thread is "
                                 "in a collective; there only rank(), size(), is_initialized() "
                                 "and finalize() may be called, or an exception raised");
    comm.call_.lock();
    comm.caller_.store(self, std::memory_order_relaxed);
}

DefaultComm::Entry::~Entry()
{
    comm_.caller_.store(std::thread::id(), std::memory_order_relaxed);
    comm_.call_.unlock();
}

bool DefaultComm::create(const Request &request)
{
    const Entry entry(*this, "shmrt.init()");
    if (comm_) {
        if (*request_ == request)
            return false;
        throw_error(EALREADY,
                    "this process is rank " + std::to_string(request_->rank) + " of " +
                        std::to_string(request_->size) + " already, and was now asked to be rank " +
                        std::to_string(request.rank) + " of " + std::to_string(request.size) +
                        ", or to take another job key, timeout or settings: call "
                        "shmrt.finalize() in every rank before an init that differs");
    }
    std::vector<const char *> settings;
    for (const std::string &setting : request.settings)
        settings.push_back(setting.c_str());
    settings.push_back(nullptr);

    shmrt_params params{};
    params.rank = request.rank;
    params.size = request.size;
    params.job = request.job ? request.job->c_str() : nullptr;
    params.settings = settings.data();
    params.log = log_line;
    params.log_arg = this;
    params.interrupt = check_signals;
    params.interrupt_arg = this;

    shmrt_comm *comm = nullptr;
    shmrt_error error{};
    if (shmrt_comm_create(&params, &comm, &error))
        fail(error);
    stats_ = Stats{};
    const std::lock_guard state(state_);
    comm_ = comm;
    request_ = request;
    return true;
}

void DefaultComm::abort(const char *reason)
{
    const std::lock_guard state(state_);
    if (comm_)
        shmrt_comm_abort(comm_, reason);
}

void DefaultComm::destroy()
{
    if (caller_.load(std::memory_order_relaxed) == std::this_thread::get_id()) {
        abort("shmrt.finalize() was called by a handler while this rank was in a collective");
        return;
    }
    if (call_.try_lock())
        call_.unlock();
    else
        abort("shmrt.finalize() was called while another thread of this rank was in a collective");
    const Entry entry(*this, "shmrt.finalize()");
    shmrt_comm *comm = nullptr;
    {
        const std::lock_guard state(state_);
        comm = std::exchange(comm_, nullptr);
        request_.reset();
    }
    shmrt_comm_destroy(comm);
}

std::optional<Request> DefaultComm::request()
{
    const std::lock_guard state(state_);
    return request_;
}

/* call_ is held, so comm_ can't change. */
void DefaultComm::check_alive(const char *what)
{
    if (comm_)
        return;
    check_unforked(what);
    throw_error(ENOTCONN, std::string(what) +
                              " was called before the ranks have met: call shmrt.init(), or "
                              "shmrt.initialize(size, rank), once in every rank first");
}

void DefaultComm::check_unforked(const char *what) const
{
    if (forked_from_ < 0)
        return;
    throw_error(ENOTCONN,
                std::string(what) + " was called in a process that was forked from rank " +
                    std::to_string(forked_from_) +
                    ": a communicator stays with the process that created it; reduce there, "
                    "or start this process with spawn and call shmrt.init() in it");
}

/* call_ is held: the interrupt, if any, came out of the wait that has just failed. */
void DefaultComm::fail(const shmrt_error &error)
{
    if (interrupt_)
        std::rethrow_exception(std::exchange(interrupt_, nullptr));
    throw_error(-error.code, error.text);
}

void DefaultComm::allreduce(const void *in, void *out, std::size_t count, shmrt_dtype dtype,
                            shmrt_op op, Operator which)
{
    const Entry entry(*this, operator_name(which));
    check_alive(operator_name(which));
    const auto start = Clock::now();
    const int rc = shmrt_allreduce(comm_, in, out, count, dtype, op);
    stats_.seconds += seconds_since(start);
    if (rc)
        fail(*shmrt_comm_error(comm_));
    stats_.calls[static_cast<std::size_t>(which)]++;
}

void DefaultComm::allreduce_norm(const shmrt_norm_args &args, Operator which)
{
    const Entry entry(*this, operator_name(which));
    check_alive(operator_name(which));
    const auto start = Clock::now();
    const int rc = shmrt_allreduce_norm(comm_, &args);
    stats_.seconds += seconds_since(start);
    if (rc)
        fail(*shmrt_comm_error(comm_));
    stats_.calls[static_cast<std::size_t>(which)]++;
}

void DefaultComm::barrier()
{
    const Entry entry(*this, "shmrt.barrier()");
    check_alive("shmrt.barrier()");
    if (shmrt_barrier(comm_))
        fail(*shmrt_comm_error(comm_));
}

/* call_ is held and comm_ is there. What @comm_ died of is a failure, however it is asked. */
void *DefaultComm::take_block(std::size_t bytes, bool strict)
{
    void *block = nullptr;
    const int rc = shmrt_alloc(comm_, bytes, &block);
    if (rc == 0)
        return block;
    if (strict || (rc != -ENOMEM && rc != -ENOTSUP))
        fail(*shmrt_comm_error(comm_));
    stats_.fallbacks[rc == -ENOMEM ? POOL_IS_FULL : POOL_IS_OFF]++;
    return nullptr;
}

void *DefaultComm::alloc(std::size_t bytes, bool strict)
{
    const Entry entry(*this, "shmrt.empty()");
    check_alive("shmrt.empty()");
    return take_block(bytes, strict);
}

void *DefaultComm::alloc_result(std::size_t bytes, Operator which)
{
    const Entry entry(*this, operator_name(which));
    return comm_ && shmrt_comm_size(comm_) > 1 ? take_block(bytes, false) : nullptr;
}

void DefaultComm::count_fallback(const char *reason, double seconds)
{
    const Entry entry(*this, reason);
    stats_.fallbacks[reason]++;
    stats_.seconds += seconds;
}

Stats DefaultComm::stats()
{
    const Entry entry(*this, "shmrt.stats()");
    check_alive("shmrt.stats()");
    stats_.size = shmrt_comm_size(comm_);
    shmrt_comm_counters(comm_, &stats_.counters);
    shmrt_comm_traffic(comm_, &stats_.traffic);
    shmrt_comm_pool_stats(comm_, &stats_.pool);
    return stats_;
}

Facts DefaultComm::facts()
{
    const Entry entry(*this, "shmrt.report()");
    check_alive("shmrt.report()");
    Facts facts;
    facts.rank = shmrt_comm_rank(comm_);
    facts.size = shmrt_comm_size(comm_);
    facts.lanes = shmrt_comm_lanes(comm_);
    facts.kernel = shmrt_comm_kernel(comm_);
    facts.tuning.resize(shmrt_comm_tuning(comm_, nullptr, 0));
    shmrt_comm_tuning(comm_, facts.tuning.data(), facts.tuning.size() + 1);
    shmrt_comm_pool_stats(comm_, &facts.pool);
    std::array<char, 8192> text{}; /* asking for the length would ask the kernel twice */
    shmrt_comm_report(comm_, text.data(), text.size());
    facts.text = text.data();
    facts.verify_code = shmrt_comm_verify(comm_, &facts.proof);
    return facts;
}

/* Called by a thread of this rank that holds no GIL (see Released), so taking it can't deadlock. */
void DefaultComm::log_line(shmrt_log_level level, const char *line, void *)
{
    if (!python_is_usable()) {
        std::fprintf(stderr, "shmrt: %s\n", line);
        return;
    }
    py::gil_scoped_acquire gil;
    try {
        py::object logger = py::module_::import("logging").attr("getLogger")("shmrt");
        logger.attr(level == SHMRT_LOG_WARNING ? "warning" : "info")("%s", py::str(line));
    } catch (py::error_already_set &error) {
        error.discard_as_unraisable("the log callback of shmrt");
    }
}

/* Runs the signal handlers of Python in the middle of a wait: Ctrl-C must end it. */
int DefaultComm::check_signals(void *self)
{
    if (!python_is_usable())
        return 0;
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() == 0)
        return 0;
    static_cast<DefaultComm *>(self)->interrupt_ = std::make_exception_ptr(py::error_already_set());
    return 1;
}

} // namespace shmrt
