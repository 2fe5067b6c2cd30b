// SPDX-License-Identifier: Apache-2.0
/*
 * engine.h - a c10d backend that carries bytes between machines: Gloo, MPI or UCC.
 *
 * It moves bytes only, but for the flat all-reduce of a fallback, so every type and operation of
 * ours goes over any engine, with our arithmetic.
 */
#pragma once

#include <shmrt.h>

#include <ATen/core/Tensor.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <c10/util/FunctionRef.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace shmrt
{

/**
 * Makes backends between some ranks of a group: @groups are lists of ranks without a common member,
 * the answer is that of the one that has @rank, or null. All ranks call it alike. @store belongs to
 * rank's list alone; null makes the factory look for one itself. A connection that takes longer
 * than @timeout_s is an error.
 */
using EngineFactory = std::function<c10::intrusive_ptr<c10d::Backend>(
    const c10::intrusive_ptr<c10d::Store> &store, const std::vector<std::vector<int>> &groups,
    int rank, double timeout_s)>;

/**
 * Memory - bytes that transfers share, which grow as needed
 *
 * A transfer that was given up goes on writing and reading: its tensors keep the memory for it.
 */
class Memory
{
  public:
    /** At least @bytes of it; what was there before may be lost. */
    std::byte *room(std::size_t bytes);
    /** What room() gave last. */
    std::byte *kept() const
    {
        return bytes_.get();
    }
    at::Tensor part(std::size_t begin, std::size_t bytes) const;

  private:
    std::shared_ptr<std::byte> bytes_;
    std::size_t size_ = 0;
};

/**
 * Engine - one backend, its waits, and what its failures are called
 *
 * One thread at a time is in a collective; abort() may come from any. Failures throw ETIMEDOUT or
 * ECONNABORTED with @peers in the text, and leave the backend as it is: drop() it if is_broken().
 */
class Engine
{
  public:
    using Bytes = std::vector<std::int64_t>; /* for each member */

    Engine(c10::intrusive_ptr<c10d::Backend> backend, double timeout_s, std::string peers);
    ~Engine();
    Engine(const Engine &) = delete;
    Engine &operator=(const Engine &) = delete;

    int rank() const
    {
        return rank_;
    }
    int size() const
    {
        return size_;
    }

    /**
     * Flight - exchanges that are under way at once, each with a number, from 0
     *
     * The members start the same ones in the same order. What is sent is not changed, and what is
     * received not read, before wait() for that one. One that is given up in the middle keeps its
     * memory.
     */
    class Flight
    {
      public:
        explicit Flight(Engine &engine) : engine_(engine)
        {
        }
        ~Flight();
        Flight(const Flight &) = delete;
        Flight &operator=(const Flight &) = delete;

        /** in_bytes[r] bytes to member r, out_bytes[r] from it, one after the other. */
        void alltoall(const at::Tensor &out, const Bytes &out_bytes, const at::Tensor &in,
                      const Bytes &in_bytes);
        /** @in of each member, in their order, to all. */
        void allgather(const at::Tensor &out, const at::Tensor &in);
        void wait(std::size_t number);

      private:
        Engine &engine_;
        std::vector<c10::intrusive_ptr<c10d::Work>> works_;
    };

    void barrier();
    /** The backend's own reduction, in place. ENOTSUP where it lacks the type or operation. */
    void allreduce(void *data, std::size_t count, shmrt_dtype dtype, shmrt_op op);

    using Start = c10::function_ref<c10::intrusive_ptr<c10d::Work>(c10d::Backend &)>;
    /**
     * Any call of the backend, with its own errors: @start gives the work to wait for, or null.
     * What it throws leaves the backend usable, as of arguments that it refuses.
     */
    void call(const char *what, std::chrono::milliseconds timeout, Start start);

    /** ECONNABORTED after abort() or drop(). */
    c10::intrusive_ptr<c10d::Backend> backend(const char *what);

    /** Did a collective fail in the middle? Then none after it can be trusted. */
    bool is_broken() const
    {
        return broken_;
    }
    /** How long each later call may take. */
    void set_timeout(double timeout_s);

    /** End the wait that another thread is in, and all later ones. */
    void abort();
    /** Close the connections, so that the other members' waits end. */
    void drop();

    /** Bytes that this member has sent, as the algorithms of Gloo have it. */
    std::uint64_t bytes_sent() const
    {
        return bytes_sent_.load(std::memory_order_relaxed);
    }

  private:
    c10::intrusive_ptr<c10d::Work> start(const char *what, Start begin);
    void wait(const char *what, const c10::intrusive_ptr<c10d::Work> &work);
    [[noreturn]] void give_up(const char *what, const std::exception_ptr &raised);
    [[noreturn]] void fail(const char *what, const std::string &why);

    std::atomic<double> timeout_s_;
    const std::string peers_;
    const int rank_;
    const int size_;
    const unsigned forks_; /* as in Comm */
    std::mutex use_;       /* guards backend_; not held while waiting */
    c10::intrusive_ptr<c10d::Backend> backend_;
    std::atomic<bool> aborted_{false};
    std::atomic<bool> broken_{false};
    std::atomic<bool> unfinished_{false}; /* a collective was given up in the middle */
    std::atomic<std::uint64_t> bytes_sent_{0};
};

} // namespace shmrt
