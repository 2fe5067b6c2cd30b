// SPDX-License-Identifier: Apache-2.0
/*
 * engine.cpp - collectives of a c10d backend, waited for so that signals and aborts are heard.
 *
 * The backend enforces the deadline itself, the wait here only looks up now and then. Its
 * destructor waits for what is under way, which after an abort may take as long as that deadline:
 * then another thread does it.
 */
#include "engine.h"

#include "errors.h"
#include "host.h"

#include <ATen/ATen.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

namespace shmrt
{

namespace
{

constexpr std::chrono::milliseconds LOOK_UP{100};

at::Tensor bytes_at(void *data, std::size_t bytes)
{
    return at::from_blob(data, {static_cast<std::int64_t>(bytes)}, at::kByte);
}

/* Only read, but the backend's interface has no word for that. */
at::Tensor bytes_at(const void *data, std::size_t bytes)
{
    return bytes_at(const_cast<void *>(data), bytes);
}

at::ScalarType scalar_type(shmrt_dtype dtype)
{
    switch (dtype) {
    case SHMRT_FLOAT32:
        return at::kFloat;
    case SHMRT_FLOAT64:
        return at::kDouble;
    case SHMRT_BFLOAT16:
        return at::kBFloat16;
    case SHMRT_FLOAT16:
        return at::kHalf;
    case SHMRT_INT8:
        return at::kChar;
    case SHMRT_UINT8:
        return at::kByte;
    case SHMRT_INT16:
        return at::kShort;
    case SHMRT_INT32:
        return at::kInt;
    default:
        return at::kLong;
    }
}

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

Engine::Engine(c10::intrusive_ptr<c10d::Backend> backend, double timeout_s, std::string peers)
    : timeout_s_(timeout_s), peers_(std::move(peers)), rank_(backend->getRank()),
      size_(backend->getSize()), backend_(std::move(backend))
{
    /* Connecting has had its own limit. Not every backend lets its own be changed. */
    try {
        backend_->setTimeout(std::chrono::milliseconds(static_cast<std::int64_t>(timeout_s * 1e3)));
    } catch (const std::exception &) {
    }
}

Engine::~Engine()
{
    drop();
}

template <class Start> void Engine::run(const char *what, Start start)
{
    c10::intrusive_ptr<c10d::Backend> backend;
    {
        const std::lock_guard lock(use_);
        backend = backend_;
    }
    if (!backend || aborted_)
        fail(what, "its connections were closed");
    c10::intrusive_ptr<c10d::Work> work;
    try {
        work = start(*backend);
    } catch (const std::exception &error) {
        fail(what, essence(error.what()));
    }
    wait(what, work);
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
    if (work->isCompleted() && !raised)
        return;
    unfinished_ = true;
    if (raised)
        std::rethrow_exception(raised);
    fail(what, "it was aborted");
}

void Engine::fail(const char *what, const std::string &why)
{
    const bool is_late = why.find("imed out") != std::string::npos;
    const std::string limit = std::to_string(timeout_s_);
    if (is_late)
        throw_error(ETIMEDOUT, std::string(what) + " with " + peers_ + " took more than " +
                                   limit.substr(0, limit.find('.') + 2) + " s: " + why);
    throw_error(ECONNABORTED, std::string(what) + " with " + peers_ + " failed: " + why);
}

void Engine::allgather(void *out, const void *in, std::size_t bytes)
{
    at::Tensor output = bytes_at(out, bytes * static_cast<std::size_t>(size_));
    at::Tensor input = bytes_at(in, bytes);
    run("an exchange",
        [&](c10d::Backend &backend) { return backend._allgather_base(output, input); });
    bytes_sent_.fetch_add(bytes * static_cast<std::size_t>(size_ - 1), std::memory_order_relaxed);
}

void Engine::alltoall(void *out, const std::vector<std::int64_t> &out_bytes, const void *in,
                      const std::vector<std::int64_t> &in_bytes)
{
    std::int64_t out_total = 0, in_total = 0;
    for (const std::int64_t bytes : out_bytes)
        out_total += bytes;
    for (const std::int64_t bytes : in_bytes)
        in_total += bytes;
    at::Tensor output = bytes_at(out, static_cast<std::size_t>(out_total));
    at::Tensor input = bytes_at(in, static_cast<std::size_t>(in_total));
    std::vector<std::int64_t> out_splits = out_bytes, in_splits = in_bytes;
    run("an exchange", [&](c10d::Backend &backend) {
        return backend.alltoall_base(output, input, out_splits, in_splits);
    });
    bytes_sent_.fetch_add(
        static_cast<std::uint64_t>(in_total - in_bytes[static_cast<std::size_t>(rank_)]),
        std::memory_order_relaxed);
}

void Engine::allreduce(void *data, std::size_t count, shmrt_dtype dtype, shmrt_op op)
{
    at::Tensor tensor = at::from_blob(data, {static_cast<std::int64_t>(count)}, scalar_type(dtype));
    /* Gloo has no 16-bit integers. Cut to 16 bits, a 32-bit result is the one that wrapped. */
    const bool is_short = dtype == SHMRT_INT16;
    std::vector<at::Tensor> tensors{is_short ? tensor.to(at::kInt) : tensor};
    c10d::AllreduceOptions options;
    options.reduceOp = reduce_op(op);
    run("torch.distributed's all-reduce",
        [&](c10d::Backend &backend) { return backend.allreduce(tensors, options); });
    if (op == SHMRT_AVG)
        tensors[0].div_(size_);
    if (is_short)
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
