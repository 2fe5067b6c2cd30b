// SPDX-License-Identifier: Apache-2.0
/*
 * torch_peer.cpp - PyTorch's Gloo and the operator deepspeed::inference_all_reduce_ take turns in a
 * run of shm-bench, called from C++, so that no Python is in their times.
 *
 * torch_peer.py loads this library with ctypes, which releases the GIL meanwhile, after it has
 * started what is measured: the default process group, or DeepSpeed's operator library.
 */
#include "peer.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>

#include <sched.h>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace
{

using Backend = c10d::Backend;
using Work = c10::intrusive_ptr<c10d::Work>;
using InPlaceOp = at::Tensor &(at::Tensor &);

struct Peer {
    int rank = 0;
    int size = 0;
    bool halves = true; /* the operator has its 16-bit types on this CPU */
    c10::intrusive_ptr<Backend> gloo;
    std::optional<c10::TypedOperatorHandle<InPlaceOp>> op;
    std::optional<cpu_set_t> roam; /* go back to these CPUs, since serving has pinned the thread */
    /* the tensors of the current task */
    bench_task task{};
    void *in_at = nullptr;
    at::Tensor in, out;
};

std::optional<at::ScalarType> type_of(uint32_t dtype)
{
    switch (dtype) {
    case BENCH_FP32:
        return at::kFloat;
    case BENCH_FP64:
        return at::kDouble;
    case BENCH_BF16:
        return at::kBFloat16;
    case BENCH_FP16:
        return at::kHalf;
    case BENCH_INT8:
        return at::kChar;
    case BENCH_UINT8:
        return at::kByte;
    case BENCH_INT16:
        return at::kShort;
    case BENCH_INT32:
        return at::kInt;
    case BENCH_INT64:
        return at::kLong;
    default:
        return std::nullopt;
    }
}

c10d::ReduceOp op_of(uint32_t op)
{
    switch (op) {
    case BENCH_SUM:
        return c10d::ReduceOp::SUM;
    case BENCH_MIN:
        return c10d::ReduceOp::MIN;
    case BENCH_MAX:
        return c10d::ReduceOp::MAX;
    case BENCH_PROD:
        return c10d::ReduceOp::PRODUCT;
    default:
        return c10d::ReduceOp::AVG;
    }
}

bool same_task(const bench_task &a, const bench_task &b)
{
    return a.collective == b.collective && a.dtype == b.dtype && a.op == b.op &&
           a.in_place == b.in_place && a.root == b.root && a.count == b.count;
}

/* Tensors over the buffers, made once a task: only the call itself is to be timed. */
void take_task(Peer &peer, const bench_task &task, void *in, void *out)
{
    if (peer.in_at == in && same_task(peer.task, task))
        return;
    const auto rank = static_cast<uint32_t>(peer.rank);
    const auto element = static_cast<int64_t>(bench_dtype_bytes(task.dtype));
    const auto type = at::TensorOptions().dtype(*type_of(task.dtype));
    const auto over = [&](void *memory, size_t bytes) {
        return at::from_blob(memory, {static_cast<int64_t>(bytes) / element}, type);
    };
    peer.in = over(in, bench_in_bytes(&task, rank));
    peer.out = over(out, bench_out_bytes(&task, rank));
    peer.task = task;
    peer.in_at = in;
}

std::vector<at::Tensor> blocks(const Peer &peer, const at::Tensor &whole)
{
    return whole.chunk(peer.size);
}

Work reduce(Peer &peer)
{
    /* Gloo works in one buffer; a rank that is not the root leaves it unspecified. */
    const bool is_root = peer.rank == static_cast<int>(peer.task.root);
    if (!peer.task.in_place && is_root)
        peer.out.copy_(peer.in);
    std::vector<at::Tensor> tensors{peer.task.in_place || !is_root ? peer.in : peer.out};
    c10d::ReduceOptions options;
    options.reduceOp = op_of(peer.task.op);
    options.rootRank = peer.task.root;
    return peer.gloo->reduce(tensors, options);
}

Work allreduce(Peer &peer)
{
    if (!peer.task.in_place)
        peer.out.copy_(peer.in);
    std::vector<at::Tensor> tensors{peer.out};
    c10d::AllreduceOptions options;
    options.reduceOp = op_of(peer.task.op);
    return peer.gloo->allreduce(tensors, options);
}

Work broadcast(Peer &peer)
{
    std::vector<at::Tensor> tensors{peer.out};
    c10d::BroadcastOptions options;
    options.rootRank = peer.task.root;
    return peer.gloo->broadcast(tensors, options);
}

Work gather(Peer &peer)
{
    std::vector<at::Tensor> inputs{peer.in};
    std::vector<std::vector<at::Tensor>> outputs;
    if (peer.rank == static_cast<int>(peer.task.root))
        outputs.push_back(blocks(peer, peer.out));
    c10d::GatherOptions options;
    options.rootRank = peer.task.root;
    return peer.gloo->gather(outputs, inputs, options);
}

Work scatter(Peer &peer)
{
    std::vector<at::Tensor> outputs{peer.out};
    std::vector<std::vector<at::Tensor>> inputs;
    if (peer.rank == static_cast<int>(peer.task.root))
        inputs.push_back(blocks(peer, peer.in));
    c10d::ScatterOptions options;
    options.rootRank = peer.task.root;
    return peer.gloo->scatter(outputs, inputs, options);
}

Work reduce_scatter(Peer &peer)
{
    c10d::ReduceScatterOptions options;
    options.reduceOp = op_of(peer.task.op);
    return peer.gloo->_reduce_scatter_base(peer.out, peer.in, options);
}

/* There and back between ranks 0 and 1. */
Work ping_pong(Peer &peer)
{
    if (peer.rank > 1)
        return {};
    const int other = 1 - peer.rank;
    std::vector<at::Tensor> in{peer.in}, out{peer.out};
    if (peer.rank == 0)
        peer.gloo->send(in, other, 0)->wait();
    Work received = peer.gloo->recv(out, other, 0);
    if (peer.rank == 0)
        return received;
    received->wait();
    return peer.gloo->send(in, other, 0);
}

Work start(Peer &peer)
{
    std::vector<int64_t> even;
    switch (peer.task.collective) {
    case BENCH_ALLREDUCE:
        return allreduce(peer);
    case BENCH_BROADCAST:
        return broadcast(peer);
    case BENCH_REDUCE:
        return reduce(peer);
    case BENCH_ALLGATHER:
        return peer.gloo->_allgather_base(peer.out, peer.in);
    case BENCH_REDUCE_SCATTER:
        return reduce_scatter(peer);
    case BENCH_ALLTOALL:
        return peer.gloo->alltoall_base(peer.out, peer.in, even, even);
    case BENCH_GATHER:
        return gather(peer);
    case BENCH_SCATTER:
        return scatter(peer);
    case BENCH_SENDRECV:
        return ping_pong(peer);
    default:
        return peer.gloo->barrier();
    }
}

void unpin(Peer &peer)
{
    if (peer.roam)
        sched_setaffinity(0, sizeof *peer.roam, &*peer.roam);
    peer.roam.reset();
}

/* What PyTorch refuses, it refuses on all ranks and before anything is sent. */
int refuse(const std::exception &error)
{
    const std::string text = error.what();
    std::fprintf(stderr, "torch-peer: %s\n", text.substr(0, text.find('\n')).c_str());
    return -ENOTSUP;
}

int run_gloo(void *arg, const bench_task *task, void *in, void *out, int calls)
{
    auto &peer = *static_cast<Peer *>(arg);
    unpin(peer);
    const c10::InferenceMode no_autograd;
    try {
        take_task(peer, *task, in, out);
        for (int i = 0; i < calls; i++)
            if (const Work work = start(peer))
                work->wait();
    } catch (const std::exception &error) {
        return refuse(error);
    }
    return 0;
}

/* The operator knows sums of three types; of any other it returns its argument as it was. */
bool op_knows(const bench_task &task, bool halves)
{
    return task.collective == BENCH_ALLREDUCE && task.op == BENCH_SUM &&
           (task.dtype == BENCH_FP32 ||
            (halves && (task.dtype == BENCH_BF16 || task.dtype == BENCH_FP16)));
}

int run_op(void *arg, const bench_task *task, void *in, void *out, int calls)
{
    auto &peer = *static_cast<Peer *>(arg);
    if (!op_knows(*task, peer.halves))
        return -ENOTSUP;
    unpin(peer);
    const c10::InferenceMode no_autograd;
    try {
        take_task(peer, *task, in, out);
        for (int i = 0; i < calls; i++) {
            if (!task->in_place)
                peer.out.copy_(peer.in);
            peer.op->call(peer.out);
        }
    } catch (const std::exception &error) {
        return refuse(error);
    }
    return 0;
}

} // namespace

extern "C" {

/**
 * torch_peer_serve - take turns with Gloo or with the operator
 * @group:   name of the process group whose Gloo is measured; NULL: the operator is
 * @setting: the text that reports show
 * @roam:    the CPUs to go back to (taskset's mask of this thread before it was pinned), or NULL
 * @halves:  the operator may be given 16-bit types
 *
 * Return: 0 or a negative errno.
 */
int torch_peer_serve(int rank, int size, const char *group, const char *setting,
                     const cpu_set_t *roam, int halves)
{
    Peer peer;
    peer.rank = rank;
    peer.size = size;
    peer.halves = halves;
    if (roam)
        peer.roam = *roam;
    try {
        if (group)
            peer.gloo = c10d::resolve_process_group(group)->getBackend(c10::DeviceType::CPU);
        else
            peer.op = c10::Dispatcher::singleton()
                          .findSchemaOrThrow("deepspeed::inference_all_reduce_", "")
                          .typed<InPlaceOp>();
    } catch (const std::exception &error) {
        return refuse(error);
    }
    const bench_peer_ops ops{setting, group ? run_gloo : run_op, nullptr, &peer};
    return bench_peer_serve(nullptr, rank, &ops);
}
}
