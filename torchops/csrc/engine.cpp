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

#include <ATen/ATen.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>

namespace shmrt
{

namespace
{

constexpr std::chrono::milliseconds LOOK_UP{100};

constexpr std::size_t BLOCK_BYTES = 256 * 1024;

/* One of the transfers that a collective is cut into. */
struct Block {
    at::Tensor in, out;
    std::vector<std::int64_t> in_splits, out_splits;
    c10::intrusive_ptr<c10d::Work> work;
};

/* Notes, however a collective ends, whether a block of it is still under way. */
class Unfinished
{
  public:
    Unfinished(const std::vector<Block> &blocks, std::atomic<bool> &noted)
        : blocks_(blocks), noted_(noted)
    {
    }
    ~Unfinished()
    {
        for (const Block &block : blocks_)
            if (block.work && !block.work->isCompleted())
                noted_ = true;
    }
    Unfinished(const Unfinished &) = delete;
    Unfinished &operator=(const Unfinished &) = delete;

  private:
    const std::vector<Block> &blocks_;
    std::atomic<bool> &noted_;
};

struct Share {
    std::size_t begin, length;
};

/* Part @k of @bytes that are cut into @blocks. */
Share share(std::size_t bytes, std::size_t blocks, std::size_t k)
{
    const std::size_t begin = bytes * k / blocks;
    return {begin, bytes * (k + 1) / blocks - begin};
}

std::size_t blocks_of(std::size_t bytes)
{
    return std::max<std::size_t>(1, (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);
}

at::Tensor new_bytes(std::size_t bytes)
{
    return at::empty({static_cast<std::int64_t>(bytes)}, at::kByte);
}

/* Part @k of what goes to each member, one after the other; their lengths. */
at::Tensor gathered(const std::byte *in, const std::vector<std::int64_t> &bytes, std::size_t blocks,
                    std::size_t k, std::vector<std::int64_t> &splits_out)
{
    std::int64_t total = 0;
    for (const std::int64_t each : bytes) {
        const Share part = share(static_cast<std::size_t>(each), blocks, k);
        splits_out.push_back(static_cast<std::int64_t>(part.length));
        total += splits_out.back();
    }
    at::Tensor packed = new_bytes(static_cast<std::size_t>(total));
    auto *to = static_cast<std::byte *>(packed.mutable_data_ptr());
    for (const std::int64_t each : bytes) {
        const Share part = share(static_cast<std::size_t>(each), blocks, k);
        std::memcpy(to, in + part.begin, part.length);
        to += part.length;
        in += each;
    }
    return packed;
}

/* The reverse of it, of what came from each member. */
void scatter(const at::Tensor &packed, std::byte *out, const std::vector<std::int64_t> &bytes,
             std::size_t blocks, std::size_t k)
{
    const auto *from = static_cast<const std::byte *>(packed.const_data_ptr());
    for (const std::int64_t each : bytes) {
        const Share part = share(static_cast<std::size_t>(each), blocks, k);
        std::memcpy(out + part.begin, from, part.length);
        from += part.length;
        out += each;
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
        fail(what, "its connections were closed");
    return backend_;
}

void Engine::run(const char *what, Start start)
{
    const c10::intrusive_ptr<c10d::Backend> in_use = backend(what);
    c10::intrusive_ptr<c10d::Work> work;
    try {
        work = start(*in_use);
    } catch (const std::logic_error &error) { /* a type or operation that it hasn't */
        throw_error(ENOTSUP, std::string(what) + " with " + peers_ + ": " + essence(error.what()));
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
    fail(what, "it was aborted");
}

void Engine::call(const char *what, std::chrono::milliseconds timeout, Start start)
{
    const c10::intrusive_ptr<c10d::Backend> in_use = backend(what);
    const c10::intrusive_ptr<c10d::Work> work = start(*in_use);
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

/*
 * In blocks, all under way at once: one long transfer in each direction fills the buffers on its
 * way, and the answers that the sender waits for stand in that queue (two machines at 50 Mbit/s,
 * 1 MiB each way: 0.48 s as one, 0.38 s in blocks of 256 KiB). Each block has memory of its own,
 * which the backend keeps, so that nothing is freed under a transfer that was given up.
 */
void Engine::allgather(void *out, const void *in, std::size_t bytes)
{
    const std::size_t blocks = blocks_of(bytes);
    const auto members = static_cast<std::size_t>(size_);
    std::vector<Block> all;
    for (std::size_t k = 0; k < blocks; k++) {
        const auto [begin, length] = share(bytes, blocks, k);
        all.push_back({new_bytes(length), new_bytes(length * members), {}, {}, {}});
        std::memcpy(all[k].in.mutable_data_ptr(), static_cast<const std::byte *>(in) + begin,
                    length);
    }
    const Unfinished unfinished(all, unfinished_);
    run("an exchange", [&](c10d::Backend &backend) {
        for (Block &block : all)
            block.work = backend._allgather_base(block.out, block.in);
        return all.back().work;
    });
    for (std::size_t k = 0; k < blocks; k++) {
        wait("an exchange", all[k].work);
        const auto [begin, length] = share(bytes, blocks, k);
        const auto *from = static_cast<const std::byte *>(all[k].out.const_data_ptr());
        for (std::size_t member = 0; member < members; member++)
            std::memcpy(static_cast<std::byte *>(out) + member * bytes + begin,
                        from + member * length, length);
    }
    bytes_sent_.fetch_add(bytes * (members - 1), std::memory_order_relaxed);
}

void Engine::alltoall(void *out, const std::vector<std::int64_t> &out_bytes, const void *in,
                      const std::vector<std::int64_t> &in_bytes)
{
    /* The longest that goes to anybody, which all members know: they cut alike. */
    const std::size_t blocks =
        blocks_of(static_cast<std::size_t>(*std::max_element(in_bytes.begin(), in_bytes.end())));
    std::vector<Block> all;
    for (std::size_t k = 0; k < blocks; k++) {
        Block block;
        block.in =
            gathered(static_cast<const std::byte *>(in), in_bytes, blocks, k, block.in_splits);
        std::int64_t total = 0;
        for (const std::int64_t bytes : out_bytes) {
            block.out_splits.push_back(static_cast<std::int64_t>(
                share(static_cast<std::size_t>(bytes), blocks, k).length));
            total += block.out_splits.back();
        }
        block.out = new_bytes(static_cast<std::size_t>(total));
        all.push_back(std::move(block));
    }
    const Unfinished unfinished(all, unfinished_);
    run("an exchange", [&](c10d::Backend &backend) {
        for (Block &block : all)
            block.work =
                backend.alltoall_base(block.out, block.in, block.out_splits, block.in_splits);
        return all.back().work;
    });
    for (std::size_t k = 0; k < blocks; k++) {
        wait("an exchange", all[k].work);
        scatter(all[k].out, static_cast<std::byte *>(out), out_bytes, blocks, k);
    }
    for (std::size_t member = 0; member < in_bytes.size(); member++)
        if (member != static_cast<std::size_t>(rank_))
            bytes_sent_.fetch_add(static_cast<std::uint64_t>(in_bytes[member]),
                                  std::memory_order_relaxed);
}

void Engine::allreduce(void *data, std::size_t count, shmrt_dtype dtype, shmrt_op op)
{
    at::Tensor tensor = at::from_blob(data, {static_cast<std::int64_t>(count)}, scalar_type(dtype));
    /* A copy, for the same reason. Gloo has no 16-bit integers: cut to 16 bits, a 32-bit result is
     * the one that wrapped. */
    const bool is_short = dtype == SHMRT_INT16;
    std::vector<at::Tensor> tensors{is_short ? tensor.to(at::kInt) : tensor.clone()};
    c10d::AllreduceOptions options;
    options.reduceOp = reduce_op(op);
    run("torch.distributed's all-reduce",
        [&](c10d::Backend &backend) { return backend.allreduce(tensors, options); });
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
