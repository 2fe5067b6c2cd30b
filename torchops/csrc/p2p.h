// SPDX-License-Identifier: Apache-2.0
/* p2p.h - messages between two ranks of a group: tags, any source, any order of matching. */
#pragma once

#include "alarm.h"
#include "comm.h"
#include "packed.h"
#include "work.h"

#include <c10/util/FunctionRef.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace shmrt
{

class PointToPoint;

/** A send or a receive, from its call to its end. */
class MessageWork final : public GroupWork
{
  public:
    /** @peer: -1 takes a message of any rank. @timeout: for the whole of it. */
    MessageWork(std::shared_ptr<PointToPoint> owner, const WorkInfo &info, const at::Tensor &tensor,
                int peer, int tag, std::chrono::milliseconds timeout);

    bool wait(std::chrono::milliseconds timeout) override;
    /** The rank that a message came from; a group's rank. */
    int sourceRank() const override;

  private:
    friend class PointToPoint;

    /* "recv (12 bytes, tag 4), waiting 0.31 s for rank 1" */
    std::string describe() const;
    bool fits(int source, int tag) const
    {
        return tag == tag_ && (peer_ < 0 || peer_ == source);
    }

    const std::shared_ptr<PointToPoint> owner_;
    const int peer_;
    const int tag_;
    const std::chrono::milliseconds timeout_;
    const std::chrono::steady_clock::time_point deadline_;
    Packed packed_;
    std::atomic<int> source_{-1};
};

/**
 * PointToPoint - the sends and receives of one rank of a group, on a communicator of their own
 *
 * Nothing blocks in here. Whoever waits for a message moves all that can be moved, again and again;
 * when nobody waits, a thread does, until nothing is under way. A message is a head of a fixed size
 * with the tag, the length and the first bytes, and then the rest. Of a pair of ranks messages
 * arrive in order; one that no receive wants yet, but that comes before a wanted one, is kept in
 * memory.
 */
class PointToPoint : public std::enable_shared_from_this<PointToPoint>
{
  public:
    using Item = c10::intrusive_ptr<MessageWork>;

    explicit PointToPoint(std::shared_ptr<Comm> comm);

    void send(const Item &work);
    void receive(const Item &work);
    /** Return when @work is published. False: @timeout (0: none) has passed before. */
    bool wait(const MessageWork &work, std::chrono::milliseconds timeout);

    void abort(const char *reason);
    /** Leave; what is under way fails with @code and @reason. */
    void close(int code, const std::string &reason);

  private:
    using Clock = std::chrono::steady_clock;
    using Lock = std::unique_lock<std::mutex>;

    static constexpr std::size_t FIRST_BYTES = 240;

    struct Head {
        std::uint64_t bytes;
        std::int32_t tag;
        std::uint32_t zero;
        char first[FIRST_BYTES];
    };

    /* A message that has come before its receive. */
    struct Early {
        int source;
        int tag;
        std::vector<char> data;
        bool is_whole;
        Item wanted_by; /* posted since, while the rest was still coming */
    };

    /* Messages to one rank. The first is on its way when there is a request, or its head is sent.
     */
    struct Outgoing {
        std::deque<Item> works;
        Head head;
        shmrt_request *request = nullptr;
        bool is_head_sent = false;
    };

    /* The message that comes from one rank. */
    struct Incoming {
        bool is_coming = false;
        bool has_left = false; /* and nothing that it sent is left to come */
        Head head;
        shmrt_request *request = nullptr;
        Item work;                 /* whose memory it goes to, or */
        Early *early = nullptr;    /* this, or, where the lengths differ, */
        std::vector<char> scratch; /* nobody's */
    };

    bool move_all();
    bool move_out(Outgoing &out, int peer);
    bool move_in(Incoming &in, int peer);
    bool begin_message(Incoming &in, int peer);
    void end_message(Incoming &in, int peer);
    char *place_for(Incoming &in, int peer);
    bool is_wanted(int peer) const;
    bool give_up();
    void deliver(const Item &work, int source, const char *data, std::size_t bytes);
    bool test(shmrt_request *&request);
    void start(const shmrt_args &args, shmrt_request *&request);

    bool step();
    void prepare();
    void post(Lock &lock, bool is_next);
    void publish(Lock &lock);
    void finish(const Item &work, const std::exception_ptr &error);
    std::string where_found(const MessageWork &work, const std::string &error) const;
    void fail_all(int code, const std::string &reason);
    void fail_all_in_waits(int code, const std::string &reason);
    using ErrorOf = c10::function_ref<std::exception_ptr(const MessageWork &)>;
    void finish_all(ErrorOf error);
    void check_deadlines();
    bool is_idle() const;
    std::function<void()> ring();
    void ring_in(std::chrono::nanoseconds delay);
    void serve();
    void leave();

    const std::shared_ptr<Comm> comm_;
    const int own_;
    const bool
        is_crowded_; /* more ranks than CPUs: a spinning rank keeps another one from running */

    std::mutex mutex_; /* guards all below; not held while a future calls back */
    std::vector<Outgoing> outgoing_;
    std::vector<Incoming> incoming_;
    int left_ = 0;               /* peers of whom nothing can come any more */
    std::deque<Item> receives_;  /* in the order of their calls; without a message so far */
    std::list<Early> early_;     /* in the order of arrival */
    std::vector<Item> finished_; /* to be published */
    std::exception_ptr broken_;
    int waiting_ = 0;        /* threads in wait() */
    bool is_served_ = false; /* the alarm's thread is in serve() */
    Alarm alarm_;
};

} // namespace shmrt
