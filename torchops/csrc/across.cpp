// SPDX-License-Identifier: Apache-2.0
/*
 * across.cpp - reduce-scatter in shared memory, the parts between machines, all-gather.
 *
 * Between machines the engine only moves bytes; terms are combined here, machine after machine.
 * That gives all types and operations the rules that they have inside a machine, where Gloo's own
 * all-reduce rounds 16-bit floats at each step, loses NaN in min and max and has no int16. Owners
 * of a part either all get all terms (one step: short parts; and two machines, where it costs no
 * more bytes), or each reduces a block of the part and hands it round in its final type (two
 * steps). Both combine in the same order, so the bits do not depend on which it was.
 */
#include "across.h"

#include "combine.h"
#include "errors.h"
#include "host.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>
#include <thread>
#include <utility>

namespace shmrt
{

namespace
{

using Clock = std::chrono::steady_clock;

constexpr std::size_t PIECE_BYTES = 32 << 20;     /* of a tensor at a time: bounds the staging */
constexpr std::size_t ONE_STEP_BYTES = 16 * 1024; /* of a part, that cost less than a second step */
constexpr std::size_t BLOCK_BYTES = 256 * 1024;   /* of a transfer: see blocks_of() */
constexpr std::size_t ALIGNMENT = 32;             /* elements */
constexpr std::chrono::milliseconds CAUSE_MAY_TAKE{500};
constexpr std::size_t SHOWN_ALIKE = 100; /* characters by which a text is known again */
constexpr const char *LOST = "lost";     /* in the store: what the first to fail knew */

std::byte *room(std::vector<std::byte> &buffer, std::size_t bytes)
{
    if (buffer.size() <= bytes)
        buffer.resize(bytes + 1); /* never none, whose address would be null */
    return buffer.data();
}

/*
 * A long transfer goes in blocks, all under way at once: one in each direction fills the buffers on
 * its way, and the answers that the sender waits for stand in that queue (two machines at 50
 * Mbit/s, 1 MiB each way: 0.48 s as one, 0.38 s in blocks of 256 KiB).
 */
std::size_t blocks_of(std::size_t bytes)
{
    return std::max<std::size_t>(1, (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);
}

std::string others(const Partition &partition, int machine)
{
    std::string text;
    for (int other = 0; other < partition.machines(); other++)
        if (other != machine)
            text += (text.empty() ? "" : ", ") + partition.describe(other);
    return text;
}

/*
 * Leave @text in the store for the ranks that only see their connections close, and hand back what
 * another rank has left there before; who knows no cause (@is_echo) gives the others a moment to.
 */
std::string tell_others(c10d::Store &store, const std::string &text, bool is_echo)
{
    const auto until = Clock::now() + (is_echo ? CAUSE_MAY_TAKE : Clock::duration::zero());
    while (!store.check({LOST})) {
        if (Clock::now() >= until) {
            store.set(LOST, std::vector<std::uint8_t>(text.begin(), text.end()));
            return "";
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    const std::vector<std::uint8_t> told = store.get(LOST);
    return {told.begin(), told.end()};
}

/* The way to the store may be gone: a thread takes it, for which nobody waits for long. */
std::string tell_others_soon(const c10::intrusive_ptr<c10d::Store> &store, const std::string &text,
                             bool is_echo)
{
    auto answer = std::make_shared<std::promise<std::string>>();
    std::future<std::string> told = answer->get_future();
    std::thread([answer, store, text, is_echo] {
        try {
            answer->set_value(tell_others(*store, text, is_echo));
        } catch (const std::exception &) {
            answer->set_value(""); /* no store, no news */
        }
    }).detach();
    return told.wait_for(2 * CAUSE_MAY_TAKE) == std::future_status::ready ? told.get() : "";
}

/* Refused before anything was shared: no reason for the others to stop. */
bool is_refusal(int code)
{
    return code == EINVAL || code == ENOTSUP || code == EDEADLK;
}

} // namespace

Across::Across(const Meeting &meeting, int rank, const EngineFactory &make,
               const std::vector<std::string> &settings)
    : partition_(meeting.partition), rank_(rank),
      machine_(partition_.machine_of[static_cast<std::size_t>(rank)]),
      local_(partition_.local_of[static_cast<std::size_t>(rank)]), parts_(partition_.smallest()),
      comm_(meeting.comm), store_(meeting.store)
{
    std::vector<std::vector<int>> rows(static_cast<std::size_t>(parts_));
    for (std::size_t part = 0; part < rows.size(); part++)
        for (const auto &members : partition_.ranks)
            rows[part].push_back(members[part]);
    const double connect =
        seconds_option(settings, "rendezvous_timeout", "SHMRT_RENDEZVOUS_TIMEOUT", 60);
    const auto store =
        c10::make_intrusive<c10d::PrefixStore>("part" + std::to_string(local_), meeting.store);
    auto backend = make(store, rows, rank, connect);
    TORCH_INTERNAL_ASSERT(backend || local_ >= parts_);
    if (backend)
        engine_ = std::make_unique<Engine>(
            std::move(backend), seconds_option(settings, "timeout", "SHMRT_TIMEOUT", 1800),
            others(partition_, machine_));
}

Across::Slice Across::slice(std::size_t count, std::size_t parts, std::size_t part)
{
    const std::size_t each = ((count + parts - 1) / parts + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    const std::size_t begin = std::min(count, part * each);
    return {begin, std::min(count - begin, each)};
}

/*
 * Run a collective; what goes wrong in it ends this group on all machines. Errors are Failures
 * meanwhile, so that their code and text can be told to the others.
 */
template <class Work> void Across::guarded(Work work)
{
    const std::lock_guard calls(call_);
    if (const auto before = dead()) {
        if (engine_)
            engine_->drop();
        throw_error(before->first, before->second);
    }
    std::pair<int, std::string> failed;
    try {
        const Background as_failure;
        work();
        return;
    } catch (const Failure &failure) {
        failed = {failure.code(), failure.what()};
    } catch (const std::exception &error) {
        die(ECANCELED, "rank " + std::to_string(rank_) + " of " + partition_.describe(machine_) +
                           " was interrupted: " + first_line(error.what()));
        throw;
    }
    if (!is_refusal(failed.first))
        die(failed.first, failed.second);
    const auto known = dead().value_or(failed);
    throw_error(known.first, known.second);
}

std::string Across::own_name() const
{
    return "rank " + std::to_string(rank_) + " of " + partition_.describe(machine_);
}

std::optional<std::pair<int, std::string>> Across::dead()
{
    const std::lock_guard lock(dead_lock_);
    return dead_;
}

void Across::allreduce(const void *in, void *out, std::size_t count, shmrt_dtype dtype, shmrt_op op)
{
    const std::size_t bytes = shmrt_dtype_bytes(dtype);
    const std::size_t most = PIECE_BYTES / bytes;
    guarded([&] {
        for (std::size_t at = 0; at < count; at += most) {
            const std::size_t length = std::min(most, count - at);
            reduce_piece({static_cast<const std::byte *>(in) + at * bytes,
                          static_cast<std::byte *>(out) + at * bytes, length, dtype, op});
        }
        calls_++;
    });
}

void Across::reduce_piece(const Piece &piece)
{
    std::vector<std::size_t> counts(comm_ ? static_cast<std::size_t>(comm_->size()) : 1);
    for (std::size_t i = 0; i < static_cast<std::size_t>(parts_); i++)
        counts[i] = slice(piece.count, static_cast<std::size_t>(parts_), i).length;
    machine_sum(piece, counts);
    const std::size_t own = counts[static_cast<std::size_t>(local_)];
    if (!comm_)
        return exchange(piece, own, piece.out);
    void *total = room(total_, own * shmrt_dtype_bytes(piece.dtype));
    if (engine_)
        exchange(piece, own, total);
    comm_->call("all-reduce across machines", [&](shmrt_comm *comm) {
        return shmrt_allgatherv(comm, total, piece.out, counts.data(), piece.dtype);
    });
}

/*
 * This rank's part of the machine's sum, in the wide type, to part_, from where it is sent: the
 * tensor itself is free as soon as a call ends, a transfer that was given up in it is not. Averages
 * are divided at the very end.
 */
void Across::machine_sum(const Piece &piece, const std::vector<std::size_t> &counts)
{
    const shmrt_dtype wide = wide_dtype(piece.dtype);
    const std::size_t size = shmrt_dtype_bytes(wide);
    const auto copies = static_cast<std::size_t>(partition_.machines() - 1);
    const std::size_t own = counts[static_cast<std::size_t>(local_)] * size;
    std::byte *part = part_.room(own <= ONE_STEP_BYTES ? own * copies : own);
    const bool is_wide = wide == piece.dtype;
    if (!comm_ && is_wide)
        std::memcpy(part, piece.in, own);
    const void *in = piece.in;
    if (!is_wide) {
        in = comm_ ? room(wide_, piece.count * size) : part;
        widen(static_cast<float *>(const_cast<void *>(in)), piece.in, piece.count, piece.dtype);
    }
    if (!comm_)
        return;
    const shmrt_op op = piece.op == SHMRT_AVG ? SHMRT_SUM : piece.op;
    comm_->call("all-reduce across machines", [&](shmrt_comm *comm) {
        return shmrt_reduce_scatterv(comm, in, part, counts.data(), wide, op);
    });
}

void Across::exchange(const Piece &piece, std::size_t length, void *out)
{
    const shmrt_dtype wide = wide_dtype(piece.dtype);
    if (length == 0)
        return;
    if (length * shmrt_dtype_bytes(wide) <= ONE_STEP_BYTES ||
        (partition_.machines() == 2 && wide == piece.dtype))
        exchange_whole(piece, length, out);
    else
        exchange_blocks(piece, length, out);
}

/* @bytes to, or from, each of the other machines. */
Engine::Bytes Across::to_others(std::size_t bytes) const
{
    Engine::Bytes all(static_cast<std::size_t>(partition_.machines()),
                      static_cast<std::int64_t>(bytes));
    all[static_cast<std::size_t>(machine_)] = 0;
    return all;
}

void Across::combine_terms(const Piece &piece, const void *const *terms, std::size_t length,
                           void *out)
{
    combine(out, terms, partition_.machines(), length, piece.dtype, piece.op,
            static_cast<int>(partition_.machine_of.size()));
}

/* The part goes to all others, and is combined here as it comes. */
void Across::exchange_whole(const Piece &piece, std::size_t length, void *out)
{
    const std::size_t wide = shmrt_dtype_bytes(wide_dtype(piece.dtype));
    const auto machine = static_cast<std::size_t>(machine_);
    const auto others = static_cast<std::size_t>(partition_.machines() - 1);
    const std::size_t blocks = blocks_of(length * wide);
    std::byte *part = part_.kept();
    std::byte *came = terms_.room(others * length * wide);
    for (std::size_t other = 1; other < others; other++) /* short: see ONE_STEP_BYTES */
        std::memcpy(part + other * length * wide, part, length * wide);
    Engine::Flight flight(*engine_);
    for (std::size_t k = 0; k < blocks; k++) {
        const Slice block = slice(length, blocks, k);
        const Engine::Bytes bytes = to_others(block.length * wide);
        flight.alltoall(terms_.part(block.begin * others * wide, block.length * others * wide),
                        bytes, part_.part(block.begin * wide, block.length * others * wide), bytes);
    }
    std::vector<const void *> terms(others + 1);
    for (std::size_t k = 0; k < blocks; k++) {
        const Slice block = slice(length, blocks, k);
        for (std::size_t i = 0; i < others; i++)
            terms[i < machine ? i : i + 1] =
                came + (block.begin * others + i * block.length) * wide;
        terms[machine] = part + block.begin * wide;
        flight.wait(k);
        combine_terms(piece, terms.data(), block.length,
                      static_cast<std::byte *>(out) + block.begin * shmrt_dtype_bytes(piece.dtype));
    }
}

/*
 * Each block of the part in two steps: every machine gets a share of it from all, and its sum goes
 * to all. Shares are equal but for the last ones: they are gathered as if all were as long.
 */
void Across::exchange_blocks(const Piece &piece, std::size_t length, void *out)
{
    const std::size_t wide = shmrt_dtype_bytes(wide_dtype(piece.dtype));
    const std::size_t size = shmrt_dtype_bytes(piece.dtype);
    const auto machine = static_cast<std::size_t>(machine_);
    const auto machines = static_cast<std::size_t>(partition_.machines());
    const std::size_t blocks = blocks_of(length * wide / machines);
    const auto block_of = [&](std::size_t k) { return slice(length, blocks, k); };
    const std::size_t share = slice(block_of(0).length, machines, 0).length; /* the longest */
    std::byte *came = terms_.room(blocks * machines * share * wide);
    std::byte *sums = blocks_.room(blocks * (machines + 1) * share * size);
    const std::size_t sums_bytes = (machines + 1) * share * size; /* of a block: all, and own */

    Engine::Flight first(*engine_), second(*engine_);
    for (std::size_t k = 0; k < blocks; k++) {
        const Slice block = block_of(k);
        Engine::Bytes sent;
        for (std::size_t m = 0; m < machines; m++)
            sent.push_back(
                static_cast<std::int64_t>(slice(block.length, machines, m).length * wide));
        const std::size_t own = static_cast<std::size_t>(sent[machine]);
        first.alltoall(terms_.part(k * machines * share * wide, machines * own),
                       Engine::Bytes(machines, static_cast<std::int64_t>(own)),
                       part_.part(block.begin * wide, block.length * wide), sent);
    }
    for (std::size_t k = 0; k < blocks; k++) {
        const Slice own = slice(block_of(k).length, machines, machine);
        std::vector<const void *> terms;
        for (std::size_t m = 0; m < machines; m++)
            terms.push_back(came + (k * machines * share + m * own.length) * wide);
        first.wait(k);
        combine_terms(piece, terms.data(), own.length,
                      sums + k * sums_bytes + machines * share * size);
        second.allgather(blocks_.part(k * sums_bytes, machines * share * size),
                         blocks_.part(k * sums_bytes + machines * share * size, share * size));
    }
    for (std::size_t k = 0; k < blocks; k++) {
        const Slice block = block_of(k);
        second.wait(k);
        for (std::size_t m = 0; m < machines; m++) {
            const Slice one = slice(block.length, machines, m);
            std::memcpy(static_cast<std::byte *>(out) + (block.begin + one.begin) * size,
                        sums + k * sums_bytes + m * share * size, one.length * size);
        }
    }
}

/* Everyone waits for its machine's first rank, and these for each other. */
void Across::barrier()
{
    guarded([&] {
        const auto local = [&] {
            if (comm_)
                comm_->call("barrier across machines", shmrt_barrier);
        };
        local();
        if (local_ == 0)
            engine_->barrier();
        local();
        calls_++;
    });
}

void Across::abort(const std::string &reason)
{
    {
        const std::lock_guard lock(dead_lock_);
        if (!dead_)
            dead_ = {ECONNABORTED, reason};
    }
    if (engine_)
        engine_->abort();
    if (comm_)
        comm_->abort(reason.c_str());
    if (engine_ && call_.try_lock()) {
        engine_->drop();
        call_.unlock();
    }
}

/*
 * call_ is held. Order: the store first, so that who sees the closed connection finds the reason
 * there; but not after a deadline, which may mean that there is no way to the store either.
 */
void Across::die(int code, const std::string &text)
{
    const auto aborted = dead(); /* by another thread of this rank, in whose words */
    const bool is_own = aborted || text.starts_with(own_name());
    const bool is_echo =
        !is_own && text.find("machine ") != std::string::npos; /* or the engine's */
    std::string known = aborted ? own_name() + " aborted: " + aborted->second : text;
    if (!is_own && !is_echo)
        known = "on " + partition_.describe(machine_) + ", counted from 0 there: " + text;
    if (code == ECONNABORTED || code == ECANCELED) {
        const std::string told = tell_others_soon(store_, known, is_echo);
        if (!told.empty() && known.find(told.substr(0, SHOWN_ALIKE)) == std::string::npos)
            known = told + " [seen by rank " + std::to_string(rank_) + ": " + text + "]";
    }
    {
        const std::lock_guard lock(dead_lock_);
        if (dead_)
            known = dead_->second;
        else
            dead_ = {code, known};
    }
    if (comm_)
        comm_->abort(known.c_str());
    if (engine_)
        engine_->drop();
}

void Across::close()
{
    const std::lock_guard calls(call_);
    if (engine_)
        engine_->drop();
}

void Across::set_timeout(double timeout_s)
{
    if (engine_)
        engine_->set_timeout(timeout_s);
}

AcrossStats Across::stats()
{
    return {calls_, engine_ ? engine_->bytes_sent() : 0};
}

} // namespace shmrt
