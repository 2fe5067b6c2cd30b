// SPDX-License-Identifier: Apache-2.0
/*
 * engine.cpp - collectives of a c10d backend, waited for so that signals and aborts are heard.
 *
 * The backend enforces the deadline itself, the wait here only looks up now and then. Its
 * destructor waits for what is under way, which after an abort may take as long as that deadline:
 * then another thread does it.
 */
#include "engine.h"

#include "comm.h"
#include "dtypes.h"
#include "errors.h"
#include "host.h"
#include "packed.h"

#include <ATen/ATen.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <thread>
#include <utility>

namespace shmrt
{

namespace
{

constexpr std::chrono::milliseconds LOOK_UP{100};
constexpr const char *EXCHANGE = "an exchange";

constexpr const char *CLOSED = "its connections were closed";

constexpr std::size_t ALIGNMENT = 64; /* bytes, of memory for transfers */

c10d::ReduceOp reduce_op(shmrt_op op)
{
    switch (op) {
    case SHMRT_MIN:
        return c10d::ReduceOp::MIN;
    case SHMRT_MAX:
        return c10d::ReduceOp::MAX;
    case SHMRT_PROD:
        return c10d::ReduceOp::PRODUCT;
    default:
        return c10d::ReduceOp::SUM;
    }
}

/* "[/a/file.cc:12] Connection closed by peer [10.0.0.2]:99. This is typically ..." without the
 * file and the advice. */
std::string essence(const std::string &text)
{
    std::size_t start = 0;
    if (text.starts_with("[") && text.find("] ") != std::string::npos)
        start = text.find("] ") + 2;
    std::size_t end = text.find_first_of("\n", start);
    if (const std::size_t advice = text.find(". This ", start); advice < end)
        end = advice;
    return text.substr(start, end - start);
}

/* Has @work ended well within LOOK_UP? Throws what it failed of. */
bool is_done(c10d::Work &work)
{
    try {
        work.wait(LOOK_UP);
        return true;
    } catch (const std::exception &) {
        if (!work.isCompleted())
            return false;
    }
    work.wait();
    return true;
}

} // namespace

std::byte *Memory::room(std::size_t bytes)
{
    if (!bytes_ || size_ < bytes) {
        size_ = bytes / ALIGNMENT * ALIGNMENT + ALIGNMENT;
        bytes_.reset(); /* the old ones first, they may be many */
        bytes_ = {static_cast<std::byte *>(::operator new(size_, std::align_val_t{ALIGNMENT})),
                  [](std::byte *all) { ::operator delete(all, std::align_val_t{ALIGNMENT}); }};
    }
    return bytes_.get();
}

at::Tensor Memory::part(std::size_t begin, std::size_t bytes) const
{
    return at::from_blob(
        bytes_.get() + begin, {static_cast<std::int64_t>(bytes)}, [kept = bytes_](void *) {},
        at::kByte);
}

Engine::Engine(c10::intrusive_ptr<c10d::Backend> backend, double timeout_s, std::string peers)
    : timeout_s_(timeout_s), peers_(std::move(peers)), rank_(backend->getRank()),
      size_(backend->getSize()), forks_(fork_count()), backend_(std::move(backend))
{
    set_timeout(timeout_s); /* connecting has had its own limit */
}

Engine::~Engine()
{
    drop();
}

void Engine::set_timeout(double timeout_s)
{
    timeout_s_ = timeout_s;
    const std::lock_guard lock(use_);
    try { /* not every backend lets its own be changed */
        if (backend_)
            backend_->setTimeout(
                std::chrono::milliseconds(static_cast<std::int64_t>(timeout_s * 1e3)));
    } catch (const std::exception &) {
    }
}

c10::intrusive_ptr<c10d::Backend> Engine::backend(const char *what)
{
    const std::lock_guard lock(use_);
    if (!backend_ || aborted_)
        fail(what, CLOSED);
    return backend_;
}

c10::intrusive_ptr<c10d::Work> Engine::start(const char *what, Start begin)
{
    const c10::intrusive_ptr<c10d::Backend> in_use = backend(what);
    try {
        const PlainDispatch plain;
        return begin(*in_use);
    } catch (const std::exception &error) {
        fail(what, essence(error.what()));
    }
}

void Engine::wait(const char *what, const c10::intrusive_ptr<c10d::Work> &work)
{
    std::exception_ptr raised;
    try {
        while (!is_done(*work)) {
            raised = host().check_signals();
            if (aborted_ || raised)
                break;
        }
    } catch (const std::exception &error) {
        fail(what, essence(error.what()));
    }
    if (raised || !work->isCompleted())
        give_up(what, raised);
}

/* @raised by a signal handler; null after an abort. */
void Engine::give_up(const char *what, const std::exception_ptr &raised)
{
    broken_ = true;
    unfinished_ = true;
    if (raised)
        std::rethrow_exception(raised);
    fail(what, CLOSED);
}

void Engine::call(const char *what, std::chrono::milliseconds timeout, Start start)
{
    const c10::intrusive_ptr<c10d::Backend> in_use = backend(what);
    c10::intrusive_ptr<c10d::Work> work;
    {
        const PlainDispatch plain;
        work = start(*in_use);
    }
    if (!work)
        return;
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    try {
        while (!is_done(*work)) {
            const std::exception_ptr raised = host().check_signals();
            if (aborted_ || raised)
                give_up(what, raised);
            if (std::chrono::steady_clock::now() > deadline)
                work->wait(std::chrono::milliseconds(1));
        }
    } catch (...) {
        broken_ = true;
        unfinished_ = unfinished_ || !work->isCompleted();
        throw;
    }
}

void Engine::fail(const char *what, const std::string &why)
{
    broken_ = true;
    const bool is_late = why.find("imed out") != std::string::npos;
    const std::string limit = std::to_string(timeout_s_.load());
    if (is_late)
        throw_error(ETIMEDOUT, std::string(what) + " with " + peers_ + " took more than " +
                                   limit.substr(0, limit.find('.') + 2) + " s: " + why);
    throw_error(ECONNABORTED, std::string(what) + " with " + peers_ + " failed: " + why);
}

Engine::Flight::~Flight()
{
    for (const auto &work : works_)
        if (!work->isCompleted())
            engine_.unfinished_ = true;
}

void Engine::Flight::alltoall(const at::Tensor &out, const Bytes &out_bytes, const at::Tensor &in,
                              const Bytes &in_bytes)
{
    at::Tensor received = out, sent = in;
    Bytes out_splits = out_bytes, in_splits = in_bytes;
    works_.push_back(engine_.start(EXCHANGE, [&](c10d::Backend &backend) {
        return backend.alltoall_base(received, sent, out_splits, in_splits);
    }));
    const auto own = static_cast<std::size_t>(engine_.rank_);
    engine_.bytes_sent_.fetch_add(static_cast<std::uint64_t>(sent.numel() - in_bytes[own]),
                                  std::memory_order_relaxed);
}

void Engine::Flight::allgather(const at::Tensor &out, const at::Tensor &in)
{
    at::Tensor received = out, sent = in;
    works_.push_back(engine_.start(
        EXCHANGE, [&](c10d::Backend &backend) { return backend._allgather_base(received, sent); }));
    engine_.bytes_sent_.fetch_add(static_cast<std::uint64_t>(sent.numel() * (engine_.size_ - 1)),
                                  std::memory_order_relaxed);
}

void Engine::Flight::wait(std::size_t number)
{
    engine_.wait(EXCHANGE, works_[number]);
}

void Engine::barrier()
{
    const auto members = static_cast<std::size_t>(size_);
    Memory memory;
    std::memset(memory.room(members + 1), 0, members + 1);
    Flight flight(*this);
    flight.allgather(memory.part(0, members), memory.part(members, 1));
    flight.wait(0);
}

void Engine::allreduce(void *data, std::size_t count, shmrt_dtype dtype, shmrt_op op)
{
    constexpr const char *what = "torch.distributed's all-reduce";
    at::Tensor tensor = at::from_blob(data, {static_cast<std::int64_t>(count)}, scalar_type(dtype));
    const bool is_short = dtype == SHMRT_INT16;
    std::vector<at::Tensor> tensors;
    {
        /* A copy, that one given up keeps. Gloo has no 16-bit integers: cut to 16 bits, a 32-bit
         * result is the one that wrapped. */
        const PlainDispatch plain;
        tensors.push_back(is_short ? tensor.to(at::kInt) : tensor.clone());
    }
    c10d::AllreduceOptions options;
    options.reduceOp = reduce_op(op);
    wait(what,
         start(what, [&](c10d::Backend &backend) { return backend.allreduce(tensors, options); }));
    const PlainDispatch plain;
    if (op == SHMRT_AVG)
        tensors[0].div_(size_);
    tensor.copy_(tensors[0]);
    const std::size_t bytes = count * shmrt_dtype_bytes(is_short ? SHMRT_INT32 : dtype);
    bytes_sent_.fetch_add(2 * bytes * static_cast<std::size_t>(size_ - 1) /
                              static_cast<std::size_t>(size_),
                          std::memory_order_relaxed);
}

void Engine::abort()
{
    aborted_ = true;
}

void Engine::drop()
{
    /* A child of fork() has none of the threads that its parent's backend would join. */
    if (forks_ != fork_count()) {
        backend_.release();
        return;
    }
    c10::intrusive_ptr<c10d::Backend> backend;
    {
        const std::lock_guard lock(use_);
        backend = std::move(backend_);
        backend_.reset();
    }
    if (backend && unfinished_)
        std::thread([held = std::move(backend)]() mutable { held.reset(); }).detach();
}

} // namespace shmrt
