// SPDX-License-Identifier: Apache-2.0
/*
 * module.cpp - the module shmrt._C: what the Python package needs of the default communicator.
 *
 * Everything that waits, or takes a lock that a waiter may hold, runs without the GIL.
 */
#include "default_comm.h"
#include "errors.h"
#include "group_python.h"
#include "host.h"
#include "operators.h"
#include "pool.h"
#include "process_group_python.h"
#include "python_host.h"

#include <torch/csrc/utils/pybind.h>

#include <utility>

namespace py = pybind11;

namespace shmrt
{

namespace
{

/* Run @work without the GIL; the result needs none. */
template <class Work> auto released(Work work)
{
    const Released without_gil;
    return work(DefaultComm::get());
}

/* The pair that a launcher has set; shmrt.Error(ENOENT) without a launcher. */
std::pair<int, int> rank_and_size_from_env()
{
    shmrt_params params{};
    shmrt_error error{};
    const int rc = shmrt_params_from_env(&params, &error);
    if (rc)
        throw_error(-rc, error.text);
    return std::pair{params.rank, params.size};
}

std::optional<std::pair<int, int>> rank_and_size()
{
    const auto request = released([](DefaultComm &comm) { return comm.request(); });
    if (!request)
        return std::nullopt;
    return std::pair{request->rank, request->size};
}

at::Tensor empty_strided(const std::vector<int64_t> &sizes, const std::vector<int64_t> &strides,
                         at::ScalarType dtype, bool strict)
{
    const Released without_gil;
    return new_shared(sizes, strides, dtype, strict);
}

py::dict pool_dict(const shmrt_pool_stats &pool)
{
    py::dict out;
    out["limit"] = pool.limit_bytes;
    out["taken"] = pool.taken_bytes;
    out["used"] = pool.used_bytes;
    out["peak"] = pool.peak_bytes;
    out["refused"] = pool.refused;
    return out;
}

py::dict traffic_dict(const shmrt_traffic &traffic, int size)
{
    py::list groups, read_from, written_to;
    for (int rank = 0; rank < size; rank++) {
        groups.append(traffic.group_of[rank]);
        read_from.append(traffic.read_from[rank]);
        written_to.append(traffic.written_to[rank]);
    }
    py::dict out;
    out["groups"] = groups;
    out["read_from"] = read_from;
    out["written_to"] = written_to;
    return out;
}

py::list late_list(const std::array<std::uint64_t, SHMRT_MAX_RANKS> &late_ns, int size)
{
    py::list late;
    for (int rank = 0; rank < size; rank++)
        late.append(static_cast<double>(late_ns[rank]) * 1e-9);
    return late;
}

py::dict stats()
{
    const Stats stats = released([](DefaultComm &comm) { return comm.stats(); });
    py::dict calls;
    for (std::size_t i = 0; i < stats.calls.size(); i++)
        calls[operator_name(static_cast<Operator>(i))] = stats.calls[i];
    py::dict out;
    out["calls"] = stats.counters.calls;
    out["bytes"] = stats.counters.bytes;
    out["oneshot_calls"] = stats.counters.oneshot_calls;
    out["pipelined_calls"] = stats.counters.pipelined_calls;
    out["shared_calls"] = stats.counters.shared_calls;
    out["wait_seconds"] = static_cast<double>(stats.counters.wait_ns) * 1e-9;
    out["late_seconds"] = static_cast<double>(stats.counters.late_ns) * 1e-9;
    out["late_by_rank"] = late_list(stats.late_ns, stats.size);
    out["sleeps"] = stats.counters.sleeps;
    out["seconds"] = stats.seconds;
    out["operators"] = calls;
    out["across"] = across_dict(stats.group);
    out["fallbacks"] = stats.fallbacks;
    out["pool"] = pool_dict(stats.pool);
    out["traffic"] = traffic_dict(stats.traffic, stats.size);
    return out;
}

/* The numbers of NUMA nodes in a mask of the first 64. */
py::list node_list(std::uint64_t mask)
{
    py::list nodes;
    for (int node = 0; node < 64; node++)
        if (mask >> node & 1)
            nodes.append(node);
    return nodes;
}

/* Where pages are; @before tells those of the pool from those of the segment. */
void put_pages(py::dict &out, const std::string &before, const shmrt_pages_proof &proof)
{
    const auto put = [&](const char *name, auto value) { out[py::str(before + name)] = value; };
    put("pages", proof.pages);
    put("pages_on_node", proof.pages_on_node);
    put("pages_unknown", proof.pages_unknown);
    put("page_bytes", proof.page_bytes);
    put("huge_bytes", proof.huge_bytes);
    put("bound", proof.bound);
}

py::dict facts()
{
    const Facts facts = released([](DefaultComm &comm) { return comm.facts(); });
    py::dict out;
    out["rank"] = facts.rank;
    out["size"] = facts.size;
    out["kernel"] = facts.kernel;
    out["lanes"] = facts.lanes;
    out["tuning"] = facts.tuning;
    out["pool"] = pool_dict(facts.pool);
    out["nodes"] = node_list(facts.proof.nodes);
    out["cpu_nodes"] = node_list(facts.proof.cpu_nodes);
    out["moved"] = facts.proof.moved;
    put_pages(out, "", facts.proof.segment);
    put_pages(out, "pool_", facts.proof.pool);
    out["text"] = facts.text;
    out["verify_errno"] = -facts.verify_code;
    return out;
}

std::string describe_options()
{
    std::string text(shmrt_options_describe(nullptr, 0), '\0');
    shmrt_options_describe(text.data(), text.size() + 1);
    return text;
}

} // namespace

PYBIND11_MODULE(_C, module)
{
    use_python_as_host();
    bind_groups(module);
    module.def("register_operators", &register_operators);
    module.def("destroy", [] { released([](DefaultComm &comm) { comm.destroy(); }); });
    module.def("barrier", [] { released([](DefaultComm &comm) { comm.barrier(); }); });
    module.def("rank_and_size", &rank_and_size);
    module.def("rank_and_size_from_env", &rank_and_size_from_env);
    module.def("empty_strided", &empty_strided);
    module.def("is_shared", &is_shared);
    module.def("stats", &stats);
    module.def("facts", &facts);
    module.def("options", &describe_options);
    module.def("version", &shmrt_version);
    bind_process_group(module);
}

} // namespace shmrt
