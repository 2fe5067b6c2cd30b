// SPDX-License-Identifier: Apache-2.0
/*
 * p2p.cpp - matching of messages, and how they move; who moves them is in p2p_wait.cpp.
 *
 * Each rank receives from another one only while a receive wants a message of it, so what nobody
 * asks for stays in the sender's channel, and holds its sender up.
 */
#include "p2p.h"

#include "errors.h"
#include "host.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace shmrt
{

namespace
{

shmrt_args message_args(shmrt_collective which, void *data, std::size_t bytes, int peer)
{
    shmrt_args args{};
    args.collective = which;
    args.in = data;
    args.out = data;
    args.count = bytes;
    args.dtype = SHMRT_UINT8;
    args.peer = peer;
    return args;
}

std::exception_ptr failure(int code, const std::string &text)
{
    return std::make_exception_ptr(Failure(code, text));
}

} // namespace

bool PointToPoint::is_idle() const
{
    return receives_.empty() &&
           std::all_of(outgoing_.begin(), outgoing_.end(),
                       [](const Outgoing &out) { return out.works.empty(); }) &&
           std::none_of(incoming_.begin(), incoming_.end(),
                        [](const Incoming &in) { return in.is_coming; });
}

void PointToPoint::start(const shmrt_args &args, shmrt_request *&request)
{
    comm_->call("send or recv",
                [&](shmrt_comm *comm) { return shmrt_start(comm, &args, &request); });
}

/* True when @request has ended; it is null then. */
bool PointToPoint::test(shmrt_request *&request)
{
    bool done = false;
    comm_->call("send or recv", [&](shmrt_comm *) { return shmrt_test(request, &done); });
    if (done)
        request = nullptr;
    return done;
}

bool PointToPoint::move_all()
{
    bool moved = false;
    for (std::size_t peer = 0; peer < outgoing_.size(); peer++) {
        moved |= move_out(outgoing_[peer], static_cast<int>(peer));
        moved |= move_in(incoming_[peer], static_cast<int>(peer));
    }
    return give_up() || moved;
}

bool PointToPoint::move_out(Outgoing &out, int peer)
{
    bool moved = false;
    while (!out.works.empty()) {
        MessageWork &work = *out.works.front();
        if (!out.request && !out.is_head_sent) {
            auto *data = static_cast<char *>(work.packed_.load());
            const std::size_t bytes = work.packed_.bytes();
            out.head = {bytes, work.tag_, 0, {}};
            if (bytes)
                std::memcpy(out.head.first, data, std::min(bytes, FIRST_BYTES));
            start(message_args(SHMRT_SEND, &out.head, sizeof out.head, peer), out.request);
        }
        if (!test(out.request))
            return moved;
        moved = true;
        if (!out.is_head_sent && work.packed_.bytes() > FIRST_BYTES) {
            out.is_head_sent = true;
            start(message_args(SHMRT_SEND, static_cast<char *>(work.packed_.data()) + FIRST_BYTES,
                               work.packed_.bytes() - FIRST_BYTES, peer),
                  out.request);
            continue;
        }
        out.is_head_sent = false;
        finish(out.works.front(), nullptr);
        out.works.pop_front();
    }
    return moved;
}

bool PointToPoint::is_wanted(int peer) const
{
    return std::any_of(receives_.begin(), receives_.end(), [&](const Item &work) {
        return work->peer_ < 0 ? peer != own_ : work->peer_ == peer;
    });
}

bool PointToPoint::move_in(Incoming &in, int peer)
{
    bool moved = false;
    while (in.is_coming || (is_wanted(peer) && begin_message(in, peer))) {
        if (in.request && !test(in.request))
            return moved;
        moved = true;
        end_message(in, peer);
    }
    return moved;
}

/*
 * A rank that left in good order is missed by who waits for it, and by who takes a message of any
 * rank once all have left. Everything else goes on.
 */
bool PointToPoint::give_up()
{
    if (left_ == 0 || receives_.empty())
        return false;
    const bool have_all_left = left_ == comm_->size() - 1;
    const auto is_lost = [&](const MessageWork &work) {
        return work.peer_ < 0 ? have_all_left
                              : incoming_[static_cast<std::size_t>(work.peer_)].has_left;
    };
    bool moved = false;
    for (auto at = receives_.begin(); at != receives_.end();) {
        const Item work = *at;
        if (!is_lost(*work)) {
            ++at;
            continue;
        }
        const std::string who = work->peer_ < 0 ? "all other ranks have"
                                                : "rank " + std::to_string(work->peer_) + " has";
        at = receives_.erase(at);
        finish(work,
               failure(ECONNABORTED, "recv: " + who +
                                         " destroyed the process group or ended, and no "
                                         "message with tag " +
                                         std::to_string(work->tag_) + " is left; rank " +
                                         std::to_string(own_) + " was in " + work->describe()));
        moved = true;
    }
    return moved;
}

/* Take the head of a message, which has come as a whole where it has come at all. */
bool PointToPoint::begin_message(Incoming &in, int peer)
{
    if (in.has_left)
        return false;
    bool there = false;
    comm_->call("recv", [&](shmrt_comm *comm) {
        const int rc = shmrt_probe(comm, peer, &there);
        in.has_left = rc == -ENOTCONN;
        if (in.has_left)
            return 0;
        return rc || !there ? rc : shmrt_recv(comm, &in.head, sizeof in.head, SHMRT_UINT8, peer);
    });
    left_ += in.has_left;
    if (!there)
        return false;
    in.is_coming = true;
    char *place = place_for(in, peer);
    if (in.head.bytes)
        std::memcpy(place, in.head.first, std::min<std::size_t>(in.head.bytes, FIRST_BYTES));
    if (in.head.bytes > FIRST_BYTES)
        start(message_args(SHMRT_RECV, place + FIRST_BYTES, in.head.bytes - FIRST_BYTES, peer),
              in.request);
    return true;
}

/* Where the message goes: to the first receive that fits, else to memory of ours. */
char *PointToPoint::place_for(Incoming &in, int peer)
{
    const auto found = std::find_if(receives_.begin(), receives_.end(), [&](const Item &work) {
        return work->fits(peer, in.head.tag);
    });
    if (found == receives_.end()) {
        early_.push_back({peer, in.head.tag, std::vector<char>(in.head.bytes), false, {}});
        in.early = &early_.back();
        return in.early->data.data();
    }
    in.work = *found;
    receives_.erase(found);
    in.work->source_ = peer;
    if (in.work->packed_.bytes() == in.head.bytes)
        return static_cast<char *>(in.work->packed_.data());
    in.scratch.resize(in.head.bytes);
    return in.scratch.data();
}

void PointToPoint::end_message(Incoming &in, int peer)
{
    in.is_coming = false;
    if (const Item work = std::exchange(in.work, {})) {
        deliver(work, peer, nullptr, in.head.bytes);
        in.scratch = {};
        return;
    }
    Early *early = std::exchange(in.early, nullptr);
    early->is_whole = true;
    if (!early->wanted_by)
        return;
    deliver(early->wanted_by, peer, early->data.data(), early->data.size());
    early_.remove_if([&](const Early &one) { return &one == early; });
}

/* @data: null where the message is in its place already. */
void PointToPoint::deliver(const Item &work, int source, const char *data, std::size_t bytes)
{
    work->source_ = source;
    if (bytes != work->packed_.bytes()) {
        finish(work, failure(EINVAL, "recv: rank " + std::to_string(source) + " has sent " +
                                         std::to_string(bytes) + " bytes with tag " +
                                         std::to_string(work->tag_) + ", and the tensor has " +
                                         std::to_string(work->packed_.bytes()) +
                                         ": both must have as many elements of one type"));
        return;
    }
    if (data && bytes)
        std::memcpy(work->packed_.data(), data, bytes);
    work->packed_.store();
    finish(work, nullptr);
}

void PointToPoint::send(const Item &work)
{
    Lock lock(mutex_);
    prepare();
    Outgoing &out = outgoing_.at(static_cast<std::size_t>(work->peer_));
    out.works.push_back(work);
    post(lock, out.works.size() == 1);
}

void PointToPoint::receive(const Item &work)
{
    Lock lock(mutex_);
    prepare();
    const auto found = std::find_if(early_.begin(), early_.end(), [&](const Early &early) {
        return !early.wanted_by && work->fits(early.source, early.tag);
    });
    if (found == early_.end()) {
        receives_.push_back(work);
        post(lock, true);
        return;
    }
    if (found->is_whole) {
        deliver(work, found->source, found->data.data(), found->data.size());
        early_.erase(found);
    } else {
        found->wanted_by = work;
    }
    post(lock, false);
}

void PointToPoint::finish(const Item &work, const std::exception_ptr &error)
{
    work->settle(error);
    finished_.push_back(work);
}

/* Nothing goes on after an error of the communicator, which is dead. */
void PointToPoint::fail_all(int code, const std::string &reason)
{
    if (!broken_)
        broken_ = failure(code, reason);
    finish_all([&](const MessageWork &) { return failure(code, reason); });
}

/* The same, where each message says how long it had waited. The first one's words are what later
 * calls get. */
void PointToPoint::fail_all_in_waits(int code, const std::string &reason)
{
    finish_all([&](const MessageWork &work) {
        const std::exception_ptr error = failure(code, where_found(work, reason));
        if (!broken_)
            broken_ = error;
        return error;
    });
    if (!broken_)
        broken_ = failure(code, reason);
}

void PointToPoint::finish_all(ErrorOf error)
{
    for (Outgoing &out : outgoing_) {
        for (const Item &work : std::exchange(out.works, {}))
            finish(work, error(*work));
        out.request = nullptr;
    }
    for (Incoming &in : incoming_) {
        if (const Item work = std::exchange(in.work, {}))
            finish(work, error(*work));
        in.is_coming = false;
        in.request = nullptr;
    }
    for (const Early &early : std::exchange(early_, {}))
        if (early.wanted_by)
            finish(early.wanted_by, error(*early.wanted_by));
    for (const Item &work : std::exchange(receives_, {}))
        finish(work, error(*work));
}

} // namespace shmrt
